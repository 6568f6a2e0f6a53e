"""Retention on a real API server with the real admin API: it deletes exactly the right files, also after crashes.

The first tests run the operator as a process. The later ones run single passes in this process, so that a crash can be
injected after each write.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway_operator.domain.model.names import APPROVE_DELETIONS, job_backup_name
from gateway_operator.ports import Ports
from gateway_operator.reconcile.retention.controller import RetentionController
from tests.operator.conftest import IMAGE
from tests.operator.support.admission import POLICIES, installed_policies
from tests.operator.support.clocks import ShortSleepClock
from tests.operator.support.kubectl_gateway import KubectlGateway
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.real_gateway import RealGateway, real_gateway
from tests.operator.support.reconcile_in_process import in_process_operator, log, reconcile_to_end
from tests.operator.support.workloads import Kube, custom_resource, wait_for
from tests.unit.gateway_operator.retention.world import ActBeforeCall
from tests.unit.gateway_operator.simulation.faults import CrashError, Faults

pytestmark = pytest.mark.cluster
WRITES = {"write_status", "delete_ours", "delete_by_uid", "delete_backup", "event"}


@contextmanager
def retention_operator(kube: Kube, tmp_path: Path, name: str = "operator") -> Iterator[OperatorProcess]:
    """The operator process, for this namespace only, with a retention pass every half second."""
    flags = ["--pass-seconds=0.5"]
    environment = {"GATEWAY_OPERATOR_IMAGE": IMAGE, "GATEWAY_OPERATOR_ADMISSION_POLICIES": POLICIES}
    log_file = tmp_path / f"{name}.log"
    with OperatorProcess(kube.cluster, log_file, kube.namespace, flags=flags, environment=environment) as process:
        yield process


@pytest.fixture
def policies(kube: Kube) -> Iterator[None]:
    """The admission policies, without which no approval counts."""
    with installed_policies(kube, IMAGE):
        yield


def run_schedule(kube: Kube, *jobs: str) -> list[str]:
    """Run the schedule `nightly` by a Job of its CronJob, once for each name. Returns the names of the backups."""
    names = []
    for job in jobs:
        kube.kubectl("create", "job", "--from=cronjob/nightly", job)
        uid = kube.require("job", job)["metadata"]["uid"]
        names.append(job_backup_name(job, uid))
        kube.complete_backup(names[-1], group="nightly", job={"name": job, "uid": uid})
    return names


def start_schedule(kube: Kube, **spec: Any) -> None:
    """Apply the schedule `nightly`, and wait for its CronJob."""
    kube.kubectl("create", "serviceaccount", "gw-backup", check=False)
    kube.apply_schedule("nightly", **spec)
    wait_for("the CronJob", lambda: kube.get("cronjob", "nightly"))


def backup_names(kube: Kube) -> set[str]:
    return {body["metadata"]["name"] for body in kube.items("gwb")}


def file_names(gw: RealGateway) -> set[str]:
    """The names of the backups on the volume: the file names without the time and the uid."""
    return {"-".join(path.name.split("-")[1:-1]) for path in gw.backup_files()}


def wait_until_only(kube: Kube, gw: RealGateway, expected: set[str]) -> None:
    """Wait until exactly these backups are left, as objects and as files."""
    wait_for(f"only {expected}", lambda: backup_names(kube) == expected and file_names(gw) == expected)


def test_retention_deletes_only_files_that_no_rule_keeps(kube: Kube, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path) as gw, retention_operator(kube, tmp_path) as process:
        start_schedule(kube, retention={"keepLast": 30}, objective={"maxAge": "26h"})
        kube.complete_backup("mine", group="manual")
        pinned, _, _, b3, b4 = run_schedule(kube, "pinned", "b1", "b2", "b3", "b4")
        kube.patch_spec("gwb", pinned, {"pinned": True})
        kube.wait_condition("gwbs", "nightly", "RetentionApplied", "Applied")
        kube.patch_spec("gwbs", "nightly", {"retention": {"keepLast": 2}})
        wait_until_only(kube, gw, {"mine", pinned, b3, b4})
        kube.wait_condition("gwbs", "nightly", "RetentionApplied", "Applied")
        kube.wait_condition("gwbs", "nightly", "ObjectiveMet", "ObjectiveMet")
        kube.wait_condition("gwbs", "nightly", "GatewayHealthy", "GatewayHealthy")
        kept = kube.wait_status("gwb", b4, lambda status: status.get("keptBy"))
        assert kept["keptBy"] == ["minKeep", "keepLast"]
        assert kube.wait_status("gwb", pinned, lambda status: status.get("keptBy"))["keptBy"] == ["pinned"]
        wait_for("the events", lambda: kube.events("nightly").count(("Normal", "DeletedByRetention")) == 2)
        # One more backup, and later the removed pin, each make one backup expire.
        (b5,) = run_schedule(kube, "b5")
        wait_until_only(kube, gw, {"mine", pinned, b4, b5})
        kube.patch_spec("gwb", pinned, {"pinned": False})
        wait_until_only(kube, gw, {"mine", b4, b5})
        # After that, passes write nothing.
        wait_for("passes without a write", lambda: _no_write_for_3_s(kube))
        assert "unexpected error" not in process.log()


def test_created_backups_remove_no_other_backup(kube: Kube, tmp_path: Path) -> None:
    """Groups, annotations, made-up Jobs and files that are adopted again: none of them deletes a file of others."""
    with real_gateway(kube, tmp_path) as gw, retention_operator(kube, tmp_path):
        start_schedule(kube, retention={"keepLast": 3, "includeAdopted": True})
        names = run_schedule(kube, "b1", "b2", "b3")
        kube.complete_backup("mine", group="team")
        forgotten = kube.complete_backup("forgotten", group="team")["path"]
        kube.kubectl("delete", "gwb", "forgotten")
        uid = kube.require("gwbs", "nightly")["metadata"]["uid"]
        annotations = {"mcpgateway.dev/restore-uid": uid, "mcpgateway.dev/delete-file": "requested"}
        for number in range(4):
            kube.complete_backup(f"evil-{number}", group="nightly")
            kube.complete_backup(f"team-{number}", group="team")
            body = custom_resource("GatewayBackup", f"safe-{number}", {"gatewayRef": {"name": "gw"}, "group": "safety"})
            body["metadata"]["annotations"] = annotations
            kube.apply(body)
            kube.wait_phase("gwb", f"safe-{number}", "Completed")
        kube.complete_backup("again", group="nightly", existing={"path": forgotten})
        before = set(gw.backup_files())
        time.sleep(3)  # several passes
        assert {*names, "mine", "again"} <= backup_names(kube)
        assert set(gw.backup_files()) == before
        assert kube.status("gwb", "again")["origin"] == "Adopted"
        kube.kubectl("delete", "gwb", "--all")
        assert set(gw.backup_files()) == before


def _no_write_for_3_s(kube: Kube) -> bool:
    def versions() -> list[str]:
        return [body["metadata"]["resourceVersion"] for kind in ("gwb", "gwbs") for body in kube.items(kind)]

    before = versions()
    end = datetime.now(UTC) + timedelta(seconds=3)
    wait_for("three seconds", lambda: datetime.now(UTC) > end)
    return versions() == before


def test_ttl_applies_without_a_schedule(kube: Kube, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path) as gw, retention_operator(kube, tmp_path):
        kube.complete_backup("brief", group="manual", ttl="5s")
        kube.complete_backup("last", group="manual", ttl="5s")
        wait_until_only(kube, gw, {"last"})
        # minKeep keeps it, because it is the last Verified backup.
        kube.wait_status("gwb", "last", lambda status: status.get("keptBy") == ["minKeep"])
        kube.complete_backup("newer", group="manual")
        wait_until_only(kube, gw, {"newer"})


def test_retention_with_two_operators_and_repeated_kills(kube: Kube, tmp_path: Path, policies: None) -> None:
    with real_gateway(kube, tmp_path) as gw:
        with retention_operator(kube, tmp_path) as process, retention_operator(kube, tmp_path, "second"):
            start_schedule(kube, retention={"keepLast": 30})
            names = run_schedule(kube, *(f"b{number}" for number in range(8)))
            kube.patch_spec("gwbs", "nightly", {"retention": {"keepLast": 3}})
            kube.wait_condition("gwbs", "nightly", "RetentionApplied", "LargeDeletion")
            approve(kube)
            for _ in range(4):
                wait_for(
                    "one more deletion, or the last",
                    partial(_has_fewer_backups, kube, len(backup_names(kube))),
                    timeout=60,
                )
                process.kill()
                process.start()
            wait_until_only(kube, gw, set(names[5:]))
        with retention_operator(kube, tmp_path):
            kube.wait_condition("gwbs", "nightly", "RetentionApplied", "Applied")
        wait_until_only(kube, gw, set(names[5:]))


def _has_fewer_backups(kube: Kube, than: int) -> bool:
    return len(backup_names(kube)) < than or len(backup_names(kube)) == 3


def test_retention_applies_to_the_watched_namespace_only(kube: Kube, tmp_path: Path) -> None:
    other = Kube(kube.cluster, f"{kube.namespace}-other")
    kube.cluster.kubectl("create", "namespace", other.namespace)
    try:
        with real_gateway(kube, tmp_path) as gw, retention_operator(kube, tmp_path):
            start_schedule(kube, retention={"keepLast": 1})
            other.apply_schedule("nightly", retention={"keepLast": 1})
            _, newest = run_schedule(kube, "b1", "b2")
            wait_until_only(kube, gw, {newest})
            kube.wait_condition("gwbs", "nightly", "RetentionApplied", "Applied")
            assert "conditions" not in other.status("gwbs", "nightly")
    finally:
        kube.cluster.kubectl("delete", "namespace", other.namespace, "--wait=false")


def approve(kube: Kube) -> None:
    """Approve what the schedule's status asks for, with the command. It asks first, names the target and the plan."""
    asked = kube.wait_status("gwbs", "nightly", lambda status: status["retention"]["approvals"])
    cli = KubectlGateway.as_admin(kube)
    assert "Pass --yes" in cli.run("retention", "approve", "nightly", code=2).stderr
    assert APPROVE_DELETIONS not in kube.require("gwbs", "nightly")["metadata"]["annotations"]
    done = cli.run("retention", "approve", "nightly", "--yes")
    assert done.stdout == "gatewaybackupschedule.mcpgateway.dev/nightly approved\n"
    for text in (f"namespace {kube.namespace}:", *(one["nonce"] for one in asked["retention"]["approvals"])):
        assert text in done.stderr
    nonces = ",".join(one["nonce"] for one in asked["retention"]["approvals"])
    assert kube.require("gwbs", "nightly")["metadata"]["annotations"][APPROVE_DELETIONS] == nonces


async def scheduled_backups(kube: Kube, *names: str, schedule: str = "nightly") -> None:
    """Make backups in this process, with the origin that a real Job would give them."""
    for name in names:
        kube.apply_backup(name, group=schedule)
        await reconcile_to_end(kube, "GatewayBackup", name, Faults())
        kube.patch_status("gwb", name, {"origin": "Schedule", "schedule": schedule})


async def test_lost_files_push_out_no_file(kube: Kube, tmp_path: Path, kubeconfig_env: None) -> None:
    """Three of four files vanish, as with an older snapshot, and one more backup is made."""
    with real_gateway(kube, tmp_path) as gw:
        await scheduled_backups(kube, "b0", "b1", "b2", "b3")
        kube.apply_schedule("nightly", retention={"keepLast": 4}, objective={"maxAge": "26h"})
        async with in_process_operator(ShortSleepClock(), Faults()) as (ports, _healthy):
            controller = RetentionController(ports, [kube.namespace], log)
            await controller.run_once()
            lost = {path: path.read_bytes() for path in gw.backup_files() if "-b0-" not in path.name}
            assert len(lost) == 3
            for path in lost:
                path.unlink()
            await asyncio.sleep(1.1)  # completion times have a resolution of one second
            await scheduled_backups(kube, "b4")
            for _ in range(3):
                await asyncio.sleep(1.1)
                await controller.run_once()
            assert file_names(gw) == {"b0", "b4"}
            assert retention_reason(kube) == "InventoryShrank"
            assert [condition_of(kube, name, "FilePresent") for name in ("b1", "b3", "b0")] == ["False", "False", None]
            for path, content in lost.items():
                path.write_bytes(content)
            await run_passes(kube, ports, 2)
        assert condition_of(kube, "b1", "FilePresent") is None
        assert file_names(gw) == {"b1", "b2", "b3", "b4"}, "all are back, and keepLast deletes the fifth"


@pytest.mark.parametrize("change", ["policy by mistake", "created again"])
async def test_large_deletion_waits_for_approval(
    kube: Kube, tmp_path: Path, policies: None, kubeconfig_env: None, change: str
) -> None:
    with real_gateway(kube, tmp_path) as gw:
        await scheduled_backups(kube, *(f"b{number}" for number in range(8)))
        kube.apply_schedule("nightly", retention={"keepLast": 30})
        await asyncio.sleep(1.1)
        async with in_process_operator(ShortSleepClock(), Faults()) as (ports, _healthy):
            await run_passes(kube, ports, 1)
            if change == "created again":
                kube.kubectl("delete", "gwbs", "nightly")
            kube.apply_schedule("nightly", retention={"keepLast": 3})
            await run_passes(kube, ports, 2)
            assert len(gw.backup_files()) == 8
            assert retention_reason(kube) == "LargeDeletion"
            approve(kube)
            await run_passes(kube, ports, 2)
            assert backup_names(kube) == file_names(gw) == {"b5", "b6", "b7"}
            assert retention_reason(kube) == "Applied"
            nothing = KubectlGateway.as_admin(kube).run("retention", "approve", "nightly", "--yes", code=1)
            assert "waits for no approval" in nothing.stderr


def retention_reason(kube: Kube) -> str:
    """The reason of the condition RetentionApplied."""
    present = kube.status("gwbs", "nightly")["conditions"]
    return next(str(one["reason"]) for one in present if one["type"] == "RetentionApplied")


def condition_of(kube: Kube, name: str, kind: str) -> str | None:
    """The status of a condition of a backup; None without it."""
    present = kube.status("gwb", name)["conditions"]
    return next((str(one["status"]) for one in present if one["type"] == kind), None)


async def run_passes(kube: Kube, ports: Ports, number: int) -> None:
    """Run retention passes in this process. They must set no finalizer."""
    controller = RetentionController(ports, [kube.namespace], log)
    for _ in range(number):
        await controller.run_once()
        assert not [body for body in kube.items("gwb") if "finalizers" in body["metadata"]]


async def test_retention_survives_a_crash_after_each_write(kube: Kube, tmp_path: Path, kubeconfig_env: None) -> None:
    with real_gateway(kube, tmp_path) as gw:
        baseline = Faults()
        await _expire_with_crash(kube, gw, baseline, 0)
        writes = [number for number, name in enumerate(baseline.names, 1) if name in WRITES]
        assert len(writes) >= 10, baseline.names
        for number in writes:
            await _expire_with_crash(kube, gw, Faults(None, {number}), number)


async def _expire_with_crash(kube: Kube, gw: RealGateway, faults: Faults, number: int) -> None:
    """Reduce a new set from four backups to two, with a crash in the first pass unless `number` is 0.

    Then a new operator runs two passes, after which objects, files and status must be right.
    """
    group = f"set-{number}"
    await scheduled_backups(kube, *(f"{group}-b{index}" for index in range(4)), schedule=group)
    kube.apply_schedule(group, retention={"keepLast": 2})
    await asyncio.sleep(1.1)  # a backup is compared with a list that is newer than its completion
    async with in_process_operator(ShortSleepClock(), faults) as (faulty, _healthy):
        if number:
            with pytest.raises(CrashError):
                await run_passes(kube, faulty, 1)
        else:
            await run_passes(kube, faulty, 1)
    async with in_process_operator(ShortSleepClock(), Faults()) as (ports, _healthy):
        await run_passes(kube, ports, 2)
    expected = {f"{group}-b2", f"{group}-b3"}
    assert {name for name in backup_names(kube) if name.startswith(f"{group}-")} == expected, faults.names
    assert {name for name in file_names(gw) if name.startswith(f"{group}-")} == expected, faults.names
    status = kube.status("gwbs", group)
    assert [one["reason"] for one in status["conditions"] if one["type"] == "RetentionApplied"] == ["Applied"]
    assert status["retention"]["inventory"] == 2
    kube.kubectl("delete", "gwbs", group)


@pytest.mark.parametrize("call", ["read", "write_status"])
async def test_backup_pinned_during_a_pass_is_kept(kube: Kube, tmp_path: Path, kubeconfig_env: None, call: str) -> None:
    with real_gateway(kube, tmp_path) as gw:
        await scheduled_backups(kube, "b0", "b1", "b2")
        kube.apply_schedule("nightly", retention={"keepLast": 1})
        await asyncio.sleep(1.1)

        def pin() -> None:
            kube.patch_spec("gwb", "b0", {"pinned": True})

        async with in_process_operator(ShortSleepClock(), Faults()) as (_, healthy):
            stale = Ports(ActBeforeCall(healthy.cluster, call, pin), healthy.admin_api, healthy.clock)
            await run_passes(kube, stale, 2)
        assert backup_names(kube) == file_names(gw) == {"b0", "b2"}
        assert kube.status("gwb", "b0")["keptBy"] == ["pinned"]


async def test_operator_clock_a_year_ahead_deletes_nothing(kube: Kube, tmp_path: Path, kubeconfig_env: None) -> None:
    """The operator compares its clock with the Date header of the API server's answers."""

    class YearAheadClock(ShortSleepClock):
        def now(self) -> datetime:
            return datetime.now(UTC) + timedelta(days=365)

    with real_gateway(kube, tmp_path) as gw:
        await scheduled_backups(kube, "b0", "b1", "b2")
        kube.apply_schedule("nightly", retention={"maxAge": "30d"})
        async with in_process_operator(YearAheadClock(), Faults()) as (ports, _healthy):
            await run_passes(kube, ports, 2)
        assert backup_names(kube) == file_names(gw) == {"b0", "b1", "b2"}
        conditions = kube.status("gwbs", "nightly")["conditions"]
        assert [one["reason"] for one in conditions if one["type"] == "RetentionApplied"] == ["ClockDiffers"]
