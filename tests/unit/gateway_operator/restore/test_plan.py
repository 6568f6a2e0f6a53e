"""The judgement of a dry run before anything changes, and its description in the status and on a terminal."""

from __future__ import annotations

from typing import Any

import pytest

from gateway_api.contract import EntryDiff, KeyDiff, RestorePlan
from gateway_operator.cli.restore_diff import diff_lines
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.plan import diff_status, diff_text, is_newer, plan_refusal
from tests.unit.gateway_operator.simulation.fake_admin_api import health_data, restore_plan

ROTATE = {"factoryReset": {"confirm": True, "rotateAdminKey": True}}
KEEP = {"factoryReset": {"confirm": True}}


def restore(**spec: Any) -> Restore:
    return Restore.parse({"metadata": {"name": "r"}, "spec": {"gatewayRef": {"name": "gw"}, **spec}})


@pytest.mark.parametrize(
    ("spec", "plan", "live_version", "reason"),
    [
        ({}, {}, None, None),
        ({}, {"source_gateway_id": "other"}, None, "OtherGateway"),
        ({"allowOtherGateway": True}, {"source_gateway_id": "other"}, None, None),
        ({}, {"source_gateway_id": None}, None, None),
        ({}, {"source_gateway_version": "2.3.0"}, "2.2.4", "NewerVersion"),
        ({"allowOtherGateway": True}, {"source_gateway_version": "2.3.0"}, "2.2.4", None),
        ({}, {"source_gateway_version": "2.2.0"}, "2.2.4", None),
        ({}, {"source_gateway_version": "2.3.0"}, None, None),
        (ROTATE, {"key_remains_accepted": False}, None, "AdminKeyWouldBeLost"),
        (ROTATE, {"key_remains_accepted": True}, None, None),
        (KEEP, {"key_remains_accepted": False}, None, None),
        # A restored config with another admin key is the way back after a rotation: the restore is made.
        ({"backupName": "b"}, {"key_remains_accepted": False}, None, None),
    ],
)
def test_restore_is_refused_for_what_the_plan_tells(
    spec: dict[str, Any], plan: dict[str, Any], live_version: str | None, reason: str | None
) -> None:
    health = health_data(gateway_version=live_version)
    refusal = plan_refusal(restore(**spec), health, restore_plan(**plan))
    assert (None if refusal is None else refusal.reason) == reason


@pytest.mark.parametrize(
    ("source", "live", "newer"),
    [
        ("2.2.5", "2.2.4", True),
        ("2.10", "2.9.1", True),
        ("v3", "2.9", True),
        ("2.2.0", "2.2", False),
        ("2.2", "2.2.0", False),
        ("2.2.4-rc1", "2.2.4", False),
        ("2.1", "2.2", False),
        ("latest", "2.2", False),
        ("2.2", "latest", False),
        (None, "2.2", False),
        ("2.2", None, False),
        ("9" * 400, "1", True),
    ],
)
def test_versions_are_compared_by_number(source: str | None, live: str | None, newer: bool) -> None:
    assert is_newer(source, live) is newer


def plan_with_all_changes() -> RestorePlan:
    plan = restore_plan()
    diff = plan.diff.model_copy(
        update={
            "admin_key_changes": True,
            "configs": EntryDiff(added=0, removed=0, changed=60, changed_names=[f"c-{n:02}" for n in range(50)]),
            "api_keys": KeyDiff(added=1, removed=0, changed=0, disabled=2, enabled=1),
            "settings_changed": ["plugins", "other"],
        }
    )
    return plan.model_copy(update={"diff": diff, "source_path": "manual/x.json.zst"})


def test_diff_in_the_status_has_names_and_no_key() -> None:
    status = diff_status(plan_with_all_changes())
    assert status["adminKeyChanges"] is True
    users = {"name": "users", "added": 1, "removed": 2, "changed": 0, "addedNames": ["new"], "removedNames": ["a", "b"]}
    keys = {"name": "apiKeys", "added": 1, "removed": 0, "changed": 0, "disabled": 2, "enabled": 1}
    assert [one for one in status["sections"] if one["name"] in ("users", "apiKeys")] == [users, keys]
    assert status["settingsChanged"] == ["plugins", "other"]


def test_message_begins_with_the_admin_key() -> None:
    assert diff_text(plan_with_all_changes()) == (
        "The admin key changes. The restore would change: MCP configs ~60; users +1 -2; API keys +1 2 disabled "
        "1 enabled; settings plugins, other."
    )


def test_terminal_output_lists_the_names() -> None:
    status = {"source": {"path": "manual/x.json.zst"}, "diff": diff_status(plan_with_all_changes())}
    lines = list(diff_lines({**status, "diff": {**status["diff"], "obstacle": "the rollout is paused."}}))
    assert lines[:3] == ["Source: manual/x.json.zst", "Admin key: CHANGES", "MCP configs: ~60"]
    assert lines[53:61] == [
        "  ~ and 10 more",
        "Projects: unchanged",
        "Users: +1 -2",
        "  + new",
        "  - a",
        "  - b",
        "API keys: +1 2 disabled 1 enabled",
        "Settings: plugins, other changed",
    ]
    assert lines[61] == "Warning: a restore would be refused now: the rollout is paused."
