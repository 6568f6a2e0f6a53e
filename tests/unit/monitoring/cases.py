"""For each alert: the series that it reads, with their values while all is well and while there is a problem.

A gauge has the values in order: healthy, with the problem. A counter has the increase per minute with the problem, and
none while healthy.
"""

from __future__ import annotations

from dataclasses import dataclass, field

DAY = 86400


@dataclass(frozen=True)
class Gauge:
    """A series with two values; None is an absent series."""

    name: str
    healthy: float | None
    problem: float | None
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Counter:
    """A series that grows by ``per_minute`` while there is a problem."""

    name: str
    per_minute: float
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One rule: name, severity, its series and the labels that the alert has besides name and severity.

    ``delay`` is the number of minutes that the expression needs to notice the problem, and its end.
    """

    alert: str
    severity: str
    series: tuple[Gauge | Counter, ...]
    labels: dict[str, str]
    delay: int = 0


GATEWAY = {"namespace": "team-a", "gateway": "my-gateway"}
SCHEDULE = {**GATEWAY, "schedule": "nightly"}
HELD = {**SCHEDULE, "reason": "LargeDeletion"}
FAILED = {**SCHEDULE, "reason": "Unreachable"}
OPERATOR = {"namespace": "backup-system", "job": "backup-system/operator"}
KIND = {**OPERATOR, "kind": "GatewayBackup"}
ADMIN = {"namespace": "team-a", "service": "my-gateway"}
FREE, TOTAL = "gateway_backup_volume_free_bytes", "gateway_backup_volume_total_bytes"
SUCCESS = "gateway_backup_last_success_timestamp_seconds"
VERIFIED = "gateway_backup_last_verified_timestamp_seconds"
CERTIFICATE = "gateway_backup_certificate_end_timestamp_seconds"
REQUESTS = "gateway_admin_requests_total"


def _gauge(alert: str, severity: str, name: str, healthy: float, problem: float, labels: dict[str, str]) -> Case:
    return Case(alert, severity, (Gauge(name, healthy, problem, labels),), labels)


def _counter(
    alert: str, name: str, per_minute: float, labels: dict[str, str], own: dict[str, str], *, delay: int
) -> Case:
    return Case(alert, "warning", (Counter(name, per_minute, {**labels, **own}),), labels, delay)


def _volume(severity: str, free: float) -> Case:
    series = (Gauge(FREE, 50, free, GATEWAY), Gauge(TOTAL, 100, 100, GATEWAY))
    return Case("GatewayBackupVolumeFillingUp", severity, series, GATEWAY)


CASES = [
    _gauge("GatewayBackupObjectiveMissed", "critical", "gateway_backup_schedule_objective_met", 1, 0, SCHEDULE),
    _gauge("GatewayBackupFailed", "warning", "gateway_backup_failed_since_success", 0, 2, FAILED),
    _gauge("GatewayBackupScheduleNotReady", "warning", "gateway_backup_schedule_ready", 1, 0, SCHEDULE),
    Case(
        "GatewayBackupNotVerified",
        "warning",
        (Gauge(SUCCESS, 10 * DAY, 13 * DAY, SCHEDULE), Gauge(VERIFIED, 10 * DAY, 10 * DAY, SCHEDULE)),
        SCHEDULE,
    ),
    _gauge("GatewayBackupDrillFailed", "warning", "gateway_backup_schedule_drill_met", 1, 0, SCHEDULE),
    _gauge("GatewayBackupSuspicious", "warning", "gateway_backup_suspicious", 0, 1, SCHEDULE),
    _gauge("GatewayBackupFilesMissing", "critical", "gateway_backup_missing_files", 0, 3, SCHEDULE),
    _gauge("GatewayBackupRetentionHeld", "warning", "gateway_backup_retention_held", 0, 1, HELD),
    _gauge("GatewayBackupNotEncrypted", "info", "gateway_backup_encrypted", 1, 0, SCHEDULE),
    _gauge("GatewayBackupVolumeNotRetained", "info", "gateway_backup_volume_retained", 1, 0, GATEWAY),
    _gauge("GatewayRestoreOpen", "critical", "gateway_restore_open", 0, 1, GATEWAY),
    _gauge("GatewayBackupGatewayUnreachable", "critical", "gateway_backup_gateway_reachable", 1, 0, GATEWAY),
    _gauge("GatewayBackupGatewayUnhealthy", "critical", "gateway_backup_gateway_healthy", 1, 0, GATEWAY),
    _gauge("GatewayBackupGatewayDegraded", "warning", "gateway_backup_gateway_issues", 0, 2, GATEWAY),
    _volume("warning", 9),
    _volume("critical", 2),
    _gauge("GatewayBackupCertificateExpiring", "warning", CERTIFICATE, 60 * DAY, 10 * DAY, GATEWAY),
    _gauge("GatewayBackupCertificateExpiring", "critical", CERTIFICATE, 60 * DAY, DAY, GATEWAY),
    Case(
        "GatewayBackupOperatorDown",
        "critical",
        (Gauge("gateway_backup_operator_info", 1, None, {**OPERATOR, "version": "1.0.0"}),),
        {},
    ),
    _gauge("GatewayBackupOperatorNoLeader", "critical", "gateway_backup_operator_leader", 1, 0, OPERATOR),
    _gauge("GatewayBackupOperatorNotReading", "critical", "gateway_backup_operator_objects_read", 1, 0, OPERATOR),
    _counter("GatewayBackupOperatorErrors", "gateway_backup_operator_reconcile_errors_total", 1, KIND, {}, delay=15),
    _gauge("GatewayBackupOperatorQueueStuck", "warning", "gateway_backup_operator_queue_depth", 2, 40, KIND),
    _counter(
        "GatewayBackupNotificationsLost",
        "gateway_backup_operator_notifications_total",
        1,
        OPERATOR,
        {"result": "failed"},
        delay=30,
    ),
    _gauge("GatewayAdminNotReady", "warning", "gateway_admin_ready", 1, 0, ADMIN),
    _counter("GatewayAdminInternalErrors", REQUESTS, 1, ADMIN, {"code": "InternalError"}, delay=30),
    _counter("GatewayAdminKeysRefused", REQUESTS, 10, ADMIN, {"code": "Unauthorized"}, delay=15),
]
