"""The bodies for Slack and for a generic webhook: complete, escaped, and without secrets."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_operator.domain.notifications.sources import unsent
from gateway_operator.domain.notifications.text import hide_secrets, json_body, slack_body
from tests.unit.gateway_operator.notifications.objects import backup, condition, schedule

SECRETS = [
    "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ",
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----",
    "Authorization: Bearer s3cr3t-t0ken",
    "https://user:s3cr3t@example.com/x",
    "https://hooks.slack.com/services/T0/B0/s3cr3t",
]  # fmt: skip


def bodies(message: str) -> list[str]:
    items = unsent(backup(message=message), "slack")
    return [json.dumps(slack_body(items, "east")), json.dumps(json_body(items, "east"))]


@given(st.sampled_from(SECRETS), st.text(max_size=600), st.text(max_size=20))
def test_no_body_contains_a_secret(secret: str, before: str, after: str) -> None:
    for text in bodies(f"{before} {secret} {after}"):
        for fragment in ("QQQQQQ", "MC4CAQAw", "s3cr3t"):
            assert fragment not in text


@pytest.mark.parametrize("text", ["No pod of Deployment gw is Ready.", "https://example.com/path", "2 files: a, b"])
def test_text_without_secrets_is_unchanged(text: str) -> None:
    assert hide_secrets(text) == text


@given(st.text(alphabet="<>&!|@#abc ", max_size=80))
def test_text_of_an_object_cannot_mention_a_slack_channel(message: str) -> None:
    (item,) = unsent(backup(message=message), "slack")
    text = slack_body([item], "<!here>")["text"]
    assert "<" not in text
    assert ">" not in text


def test_bodies_name_the_object_and_its_state() -> None:
    items = [
        *unsent(backup(), "slack"),
        *unsent(schedule("nightly", condition("ObjectiveMet", True, "ObjectiveMet"),
                         notified={"slack.ObjectiveMissed": "ObjectiveMissed"}), "slack"),
    ]  # fmt: skip
    failed, resolved = slack_body(items, "east")["text"].splitlines()
    where = "GatewayBackup prod/b, gateway Deployment/gw, cluster east"
    assert failed == f":red_circle: *BackupFailed* (Unreachable): {where}: No answer."
    assert resolved.startswith(":white_check_mark: *ObjectiveMissed resolved* (ObjectiveMet): ")
    document = json_body(items, "")
    assert (document["version"], document["cluster"]) == ("1", "")
    first, second = document["notifications"]
    assert first == {
        "id": items[0].identifier, "topic": "BackupFailed", "state": "occurred", "severity": "error",
        "kind": "GatewayBackup", "namespace": "prod", "name": "b", "gateway": "Deployment/gw", "schedule": "",
        "reason": "Unreachable", "message": "No answer.", "time": "2026-01-01T12:00:00Z",
    }  # fmt: skip
    assert (second["state"], second["schedule"]) == ("resolved", "nightly")


def test_long_message_is_cut() -> None:
    (item,) = json_body(unsent(backup(message="word " * 1000), "slack"), "")["notifications"]
    assert len(item["message"]) == 500
