"""The operator process: SIGKILL, restarts, two operators at once, and its memory and number of writes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.scripted_admin_api import ScriptedAdminApi
from tests.operator.support.workloads import GatewayDeployment, Kube, wait_for

pytestmark = pytest.mark.cluster


def test_operator_killed_during_a_call_creates_one_backup(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi, namespace_operator: OperatorProcess
) -> None:
    admin.backup_seconds = 3
    kube.apply_backup("cut")
    wait_for("the backup call", lambda: admin.backup_requests)
    assert kube.status("gwb", "cut")["phase"] == "Running"
    namespace_operator.kill()
    time.sleep(0.5)
    namespace_operator.start()
    kube.wait_phase("gwb", "cut", "Completed")
    assert len(admin.backups) == 1
    assert len({body["request_id"] for body in admin.backup_requests}) == 1
    assert len({body["path"] for body in admin.backup_requests}) == 1


def test_changes_during_downtime_are_reconciled_after_the_start(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi, namespace_operator: OperatorProcess
) -> None:
    kube.complete_backup("old")
    namespace_operator.kill()
    kube.delete_with_file("old", "--wait=false")
    kube.apply_backup("new")
    namespace_operator.start()
    kube.wait_phase("gwb", "new", "Completed")
    wait_for("old is deleted", lambda: kube.get("gwb", "old") is None)
    assert len(admin.backups) == 1


def test_operator_survives_api_server_restart_and_stops_within_10_s(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi, namespace_operator: OperatorProcess
) -> None:
    kube.complete_backup("before")  # the watches exist: the probe succeeds before kopf has started them
    kube.cluster.restart_api_server()
    kube.apply_backup("after")
    kube.wait_phase("gwb", "after", "Completed")
    assert namespace_operator.is_alive()
    started = time.monotonic()
    assert namespace_operator.stop() == 0
    assert time.monotonic() - started < 10


def test_watched_namespace_can_be_deleted(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi, namespace_operator: OperatorProcess
) -> None:
    """The watch must work until the last finalizer is removed. Only a file with deleteFile may be deleted."""
    for number in range(3):
        kube.apply_backup(f"held-{number}")
    kube.kubectl("wait", "--for=condition=Completed", "gwb", "--all", "--timeout=60s")
    kube.patch_spec("gwb", "held-0", {"deleteFile": True})
    wait_for("the finalizer", lambda: kube.require("gwb", "held-0")["metadata"].get("finalizers"))
    # After a restart of the API server in another test, the controllers may wait half a minute until they reconnect.
    kube.kubectl("delete", "namespace", kube.namespace, "--timeout=110s")
    assert len(admin.backups) >= 2


def test_operator_start_repeats_no_finished_backup(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi, namespace_operator: OperatorProcess
) -> None:
    for number in range(3):
        kube.apply_backup(f"done-{number}")
    kube.kubectl("wait", "--for=condition=Completed", "gwb", "--all", "--timeout=60s")
    wait_for("the last write", partial(has_final_event, kube, "done-2"))
    namespace_operator.stop()
    before, changes = kube.items("gwb"), [call for call in admin.calls if call[0] != "GET"]
    namespace_operator.start()
    time.sleep(2)
    assert kube.items("gwb") == before
    assert [call for call in admin.calls if call[0] != "GET"] == changes


def test_two_operators_create_each_backup_once(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi, namespace_operator: OperatorProcess, tmp_path: Path
) -> None:
    with OperatorProcess(kube.cluster, tmp_path / "second.log", kube.namespace):
        for number in range(5):
            kube.apply_backup(f"both-{number}")
        kube.kubectl("wait", "--for=condition=Completed", "gwb", "--all", "--timeout=60s")
    assert len(admin.backups) == 5


@contextmanager
def record_writes(kube: Kube) -> Iterator[list[str]]:
    """A list that holds, after the block, one name for each write of a GatewayBackup. A watch shows every version."""
    command = ["kubectl", "-n", kube.namespace, "get", "gwb", "--watch-only", "-o", "name"]
    names: list[str] = []
    watch = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=kube.cluster.environment)
    time.sleep(1)
    try:
        yield names
        time.sleep(1)
    finally:
        watch.terminate()
        output, _ = watch.communicate(timeout=10)
        names.extend(line.rpartition("/")[2] for line in output.splitlines())


def has_final_event(kube: Kube, name: str) -> bool:
    """Whether the event about the completion exists. It is the operator's last write."""
    return ("Normal", "BackedUp") in kube.events(name)


def test_memory_at_rest_and_writes_per_backup_are_bounded(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi, namespace_operator: OperatorProcess
) -> None:
    """At most 100 MiB at rest, and five writes a backup including its event. No finalizer and no annotation."""
    assert namespace_operator.resident_mib() <= 100
    with record_writes(kube) as writes:
        kube.complete_backup("plain")
        wait_for("the last write", partial(has_final_event, kube, "plain"))
    created = 1
    total = writes.count("plain") - created + len(kube.events("plain"))
    metadata = kube.require("gwb", "plain")["metadata"]
    assert list(metadata["annotations"]) == ["kubectl.kubernetes.io/last-applied-configuration"]
    assert "finalizers" not in metadata
    print(f"writes: {total}; RSS {namespace_operator.resident_mib():.1f} MiB")
    assert total <= 5
