"""A crash of the operator after each write: backups, restores, schedules and imports must still end correctly.

A first run without faults lists the calls of the adapters. Then one run follows for each call that changes something,
with a crash after it. Reads change nothing, so these are all states that a crash can leave. The unit tests crash at
reads as well. The reconciles run in this process, without kopf.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway_operator.adapters.admin_api import HttpAdminApi
from gateway_operator.adapters.cluster import KubernetesCluster
from gateway_operator.adapters.objects.cron_jobs import KubernetesCronJobs
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import job_backup_name
from gateway_operator.domain.schedule.cronjob import Image
from gateway_operator.ports import Ports
from gateway_operator.reconcile.schedule import ScheduleParts, reconcile_schedule
from tests.operator.support.clocks import ShortSleepClock
from tests.operator.support.real_gateway import RealGateway, real_gateway
from tests.operator.support.reconcile_in_process import log, reconcile_to_end
from tests.operator.support.workloads import Kube, custom_resource
from tests.unit.gateway_operator.simulation.faults import CrashError, Faults

pytestmark = pytest.mark.cluster
WRITES = {"write_status", "create_ours", "delete_by_uid", "backup", "restore", "commit", "restart", "event", "create",
          "patch"}  # fmt: skip


def crashes(baseline: Faults) -> list[Faults]:
    """One crash after each call of the fault-free run that changes something."""
    return [Faults(None, {number}) for number, name in enumerate(baseline.names, 1) if name in WRITES]


async def test_backup_survives_a_crash_after_each_write(kube: Kube, tmp_path: Path, kubeconfig_env: None) -> None:
    with real_gateway(kube, tmp_path) as gw:
        kube.apply_backup("without-crash")
        baseline = Faults()
        await reconcile_to_end(kube, "GatewayBackup", "without-crash", baseline)
        files = 1
        for faults in crashes(baseline):
            name = f"after-{min(faults.after)}"
            kube.apply_backup(name)
            await reconcile_to_end(kube, "GatewayBackup", name, faults)
            files += 1
            status = kube.status("gwb", name)
            assert status["phase"] == "Completed", (name, faults.names, status)
            assert len(gw.backup_files()) == files, (name, faults.names)
        assert files > 4


async def test_restore_survives_a_crash_after_each_write(kube: Kube, tmp_path: Path, kubeconfig_env: None) -> None:
    with real_gateway(kube, tmp_path, admin_settle_seconds=0) as gw:
        kube.apply_backup("good")
        await reconcile_to_end(kube, "GatewayBackup", "good", Faults())
        gw.write_config(users=5)
        baseline = Faults()
        await restore_and_check(kube, gw, "without-crash", baseline)
        for faults in crashes(baseline):
            gw.write_config(users=5)
            await restore_and_check(kube, gw, f"after-{min(faults.after)}", faults)


async def restore_and_check(kube: Kube, gw: RealGateway, name: str, faults: Faults) -> None:
    """Run one restore to its end. It must be committed once, with one safety backup."""
    kube.apply_restore(name, backupName="good", healthCheck={"timeoutSeconds": 20, "consecutive": 1})
    await reconcile_to_end(kube, "GatewayRestore", name, faults)
    status = kube.status("gwr", name)
    assert status["phase"] == "Completed", (name, faults.names, status)
    assert gw.count_users() == 2, (name, faults.names)
    assert gw.get_restore(status["requestID"])["data"]["state"] == "committed"
    safety = [
        one for one in kube.items("gwb") if name == one["metadata"].get("labels", {}).get("mcpgateway.dev/restore")
    ]
    assert len(safety) == 1, (name, faults.names)
    assert safety[0]["status"]["counts"]["users"] == 5, (name, faults.names)
    origin = safety[0]["status"]["origin"], safety[0]["status"]["restore"]["uid"]
    assert origin == ("Restore", kube.require("gwr", name)["metadata"]["uid"]), (name, faults.names)
    assert status["safetyBackupUID"] == safety[0]["metadata"]["uid"]


async def reconcile_schedule_to_end(kube: Kube, name: str, faults: Faults) -> None:
    """Reconcile a schedule, and restart after each crash until one reconcile ends."""
    ref = Ref("GatewayBackupSchedule", kube.namespace, name, "")
    for _ in range(10):
        cluster = await KubernetesCluster.connect()
        ports = Ports(faults.wrap(cluster, False), HttpAdminApi(), ShortSleepClock())
        cron_jobs = faults.wrap(KubernetesCronJobs(cluster), False)
        try:
            await reconcile_schedule(ScheduleParts(ports, cron_jobs, Image("operator:1")), ref, log)
        except CrashError:
            continue
        finally:
            await cluster.close()
        return
    raise AssertionError(f"{name} does not end: {kube.status('gwbs', name)}")


async def change_schedule_and_check(kube: Kube, name: str, faults: Faults) -> None:
    """Create a schedule, edit its CronJob, delete its CronJob, change the schedule. Check the CronJob after each."""
    kube.apply_schedule(name)
    await reconcile_schedule_to_end(kube, name, faults)
    kube.kubectl("patch", "cronjob", name, "--type=merge", "-p", '{"spec":{"suspend":true}}')
    await reconcile_schedule_to_end(kube, name, faults)
    assert kube.require("cronjob", name)["spec"]["suspend"] is False, faults.names
    kube.kubectl("delete", "cronjob", name)
    await reconcile_schedule_to_end(kube, name, faults)
    kube.apply_schedule(name, schedule="0 4 1 1 *")
    await reconcile_schedule_to_end(kube, name, faults)
    assert kube.require("cronjob", name)["spec"]["schedule"] == "0 4 1 1 *", faults.names
    status = kube.status("gwbs", name)
    assert status["observedGeneration"] == 2, (name, faults.names)
    assert [(one["type"], one["status"]) for one in status["conditions"]] == [("Ready", "True")], (name, faults.names)


async def test_conflict_with_the_cronjob_controller_is_repaired_at_once(kube: Kube, kubeconfig_env: None) -> None:
    """The controller writes the status of the CronJob at any time: no webhook has overruled the operator then."""
    kube.kubectl("create", "serviceaccount", "gw-backup")
    kube.apply_schedule("nightly")
    await reconcile_schedule_to_end(kube, "nightly", Faults())
    kube.patch_spec("cronjob", "nightly", {"suspend": True})
    baseline = Faults()
    await reconcile_schedule_to_end(kube, "nightly", baseline)
    kube.patch_spec("cronjob", "nightly", {"suspend": True})
    status = {"lastScheduleTime": "2026-01-01T04:00:00Z"}
    before_the_patch = {baseline.names.index("patch") + 1: lambda: kube.patch_status("cronjob", "nightly", status)}
    faults = Faults(frozen=before_the_patch)
    await reconcile_schedule_to_end(kube, "nightly", faults)
    assert faults.names.count("patch") == 2, "the first one was refused"
    assert kube.require("cronjob", "nightly")["spec"]["suspend"] is False
    (ready,) = kube.status("gwbs", "nightly")["conditions"]
    assert (ready["type"], ready["reason"]) == ("Ready", "Scheduled")


async def test_schedule_survives_a_crash_after_each_write(kube: Kube, kubeconfig_env: None) -> None:
    kube.kubectl("create", "serviceaccount", "gw-backup")
    baseline = Faults()
    await change_schedule_and_check(kube, "without-crash", baseline)
    for number, faults in enumerate(crashes(baseline)):
        await change_schedule_and_check(kube, f"after-{number}", faults)
    assert len(kube.items("cronjobs")) == 1 + len(crashes(baseline))


async def scheduled_backup_and_check(kube: Kube, job: str, faults: Faults) -> None:
    """Start a Job of the schedule `nightly`, and reconcile its backup. Its origin must be the schedule."""
    kube.patch_status("gwbs", "nightly", {"cronJobUID": None})
    kube.kubectl("create", "job", "--from=cronjob/nightly", job)
    uid = kube.require("job", job)["metadata"]["uid"]
    name = job_backup_name(job, uid)
    kube.apply_backup(name, group="nightly", job={"name": job, "uid": uid})
    await reconcile_to_end(kube, "GatewayBackup", name, faults)
    status = kube.status("gwb", name)
    expected = ("Completed", "Schedule", "nightly")
    assert (status["phase"], status["origin"], status["schedule"]) == expected, (faults.names, status)
    cron_job = kube.require("cronjob", "nightly")["metadata"]["uid"]
    assert kube.status("gwbs", "nightly")["cronJobUID"] == cron_job, faults.names


async def test_origin_survives_a_crash_after_each_write(kube: Kube, tmp_path: Path, kubeconfig_env: None) -> None:
    with real_gateway(kube, tmp_path) as gw:
        kube.kubectl("create", "serviceaccount", "gw-backup")
        kube.apply_schedule("nightly")
        await reconcile_schedule_to_end(kube, "nightly", Faults())
        baseline = Faults()
        await scheduled_backup_and_check(kube, "without-crash", baseline)
        for number, faults in enumerate(crashes(baseline)):
            await scheduled_backup_and_check(kube, f"after-{number}", faults)
        assert len(gw.backup_files()) == 1 + len(crashes(baseline))


async def import_and_check(kube: Kube, name: str, faults: Faults) -> None:
    """Create the object `kept` again, so that it ends in NameUsed, and import its file under the same name."""
    path = kube.status("gwb", "kept")["path"]
    kube.kubectl("delete", "gwb/kept")
    kube.apply_backup("kept")
    await reconcile_to_end(kube, "GatewayBackup", "kept", Faults())
    assert kube.status("gwb", "kept")["reason"] == "NameUsed"
    kube.apply(custom_resource("GatewayBackupImport", name, {"gatewayRef": {"name": "gw"}}))
    await reconcile_to_end(kube, "GatewayBackupImport", name, faults)
    status = kube.status("gwb", "kept")
    assert (status["phase"], status["path"], status["origin"]) == ("Completed", path, "Adopted"), (faults.names, status)
    assert [one["metadata"]["name"] for one in kube.items("gwb")] == ["kept"], faults.names
    assert kube.status("gwbi", name)["phase"] == "Completed", faults.names


async def test_import_survives_a_crash_after_each_write(kube: Kube, tmp_path: Path, kubeconfig_env: None) -> None:
    with real_gateway(kube, tmp_path) as gw:
        kube.apply_backup("kept")
        await reconcile_to_end(kube, "GatewayBackup", "kept", Faults())
        baseline = Faults()
        await import_and_check(kube, "without-crash", baseline)
        assert "delete_by_uid" in baseline.names
        for number, faults in enumerate(crashes(baseline)):
            await import_and_check(kube, f"after-{number}", faults)
        assert len(gw.backup_files()) == 1
