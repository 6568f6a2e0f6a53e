"""Many GatewayBackups at once, to twenty gateways: all end, none is made twice, and what they cost is counted.

A minute on two cores holds 300 of them; ``MANY=1000`` runs the thousand that the promise names, and ``make
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
from tests.operator.support.scripted_admin_api import VOLUME, ScriptedAdmin
from tests.operator.support.workloads import loopback

pytestmark = pytest.mark.cluster

COUNT = int(os.environ.get("MANY", "300"))
GATEWAYS = 20
MOST_WRITES = 4
"""A backup, without its creation: two statuses, an event, and room for a conflict or a finalizer."""
MOST_GROWTH = 24.0
"""MiB that the second half of the backups may add to what the first half took."""


@pytest.fixture
def admins() -> Iterator[list[ScriptedAdmin]]:
    with ExitStack() as stack:
        yield [stack.enter_context(ScriptedAdmin(loopback())) for _ in range(GATEWAYS)]


async def test_many_at_once_are_all_made_once_at_a_bounded_cost(
    defined: Cluster, namespace: str, operator: OperatorProcess, admins: list[ScriptedAdmin]
) -> None:
    half = COUNT // 2
    async with ApiServer.of(defined) as api:
        hosts, keys = [admin.host for admin in admins], [admin.key for admin in admins]
        gateways = await create_gateways(defined, api, namespace, hosts, keys)
        before = await api.counted()
        await run_concurrently(api, namespace, gateways, half)
        first = operator.rss()
        await run_concurrently(api, namespace, gateways, half, first=half)
        second = operator.rss()
        await asyncio.sleep(1)  # the events of the last ones
        written, kinds = writes(before, await api.counted(), created=2 * half)
        listed: list[dict[str, Any]] = (await api.call("GET", BACKUPS.format(namespace)))["items"]

    assert Counter(one["status"]["phase"] for one in listed) == {"Completed": 2 * half}
    _each_has_one_file(listed, admins, dict(zip(gateways, admins, strict=True)))
    assert written / (2 * half) <= MOST_WRITES, kinds
    assert second - first <= MOST_GROWTH, f"{first:.0f} MiB, then {second:.0f}"


def _each_has_one_file(listed: list[dict[str, Any]], admins: list[ScriptedAdmin], of: dict[str, ScriptedAdmin]) -> None:
    wanted: dict[str, set[str]] = {admin.host: set() for admin in admins}
    for one in listed:
        assert one["status"]["attempt"] == 1
        host = of[one["spec"]["gatewayRef"]["name"]].host
        wanted[host].add(contract.backup_id_for(VOLUME, one["metadata"]["uid"]))
    assert {admin.host: set(admin.backups) for admin in admins} == wanted
    asked = [body["request_id"] for admin in admins for body in admin.bodies]
    assert len(asked) == len(set(asked)) == len(listed)
    assert len({record.path for admin in admins for record in admin.backups.values()}) == len(listed)
