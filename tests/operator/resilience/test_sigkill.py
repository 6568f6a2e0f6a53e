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
from tests.operator.support.workloads import Gateway, Kube, until

pytestmark = pytest.mark.cluster


@pytest.fixture
def own_operator(kube: Kube, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator of one's own, which watches one namespace only."""
    with OperatorProcess(kube.cluster, tmp_path / "operator.log", kube.namespace) as process:
        yield process


def test_killed_in_the_middle_of_a_call(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, own_operator: OperatorProcess
) -> None:
    admin.slow = 3
    kube.backup("cut")
    until("the call", lambda: admin.bodies)
    assert kube.status("gwb", "cut")["phase"] == "Running"
    own_operator.kill()
    time.sleep(0.5)
    own_operator.start()
    kube.wait_phase("gwb", "cut", "Completed", timeout=60)
    assert len(admin.backups) == 1
    assert len({body["request_id"] for body in admin.bodies}) == 1
    assert len({body["path"] for body in admin.bodies}) == 1


def test_down_while_one_is_created_and_another_deleted(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, own_operator: OperatorProcess
) -> None:
    kube.backup("old")
    kube.wait_phase("gwb", "old", "Completed")
    own_operator.kill()
    kube.delete_with_file("old", "--wait=false")
    kube.backup("new")
    own_operator.start()
    kube.wait_phase("gwb", "new", "Completed")
    until("the old one is gone", lambda: kube.get("gwb", "old") is None)
    assert len(admin.backups) == 1


def test_a_stop_is_quick_and_the_api_server_may_restart(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, own_operator: OperatorProcess
) -> None:
    kube.cluster.restart_api_server()
    kube.backup("after")
    kube.wait_phase("gwb", "after", "Completed", timeout=60)
    assert own_operator.alive()
    started = time.monotonic()
    assert own_operator.stop() == 0
    assert time.monotonic() - started < 10


def test_a_namespace_that_is_watched_alone_can_be_deleted(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, own_operator: OperatorProcess
) -> None:
    """Its watch must live until the last finalizer is gone; and only the file with deleteFile may go."""
    for number in range(3):
        kube.backup(f"held-{number}")
    kube.run("wait", "--for=condition=Completed", "gwb", "--all", "--timeout=30s")
    kube.run("patch", "gwb/held-0", "--type=merge", "-p", '{"spec":{"deleteFile":true}}')
    until("the finalizer", lambda: (kube.get("gwb", "held-0") or {})["metadata"].get("finalizers"))
    kube.run("delete", "namespace", kube.namespace, "--timeout=60s")
    assert len(admin.backups) >= 2


def test_a_start_asks_nothing_about_what_is_finished(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, own_operator: OperatorProcess
) -> None:
    for number in range(3):
        kube.backup(f"done-{number}")
    kube.run("wait", "--for=condition=Completed", "gwb", "--all", "--timeout=30s")
    until("the last write", partial(settled, kube, "done-2"))
    own_operator.stop()
    before, calls = kube.items("gwb"), len(admin.calls)
    own_operator.start()
    time.sleep(2)
    assert kube.items("gwb") == before
    assert len(admin.calls) == calls


def test_two_operators_make_one_backup(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, own_operator: OperatorProcess, tmp_path: Path
) -> None:
    with OperatorProcess(kube.cluster, tmp_path / "second.log", kube.namespace):
        for number in range(5):
            kube.backup(f"both-{number}")
        kube.run("wait", "--for=condition=Completed", "gwb", "--all", "--timeout=60s")
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


def test_memory_and_writes(kube: Kube, gateway: Gateway, admin: ScriptedAdmin, own_operator: OperatorProcess) -> None:
    """At most 100 MiB at rest; at most five writes a backup, its event included; no finalizer and no annotation."""
    assert own_operator.rss() <= 100
    with counted(kube) as writes:
        kube.backup("plain")
        kube.wait_phase("gwb", "plain", "Completed")
        until("the last write", partial(settled, kube, "plain"))
    created = 1
    made = writes.count("plain") - created + len(kube.events("plain"))
    meta = (kube.get("gwb", "plain") or {})["metadata"]
    assert list(meta["annotations"]) == ["kubectl.kubernetes.io/last-applied-configuration"]
    assert "finalizers" not in meta
    print(f"writes: {made}; RSS {own_operator.rss():.1f} MiB")
    assert made <= 5
