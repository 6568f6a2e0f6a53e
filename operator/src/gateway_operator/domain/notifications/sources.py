"""Finds the notifications of one object: the facts in its status, minus those that its status records as sent.

``status.notified`` maps RECEIVER.TOPIC to the mark of the last delivery. So a restart, or another replica, sends
nothing again, and a transition during a downtime is still sent. Nothing else has to be stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway_operator.domain.gateway.health import GATEWAY_HEALTHY
from gateway_operator.domain.model import conditions, timestamps
from gateway_operator.domain.model.identifiers import Origin
from gateway_operator.domain.model.names import SCHEDULE_LABEL
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup, Json
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.notifications.notification import Notification, Severity, State, Topic
from gateway_operator.domain.restore.status import TERMINAL_RESTORE_PHASES
from gateway_operator.domain.retention.result import RETENTION_APPLIED
from gateway_operator.domain.retention.status import OBJECTIVE_MET, QUIET_REASONS
from gateway_operator.domain.schedule.certificate import CERTIFICATE_VALID
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule

Resource = Backup | Restore | GatewayBackupSchedule
MAX_AGE: Final = timedelta(hours=24)
"""Older ends of backups and restores are not sent, for example when notifications are switched on."""
_NEEDS_PERSON: Final = frozenset({Reason.InventoryShrank, Reason.LargeDeletion, Reason.PolicyInvalid})
"""Holds that do not clear automatically."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """How long a condition of a schedule must be False before a notification is due, and its severity."""

    topic: Topic
    severity: Severity
    patience: timedelta = timedelta()


_SCHEDULE_RULES: Final[Mapping[str, _Rule]] = {
    OBJECTIVE_MET: _Rule(Topic.ObjectiveMissed, Severity.error),
    RETENTION_APPLIED: _Rule(Topic.DeletionsHeld, Severity.warning, timedelta(minutes=15)),
    conditions.DRILLED: _Rule(Topic.DrillFailed, Severity.error),
    CERTIFICATE_VALID: _Rule(Topic.CertificateExpiring, Severity.warning),
    GATEWAY_HEALTHY: _Rule(Topic.GatewayUnhealthy, Severity.error, timedelta(minutes=2)),
    conditions.READY: _Rule(Topic.ScheduleNotReady, Severity.error, timedelta(minutes=5)),
}


@dataclass(frozen=True, slots=True)
class _Fact:
    """One topic of an object as its status is now. ``mark`` is empty if there is no problem."""

    topic: Topic
    mark: str
    reason: str
    message: str
    since: datetime
    severity: Severity = Severity.error
    once: bool = False
    """It is an end, which never resolves."""
    patience: timedelta = timedelta()


def unsent(resource: Resource, receiver: str, topics: frozenset[Topic] = frozenset(Topic)) -> tuple[Notification, ...]:
    """The unsent notifications of an object for one receiver. Empty for an object that is being deleted."""
    if resource.meta.deleting_since is not None:
        return ()
    recorded = resource.status.get("notified")
    recorded = recorded if isinstance(recorded, Mapping) else {}
    schedule = _schedule_name(resource)
    return tuple(
        item
        for fact in _facts(resource)
        if fact.topic in topics
        and (item := _notification(resource, schedule, fact, str(recorded.get(record_key(receiver, fact.topic)) or "")))
    )


def record_key(receiver: str, topic: Topic) -> str:
    """The key in ``status.notified``."""
    return f"{receiver}.{topic}"


def _notification(resource: Resource, schedule: str, fact: _Fact, before: str) -> Notification | None:
    if fact.mark == before:
        return None
    if not fact.mark and fact.once:
        return None
    state = State.occurred if fact.once else State.firing if fact.mark else State.resolved
    # Only the beginning of a problem waits. A change of its reason was preceded by a message already.
    patience = timedelta() if before else fact.patience
    return Notification(
        ref=resource.meta.ref,
        gateway=resource.gateway,
        schedule=schedule,
        topic=fact.topic,
        state=state,
        severity=Severity.info if state is State.resolved else fact.severity,
        reason=fact.reason,
        message=fact.message,
        since=fact.since,
        mark=fact.mark,
        previous_mark=before,
        not_before=timestamps.later(fact.since, patience.total_seconds()) if patience else None,
        expires=timestamps.later(fact.since, MAX_AGE.total_seconds()) if fact.once else None,
    )


def _schedule_name(resource: Resource) -> str:
    if isinstance(resource, GatewayBackupSchedule):
        return resource.name
    if isinstance(resource, Backup):
        return resource.schedule
    return str(resource.meta.labels.get(SCHEDULE_LABEL) or "")


def _facts(resource: Resource) -> Iterator[_Fact]:
    if isinstance(resource, Backup):
        return _backup_facts(resource)
    return _restore_facts(resource) if isinstance(resource, Restore) else _schedule_facts(resource)


def _since(resource: Resource, condition: Json) -> datetime:
    return timestamps.parse(condition.get("lastTransitionTime")) or resource.meta.created


def _backup_facts(backup: Backup) -> Iterator[_Fact]:
    ended = backup.time("completionTime") or backup.meta.created
    if backup.phase == "Failed":
        yield _Fact(Topic.BackupFailed, timestamps.text(ended), backup.reason, backup.message, ended, once=True)
        return
    suspicious = conditions.find_condition(backup.conditions, conditions.SUSPICIOUS)
    if suspicious.get("status") == "True" and not backup.accepted:
        since, message = _since(backup, suspicious), str(suspicious.get("message") or "")
        yield _Fact(
            Topic.BackupSuspicious, timestamps.text(since), str(Reason.Suspicious), message, since,
            Severity.warning, once=True,
        )  # fmt: skip
    if backup.origin is Origin.Schedule:
        return  # the schedule counts the missing files of its backups, and reports them together
    present = conditions.find_condition(backup.conditions, conditions.FILE_PRESENT)
    missing = present.get("status") == "False"
    yield _Fact(
        Topic.FilesMissing,
        str(Reason.FileMissing) if missing else "",
        str(Reason.FileMissing if missing else Reason.FileBack),
        str(present.get("message") or "The file is on the volume again."),
        _since(backup, present),
    )


def _restore_facts(restore: Restore) -> Iterator[_Fact]:
    if restore.awaits_approval and restore.approval.get("expiresAt"):
        mark, message = str(restore.approval["expiresAt"]), restore.message
        yield _Fact(
            Topic.ApprovalRequired, mark, str(Reason.ApprovalRequired), message, restore.meta.created,
            Severity.warning, once=True,
        )  # fmt: skip
    if restore.phase not in TERMINAL_RESTORE_PHASES or restore.is_dry_run:
        return
    ended, failed = restore.time("completionTime") or restore.meta.created, restore.phase != "Completed"
    topic = Topic.RestoreFinished
    if restore.mode == "Drill":
        if not failed or SCHEDULE_LABEL in restore.meta.labels:
            return  # a schedule has a condition of its own for its drills
        topic = Topic.DrillFailed
    severity = Severity.error if failed else Severity.info
    message = f"{restore.phase}: {restore.message}"
    yield _Fact(topic, timestamps.text(ended), restore.reason, message, ended, severity, once=True)


def _schedule_facts(schedule: GatewayBackupSchedule) -> Iterator[_Fact]:
    for kind, rule in _SCHEDULE_RULES.items():
        condition = conditions.find_condition(schedule.conditions, kind)
        reason = str(condition.get("reason") or "")
        problem = condition.get("status") == "False" and reason not in QUIET_REASONS
        yield _Fact(
            topic=rule.topic,
            mark=reason if problem else "",
            reason=reason,
            message=str(condition.get("message") or "It no longer applies."),
            since=_since(schedule, condition),
            severity=rule.severity,
            patience=timedelta() if reason in _NEEDS_PERSON else rule.patience,
        )
    missing = schedule.retention_status.get("missingFiles")
    number = missing if isinstance(missing, int) and missing > 0 else 0
    noun = "file is" if number == 1 else "files are"
    yield _Fact(
        topic=Topic.FilesMissing,
        mark=str(number) if number else "",
        reason=str(Reason.FileMissing if number else Reason.FileBack),
        message=f"{number} {noun} missing on the backup volume." if number else "No file is missing any more.",
        since=timestamps.parse(schedule.retention_status.get("lastPassTime")) or schedule.meta.created,
    )
