"""Which status gives which notification, and that a recorded one is not sent again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.names import SCHEDULE_LABEL
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.notifications.notification import Severity, State, Topic
from gateway_operator.domain.notifications.sources import Resource, record_key, unsent
from tests.unit.gateway_operator.notifications.objects import NOW, backup, condition, restore, schedule

APPROVAL: dict[str, Any] = {
    "phase": "Pending",
    "approval": {"expiresAt": "2026-01-02T12:00:00Z"},
    "completionTime": None,
}


def recorded(resource: Any, receiver: str = "slack") -> Any:
    """The object after the delivery of all its notifications to one receiver."""
    marks = {record_key(receiver, one.topic): one.mark for one in unsent(resource, receiver)}
    notified = {**(resource.status.get("notified") or {}), **marks}
    return replace(resource, status={**resource.status, "notified": notified})


CASES: list[tuple[Resource, Topic, State, Severity]] = [
    (backup(), Topic.BackupFailed, State.occurred, Severity.error),
    (
        backup(phase="Completed", conditions=[condition("Suspicious", True, "Suspicious")]),
        Topic.BackupSuspicious, State.occurred, Severity.warning,
    ),
    (
        backup(phase="Completed", conditions=[condition("FilePresent", False, "FileMissing")]),
        Topic.FilesMissing, State.firing, Severity.error,
    ),
    (restore(), Topic.RestoreFinished, State.occurred, Severity.info),
    (restore(phase="Failed"), Topic.RestoreFinished, State.occurred, Severity.error),
    (restore(phase="RolledBack"), Topic.RestoreFinished, State.occurred, Severity.error),
    (restore(phase="RollbackFailed"), Topic.RestoreFinished, State.occurred, Severity.error),
    (restore(**APPROVAL), Topic.ApprovalRequired, State.occurred, Severity.warning),
    (restore(phase="Failed", spec={"mode": "Drill"}), Topic.DrillFailed, State.occurred, Severity.error),
    (
        schedule("s", condition("ObjectiveMet", False, "ObjectiveMissed")),
        Topic.ObjectiveMissed, State.firing, Severity.error,
    ),
    (schedule("s", condition("Drilled", False, "DrillOverdue")), Topic.DrillFailed, State.firing, Severity.error),
    (
        schedule("s", condition("RetentionApplied", False, "LargeDeletion")),
        Topic.DeletionsHeld, State.firing, Severity.warning,
    ),
    (
        schedule("s", condition("CertificateValid", False, "CertificateExpiring")),
        Topic.CertificateExpiring, State.firing, Severity.warning,
    ),
    (
        schedule("s", condition("GatewayHealthy", False, "Unreachable")),
        Topic.GatewayUnhealthy, State.firing, Severity.error,
    ),
    (schedule("s", condition("Ready", False, "JobFailed")), Topic.ScheduleNotReady, State.firing, Severity.error),
    (schedule("s", retention={"missingFiles": 2}), Topic.FilesMissing, State.firing, Severity.error),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "topic", "state", "severity"), CASES)
def test_status_gives_one_notification_once(resource: Resource, topic: Topic, state: State, severity: Severity) -> None:
    (one,) = unsent(resource, "slack")
    assert (one.topic, one.state, one.severity, one.ref) == (topic, state, severity, resource.meta.ref)
    assert unsent(recorded(resource), "slack") == ()
    # Each receiver has a record of its own.
    assert [other.topic for other in unsent(recorded(resource), "webhook")] == [topic]
    assert unsent(resource, "slack", frozenset(Topic) - {topic}) == ()
    deleting = replace(resource, meta=replace(resource.meta, deleting_since=NOW))
    assert unsent(deleting, "slack") == ()


def test_each_topic_has_a_case() -> None:
    assert {case[1] for case in CASES} == set(Topic)


@pytest.mark.parametrize(
    "resource",
    [
        backup(phase="Completed"),
        backup(phase="Running"),
        restore(phase="Restoring"),
        restore(spec={"mode": "DryRun"}),
        restore(spec={"mode": "Drill"}),
        restore(phase="Failed", spec={"mode": "Drill"}, labels={SCHEDULE_LABEL: "nightly"}),
        schedule(),
        *(schedule("s", condition("RetentionApplied", False, str(one))) for one in ("DryRun", "NoPolicy")),
        schedule("s", condition("ObjectiveMet", True, "ObjectiveMet"), retention={"missingFiles": 0}),
        # The schedule reports the missing files of its backups together.
        backup(phase="Completed", origin="Schedule", conditions=[condition("FilePresent", False, "FileMissing")]),
    ],
)
def test_nothing_is_sent_about_a_state_that_needs_no_person(resource: Resource) -> None:
    assert unsent(resource, "slack") == ()


def test_problem_that_ends_is_resolved_once() -> None:
    ended = recorded(schedule("s", condition("ObjectiveMet", False, "ObjectiveMissed")))
    ended = replace(ended, status={**ended.status, "conditions": [condition("ObjectiveMet", True, "ObjectiveMet")]})
    (one,) = unsent(ended, "slack")
    assert (one.state, one.mark, one.severity) == (State.resolved, "", Severity.info)
    assert unsent(recorded(ended), "slack") == ()


def test_another_reason_and_another_end_are_sent_again() -> None:
    held = recorded(schedule("s", condition("RetentionApplied", False, "LargeDeletion")))
    other = condition("RetentionApplied", False, "InventoryShrank")
    assert [one.reason for one in unsent(replace(held, status={**held.status, "conditions": [other]}), "slack")] == [
        "InventoryShrank"
    ]
    unhealthy = recorded(schedule("s", condition("GatewayHealthy", False, "Unreachable")))
    changed = {**unhealthy.status, "conditions": [condition("GatewayHealthy", False, "NoReadyPod")]}
    # The first message has waited, so the next one does not.
    assert [one.not_before for one in unsent(replace(unhealthy, status=changed), "slack")] == [None]
    later = timestamps.text(NOW + timedelta(hours=1))
    ended = recorded(restore(phase="Failed"))
    ended_later = replace(ended, status={**ended.status, "phase": "RolledBack", "completionTime": later})
    assert [one.mark for one in unsent(ended_later, "slack")] == [later]


@pytest.mark.parametrize(
    ("kind", "reason", "minutes"),
    [
        ("RetentionApplied", Reason.ListingIncomplete, 15),
        ("RetentionApplied", Reason.LargeDeletion, 0),
        ("RetentionApplied", Reason.InventoryShrank, 0),
        ("RetentionApplied", Reason.PolicyInvalid, 0),
        ("GatewayHealthy", Reason.Unreachable, 2),
        ("Ready", Reason.CronJobDeleting, 5),
        ("ObjectiveMet", Reason.ObjectiveMissed, 0),
    ],
)
def test_state_that_may_pass_is_sent_only_if_it_lasts(kind: str, reason: Reason, minutes: int) -> None:
    (one,) = unsent(schedule("s", condition(kind, False, str(reason))), "slack")
    assert one.not_before == (NOW + timedelta(minutes=minutes) if minutes else None)


@pytest.mark.parametrize("status", [{"notified": "text"}, {"notified": None}, {"notified": {"slack.BackupFailed": 7}}])
def test_record_that_was_edited_by_hand_is_no_error(status: dict[str, Any]) -> None:
    assert [one.topic for one in unsent(backup(**status), "slack")] == [Topic.BackupFailed]
