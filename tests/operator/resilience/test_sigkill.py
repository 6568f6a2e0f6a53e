"""The operator killed as a node that dies kills it: one backup, one end. And what it costs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.scripted_admin_api import ScriptedAdmin
from tests.operator.support.workloads import Gateway, Kube, wait_for

pytestmark = pytest.mark.cluster


@pytest.fixture
def own_operator(kube: Kube, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator of one's own, which watches one namespace only."""
    with OperatorProcess(kube.cluster, tmp_path / "operator.log", kube.namespace) as process:
        yield process


def test_operator_killed_during_a_call_creates_one_backup(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, own_operator: OperatorProcess
) -> None:
    admin.slow = 3
    kube.apply_backup("cut")
    wait_for("the call", lambda: admin.backup_requests)
    assert kube.status("gwb", "cut")["phase"] == "Running"
    own_operator.kill()
    time.sleep(0.5)
    own_operator.start()
    kube.wait_phase("gwb", "cut", "Completed", timeout=60)
    assert len(admin.backups) == 1
    assert len({body["request_id"] for body in admin.backup_requests}) == 1
    assert len({body["path"] for body in admin.backup_requests}) == 1


def test_changes_during_downtime_are_reconciled_after_the_start(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, own_operator: OperatorProcess
) -> None:
    kube.complete_backup("old")
    own_operator.kill()
    kube.delete_with_file("old", "--wait=false")
    kube.apply_backup("new")
    own_operator.start()
    kube.wait_phase("gwb", "new", "Completed")
    wait_for("the old one is gone", lambda: kube.get("gwb", "old") is None)
    assert len(admin.backups) == 1


def test_operator_survives_api_server_restart_and_stops_within_10_s(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, own_operator: OperatorProcess
) -> None:
    kube.cluster.restart_api_server()
    kube.apply_backup("after")
    kube.wait_phase("gwb", "after", "Completed", timeout=60)
    assert own_operator.alive()
    started = time.monotonic()
    assert own_operator.stop() == 0
    assert time.monotonic() - started < 10


def test_watched_namespace_can_be_deleted(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, own_operator: OperatorProcess
) -> None:
    """Its watch must live until the last finalizer is gone; and only the file with deleteFile may go."""
    for number in range(3):
        kube.apply_backup(f"held-{number}")
    kube.kubectl("wait", "--for=condition=Completed", "gwb", "--all", "--timeout=30s")
    kube.patch_spec("gwb", "held-0", {"deleteFile": True})
    wait_for("the finalizer", lambda: kube.require("gwb", "held-0")["metadata"].get("finalizers"))
    kube.kubectl("delete", "namespace", kube.namespace, "--timeout=60s")
    assert len(admin.backups) >= 2


def test_operator_start_makes_no_calls_for_finished_backups(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, own_operator: OperatorProcess
) -> None:
    for number in range(3):
        kube.apply_backup(f"done-{number}")
    kube.kubectl("wait", "--for=condition=Completed", "gwb", "--all", "--timeout=30s")
    wait_for("the last write", partial(settled, kube, "done-2"))
    own_operator.stop()
    before, calls = kube.items("gwb"), len(admin.calls)
    own_operator.start()
    time.sleep(2)
    assert kube.items("gwb") == before
    assert len(admin.calls) == calls


def test_two_operators_create_each_backup_once(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, own_operator: OperatorProcess, tmp_path: Path
) -> None:
    with OperatorProcess(kube.cluster, tmp_path / "second.log", kube.namespace):
        for number in range(5):
            kube.apply_backup(f"both-{number}")
        kube.kubectl("wait", "--for=condition=Completed", "gwb", "--all", "--timeout=60s")
    assert len(admin.backups) == 5


@contextmanager
def counted(kube: Kube) -> Iterator[list[str]]:
    """Counts how often each GatewayBackup is written: the watch shows every version."""
    command = ["kubectl", "-n", kube.namespace, "get", "gwb", "--watch-only", "-o", "name"]
    seen: list[str] = []
    watch = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=kube.cluster.environment)
    time.sleep(1)
    try:
        yield seen
        time.sleep(1)
    finally:
        watch.terminate()
        output, _ = watch.communicate(timeout=10)
        seen.extend(line.rpartition("/")[2] for line in output.splitlines())


def settled(kube: Kube, name: str) -> bool:
    """Whether the operator's last write, the event about its end, is made as well."""
    return ("Normal", "BackedUp") in kube.events(name)


def test_memory_at_rest_and_writes_per_backup_are_bounded(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, own_operator: OperatorProcess
) -> None:
    """At most 100 MiB at rest; at most five writes a backup, its event included; no finalizer and no annotation."""
    assert own_operator.rss() <= 100
    with counted(kube) as writes:
        kube.complete_backup("plain")
        wait_for("the last write", partial(settled, kube, "plain"))
    created = 1
    made = writes.count("plain") - created + len(kube.events("plain"))
    meta = kube.require("gwb", "plain")["metadata"]
    assert list(meta["annotations"]) == ["kubectl.kubernetes.io/last-applied-configuration"]
    assert "finalizers" not in meta
    print(f"writes: {made}; RSS {own_operator.rss():.1f} MiB")
    assert made <= 5
