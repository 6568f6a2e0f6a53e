"""Retention on a real API server and a real admin API: the right files go, in whatever way the operator ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway_operator.ports import Ports
from gateway_operator.reconcile.retention.sweep import RetentionController
from tests.operator.resilience.test_crash_after_each_call import Impatient, config, log, operator, run
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.real_gateway import RealGateway, real_gateway
from tests.operator.support.workloads import Kube, until
from tests.unit.gateway_operator.retention.test_sweep import Meanwhile
from tests.unit.gateway_operator.simulation.faults import CrashError, Faults

pytestmark = pytest.mark.cluster
EFFECTS = {"write_status", "delete_ours", "delete_by_uid", "delete_backup", "event"}
__all__ = ["config"]


@contextmanager
def sweeping(kube: Kube, tmp_path: Path, name: str = "operator") -> Iterator[OperatorProcess]:
    """The real operator, in this namespace alone, which sweeps without a pause to speak of."""
    flags = ["--sweep-seconds=0.5"]
    with OperatorProcess(kube.cluster, tmp_path / f"{name}.log", kube.namespace, flags=flags) as process:
        yield process


def completed(kube: Kube, *names: str, group: str = "nightly", **spec: Any) -> None:
    """Backups, one after the other."""
    for name in names:
        kube.backup(name, group=group, **spec)
        kube.wait_phase("gwb", name, "Completed")


def names(kube: Kube) -> set[str]:
    """The GatewayBackups that there are."""
    return {body["metadata"]["name"] for body in kube.items("gwb")}


def files(gw: RealGateway) -> set[str]:
    """The names in the files that there are: without the time in front and the uid behind."""
    return {"-".join(path.name.split("-")[1:-1]) for path in gw.files()}


def settled(kube: Kube, gw: RealGateway, wanted: set[str]) -> None:
    """Wait until exactly these are left, objects and files."""
    until(f"only {wanted}", lambda: names(kube) == wanted and files(gw) == wanted, timeout=60)


def test_the_files_that_no_rule_keeps_go_and_all_others_stay(kube: Kube, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path) as gw, sweeping(kube, tmp_path) as process:
        completed(kube, "mine", group="manual")
        completed(kube, "pinned", pinned=True)
        completed(kube, "b1", "b2", "b3", "b4")
        kube.schedule("nightly", retention={"keepLast": 2}, objective={"maxAge": "26h"})
        settled(kube, gw, {"mine", "pinned", "b3", "b4"})
        kube.wait_condition("gwbs", "nightly", "RetentionApplied", "Applied")
        kube.wait_condition("gwbs", "nightly", "ObjectiveMet", "ObjectiveMet")
        kept = kube.wait_status("gwb", "b4", lambda status: status.get("keptBy"))
        assert kept["keptBy"] == ["minKeep", "keepLast"]
        assert kube.wait_status("gwb", "pinned", lambda status: status.get("keptBy"))["keptBy"] == ["pinned"]
        until("the events", lambda: kube.events("nightly").count(("Normal", "DeletedByRetention")) == 2)
        # one more lets the oldest go, and unpinning the pinned one
        completed(kube, "b5")
        settled(kube, gw, {"mine", "pinned", "b4", "b5"})
        kube.run("patch", "gwb/pinned", "--type=merge", "-p", '{"spec":{"pinned":false}}')
        settled(kube, gw, {"mine", "b4", "b5"})
        # then there is nothing to write, pass after pass
        until("a pass of rest", lambda: _at_rest(kube))
        assert "The retention pass failed" not in process.log()


def _at_rest(kube: Kube) -> bool:
    def versions() -> list[str]:
        return [body["metadata"]["resourceVersion"] for kind in ("gwb", "gwbs") for body in kube.items(kind)]

    before = versions()
    until_later = datetime.now(UTC) + timedelta(seconds=3)
    until("three seconds", lambda: datetime.now(UTC) > until_later)
    return versions() == before


def test_a_ttl_needs_no_schedule_and_goes_by_the_snapshot(kube: Kube, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path) as gw, sweeping(kube, tmp_path):
        completed(kube, "brief", group="manual", ttl="5s")
        completed(kube, "last", group="manual", ttl="5s")
        settled(kube, gw, {"last"})
        # what keeps it is that it is the last Verified one
        kube.wait_status("gwb", "last", lambda status: status.get("keptBy") == ["minKeep"])
        completed(kube, "newer", group="manual")
        settled(kube, gw, {"newer"})


def test_two_operators_and_one_that_is_killed_again_and_again(kube: Kube, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path) as gw:
        with sweeping(kube, tmp_path) as process, sweeping(kube, tmp_path, "second"):
            completed(kube, *(f"b{number}" for number in range(8)))
            kube.schedule("nightly", retention={"keepLast": 3})
            for _ in range(4):
                until("a deletion or its end", partial(_fewer, kube, len(names(kube))), timeout=60)
                process.kill()
                process.start()
            settled(kube, gw, {"b5", "b6", "b7"})
        with sweeping(kube, tmp_path):
            kube.wait_condition("gwbs", "nightly", "RetentionApplied", "Applied")
        settled(kube, gw, {"b5", "b6", "b7"})


def _fewer(kube: Kube, than: int) -> bool:
    return len(names(kube)) < than or len(names(kube)) == 3


def test_only_the_watched_namespace_is_swept(kube: Kube, tmp_path: Path) -> None:
    other = Kube(kube.cluster, f"{kube.namespace}-other")
    kube.cluster.kubectl("create", "namespace", other.namespace)
    try:
        with real_gateway(kube, tmp_path) as gw, sweeping(kube, tmp_path):
            kube.schedule("nightly", retention={"keepLast": 1})
            other.schedule("nightly", retention={"keepLast": 1})
            completed(kube, "b1", "b2")
            settled(kube, gw, {"b2"})
            kube.wait_condition("gwbs", "nightly", "RetentionApplied", "Applied")
            assert "conditions" not in other.status("gwbs", "nightly")
    finally:
        kube.cluster.kubectl("delete", "namespace", other.namespace, "--wait=false")


# in this process, so that each step can be broken by name


async def passes(kube: Kube, ports: Ports, number: int) -> None:
    """Passes without anything in between: no kopf and no finalizer."""
    sweeper = RetentionController(ports, [kube.namespace], log)
    for _ in range(number):
        await sweeper.run_once()
        assert not [body for body in kube.items("gwb") if "finalizers" in body["metadata"]]


async def test_a_crash_after_every_effect_of_a_pass(kube: Kube, tmp_path: Path, config: None) -> None:
    with real_gateway(kube, tmp_path) as gw:
        without = Faults()
        await _one_crash(kube, gw, without, 0)
        effects = [number for number, name in enumerate(without.names, 1) if name in EFFECTS]
        assert len(effects) >= 10, without.names
        for number in effects:
            await _one_crash(kube, gw, Faults(None, {number}), number)


async def _one_crash(kube: Kube, gw: RealGateway, faults: Faults, number: int) -> None:
    """A set of its own, from four to two, with a crash; then what a new operator makes of it."""
    group = f"set-{number}"
    for index in range(4):
        kube.backup(f"{group}-b{index}", group=group)
        await run(kube, "GatewayBackup", f"{group}-b{index}", Faults())
    kube.schedule(group, retention={"keepLast": 2})
    async with operator(Impatient(), faults) as (broken, _whole):
        if number:
            with pytest.raises(CrashError):
                await passes(kube, broken, 1)
        else:
            await passes(kube, broken, 1)
    async with operator(Impatient(), Faults()) as (ports, _whole):
        await passes(kube, ports, 2)
    wanted = {f"{group}-b2", f"{group}-b3"}
    assert {name for name in names(kube) if name.startswith(f"{group}-")} == wanted, faults.names
    assert {name for name in files(gw) if name.startswith(f"{group}-")} == wanted, faults.names
    status = kube.status("gwbs", group)
    assert [one["reason"] for one in status["conditions"] if one["type"] == "RetentionApplied"] == ["Applied"]
    assert status["retention"]["inventory"] == 2
    kube.run("delete", "gwbs", group)


@pytest.mark.parametrize("call", ["read", "write_status"])
async def test_one_that_is_pinned_after_the_list_stays(kube: Kube, tmp_path: Path, config: None, call: str) -> None:
    with real_gateway(kube, tmp_path) as gw:
        for index in range(3):
            kube.backup(f"b{index}", group="nightly")
            await run(kube, "GatewayBackup", f"b{index}", Faults())
        kube.schedule("nightly", retention={"keepLast": 1})

        def pin() -> None:
            kube.run("patch", "gwb/b0", "--type=merge", "-p", '{"spec":{"pinned":true}}')

        async with operator(Impatient(), Faults()) as (_, whole):
            stale = Ports(Meanwhile(whole.cluster, call, pin), whole.admin_api, whole.clock)
            await passes(kube, stale, 2)
        assert names(kube) == files(gw) == {"b0", "b2"}
        assert kube.status("gwb", "b0")["keptBy"] == ["pinned"]


async def test_a_clock_that_jumps_a_year_ahead_deletes_nothing(kube: Kube, tmp_path: Path, config: None) -> None:
    """The API server says what time it is with every answer."""

    class Ahead(Impatient):
        def now(self) -> datetime:
            return datetime.now(UTC) + timedelta(days=365)

    with real_gateway(kube, tmp_path) as gw:
        for index in range(3):
            kube.backup(f"b{index}", group="nightly", ttl="30d")
            await run(kube, "GatewayBackup", f"b{index}", Faults())
        kube.schedule("nightly", retention={"maxAge": "30d"})
        async with operator(Ahead(), Faults()) as (ports, _whole):
            await passes(kube, ports, 2)
        assert names(kube) == files(gw) == {"b0", "b1", "b2"}
        conditions = kube.status("gwbs", "nightly")["conditions"]
        assert [one["reason"] for one in conditions if one["type"] == "RetentionApplied"] == ["ClockDiffers"]
