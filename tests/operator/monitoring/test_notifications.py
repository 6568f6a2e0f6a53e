"""Notifications of two real replicas to a real HTTP server that refuses and hangs, with a SIGKILL of the leader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.webhook_receiver import SECRET_TOKEN, WebhookReceiver, webhook_receiver
from tests.operator.support.workloads import GatewayDeployment, Kube, wait_for

pytestmark = pytest.mark.cluster

LEASE = "notifications-test"


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[WebhookReceiver]:
    """A receiver whose Slack URL does not answer yet, and whose other URL refuses the first request."""
    with webhook_receiver() as server:
        (tmp_path / "secret").mkdir()
        server.write_secret(tmp_path / "secret")
        server.refusals = [(429, {"Retry-After": "1"})]
        yield server


def replica(kube: Kube, folder: Path, name: str) -> OperatorProcess:
    """An operator process with leader election."""
    environment = {"GATEWAY_OPERATOR_NOTIFICATIONS": str(folder / "secret"), "POD_ID": name}
    flags = ["--leader-elect", f"--lease-name={LEASE}", "--lease-seconds=4"]
    return OperatorProcess(kube.cluster, folder / f"{name}.log", kube.namespace, environment=environment, flags=flags)


def holder(kube: Kube) -> str:
    """The replica that holds the Lease."""
    lease = kube.cluster.rest.get("lease", "default", LEASE) or {}
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def notified(kube: Kube, name: str) -> dict[str, str]:
    """The record of the deliveries about a backup."""
    record: dict[str, str] = (kube.require("gwb", name).get("status") or {}).get("notified") or {}
    return record


def test_failures_are_sent_once_across_refusals_and_a_new_leader(
    kube: Kube, gateway: GatewayDeployment, receiver: WebhookReceiver, tmp_path: Path
) -> None:
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": LEASE}}
    assert kube.cluster.rest.create(lease, "default")  # as the chart does
    broken = {"gatewayRef": {"name": "absent"}, "startingDeadlineSeconds": 1}
    with replica(kube, tmp_path, "one") as leader:
        wait_for("the leader", lambda: holder(kube).startswith("one"))
        with replica(kube, tmp_path, "two") as standby:
            kube.apply_backup("before", **broken)
            # No backup waits for a receiver: Slack does not answer, and the other one refuses.
            kube.complete_backup("good")
            wait_for("the notification", lambda: receiver.names == ["before"])
            assert receiver.refused == [429]
            wait_for("its record", lambda: list(notified(kube, "before")) == ["webhook.BackupFailed"])
            assert "were sent" not in standby.log(), "a standby sends nothing"
            leader.kill()
            kube.apply_backup("after", **broken)
            receiver.slack_may_answer.set()
            wait_for("both records", lambda: all(len(notified(kube, name)) == 2 for name in ("before", "after")))
            assert receiver.names == ["before", "after"], "the new leader has repeated nothing"
            for name in ("before", "after"):
                line = f"*BackupFailed* (GatewayNotFound): GatewayBackup {kube.namespace}/{name}"
                assert line in receiver.slack_text
            assert "good" not in receiver.slack_text
            assert receiver.tokens == {f"Bearer {SECRET_TOKEN}"}
            assert 'notifications_total{result="sent"}' in standby.metrics()
            assert "s3cr3t" not in leader.log() + standby.log()
