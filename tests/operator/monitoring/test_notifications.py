"""Notifications of a real operator to a real HTTP server that refuses, hangs and recovers, and across a SIGKILL."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.webhook_receiver import SECRET_TOKEN, webhook_receiver
from tests.operator.support.workloads import GatewayDeployment, Kube, wait_for

pytestmark = pytest.mark.cluster


def test_failures_are_sent_once_across_refusals_and_restarts(
    kube: Kube, gateway: GatewayDeployment, tmp_path: Path
) -> None:
    folder = tmp_path / "secret"
    folder.mkdir()
    environment = {"GATEWAY_OPERATOR_NOTIFICATIONS": str(folder), "GATEWAY_OPERATOR_CLUSTER_NAME": "east"}
    with webhook_receiver() as receiver:
        receiver.write_secret(folder)
        receiver.refusals = [(429, {"Retry-After": "1"})]
        log = tmp_path / "operator.log"
        with OperatorProcess(kube.cluster, log, kube.namespace, environment=environment) as operator:
            fail_backup(kube, "before")
            # No backup waits for a receiver: Slack does not answer, and the other one refuses.
            kube.complete_backup("good")
            wait_for("the notification", lambda: receiver.names == ["before"])
            assert receiver.refused == [429]
            wait_for("its record", lambda: list(notified(kube, "before")) == ["webhook.BackupFailed"])
            operator.kill()
            kube.apply_backup("after", gatewayRef={"name": "absent"}, startingDeadlineSeconds=1)
            receiver.slack_may_answer.set()
            operator.start()
            wait_for("both records", lambda: all(len(notified(kube, name)) == 2 for name in ("before", "after")))
            assert receiver.names == ["before", "after"], "the restart has repeated nothing"
            for name in ("before", "after"):
                line = f"*BackupFailed* (GatewayNotFound): GatewayBackup {kube.namespace}/{name}"
                assert line in receiver.slack_text
            assert "good" not in receiver.slack_text
            assert receiver.tokens == {f"Bearer {SECRET_TOKEN}"}
            url = f"http://127.0.0.1:{operator.metrics_port}/metrics"
            with urllib.request.urlopen(url, timeout=5) as response:
                assert 'notifications_total{result="sent"}' in response.read().decode()
        assert "s3cr3t" not in log.read_text()


def fail_backup(kube: Kube, name: str) -> None:
    """A backup of a gateway that does not exist."""
    kube.apply_backup(name, gatewayRef={"name": "absent"}, startingDeadlineSeconds=1)
    kube.wait_phase("gwb", name, "Failed")


def notified(kube: Kube, name: str) -> dict[str, str]:
    """The record of the deliveries about a backup."""
    record: dict[str, str] = (kube.require("gwb", name).get("status") or {}).get("notified") or {}
    return record
