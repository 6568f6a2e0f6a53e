"""Many GatewayBackups at once for 20 gateways: all complete, none runs twice, and writes and memory are bounded.

300 backups take a minute on two cores. ``MANY=1000`` runs the thousand of docs/performance-operator.md, and ``make
bench-operator`` up to ten thousand.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from gateway_api import contract
from tests.bench.operator.api_server import BACKUPS, ApiServer, writes
from tests.bench.operator.gateways import create_gateways
from tests.bench.operator.load import run_concurrently
from tests.cluster import Cluster
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.scripted_admin_api import VOLUME_ID, ScriptedAdminApi
from tests.operator.support.workloads import random_loopback_address

pytestmark = pytest.mark.cluster

COUNT = int(os.environ.get("MANY", "300"))
GATEWAYS = 20
MAX_WRITES = 4
"""Writes a backup without its creation: two status writes, one event, and one for a conflict or a finalizer."""
MAX_GROWTH = 24.0
"""Limit in MiB for the growth of resident memory during the second half of the backups."""


@pytest.fixture
def admins() -> Iterator[list[ScriptedAdminApi]]:
    with ExitStack() as stack:
        yield [stack.enter_context(ScriptedAdminApi(random_loopback_address())) for _ in range(GATEWAYS)]


async def test_each_backup_runs_once_at_bounded_cost(
    cluster_with_crds: Cluster, namespace: str, operator: OperatorProcess, admins: list[ScriptedAdminApi]
) -> None:
    half = COUNT // 2
    async with ApiServer.of(cluster_with_crds) as api:
        hosts, keys = [admin.host for admin in admins], [admin.key for admin in admins]
        gateways = await create_gateways(cluster_with_crds, api, namespace, hosts, keys)
        before = await api.counted()
        await run_concurrently(api, namespace, gateways, half)
        first = operator.resident_mib()
        await run_concurrently(api, namespace, gateways, half, first=half)
        second = operator.resident_mib()
        await asyncio.sleep(1)  # until the last events are written
        written, kinds = writes(before, await api.counted(), created=2 * half)
        listed: list[dict[str, Any]] = (await api.call("GET", BACKUPS.format(namespace)))["items"]

    assert Counter(one["status"]["phase"] for one in listed) == {"Completed": 2 * half}
    _assert_one_file_each(listed, admins, dict(zip(gateways, admins, strict=True)))
    assert written / (2 * half) <= MAX_WRITES, kinds
    assert second - first <= MAX_GROWTH, f"{first:.0f} MiB, then {second:.0f}"


def _assert_one_file_each(
    listed: list[dict[str, Any]], admins: list[ScriptedAdminApi], admin_of: dict[str, ScriptedAdminApi]
) -> None:
    expected: dict[str, set[str]] = {admin.host: set() for admin in admins}
    for one in listed:
        assert one["status"]["attempt"] == 1
        host = admin_of[one["spec"]["gatewayRef"]["name"]].host
        expected[host].add(contract.backup_id_for(VOLUME_ID, one["metadata"]["uid"]))
    assert {admin.host: set(admin.backups) for admin in admins} == expected
    request_ids = [body["request_id"] for admin in admins for body in admin.backup_requests]
    assert len(request_ids) == len(set(request_ids)) == len(listed)
    assert len({record.path for admin in admins for record in admin.backups.values()}) == len(listed)
