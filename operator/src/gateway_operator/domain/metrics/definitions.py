"""The definition of every metric of the operator: name, type, labels and meaning.

The adapter creates its metrics from these, and the page docs/metrics.md has a table of them. Labels have values from
objects' names and from fixed lists only, so the number of series follows the number of objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class MetricType(StrEnum):
    """The Prometheus types that the operator uses."""

    Gauge = "gauge"
    Counter = "counter"
    Histogram = "histogram"


class NotificationResult(StrEnum):
    """The result of one notification, as the metric counts it."""

    Sent = "sent"
    """The receiver has accepted it."""
    Failed = "failed"
    """One request to a receiver has failed. It is repeated."""
    Dropped = "dropped"
    """It was given up: too many objects waited, or the receiver refused the content three times."""


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One metric. ``name`` is the name of its series, for a counter with the suffix ``_total``."""

    name: str
    labels: tuple[str, ...]
    help: str
    type: MetricType = MetricType.Gauge


GATEWAY_LABELS: Final = ("namespace", "gateway")
SET_LABELS: Final = (*GATEWAY_LABELS, "schedule")

# The operator itself
INFO: Final = MetricDefinition("gateway_backup_operator_info", ("version",), "The version of the operator; always 1.")
LEADER: Final = MetricDefinition(
    "gateway_backup_operator_leader", (), "1 if this operator acts. 0 on a standby, which has no series of objects."
)
OBJECTS_READ: Final = MetricDefinition(
    "gateway_backup_operator_objects_read",
    (),
    "1 once the operator has read all objects after its start. Before that it has no series of objects.",
)
QUEUE_DEPTH: Final = MetricDefinition(
    "gateway_backup_operator_queue_depth", ("kind",), "Objects that are due or whose reconcile is running."
)
RECONCILE_SECONDS: Final = MetricDefinition(
    "gateway_backup_operator_reconcile_seconds",
    ("kind",),
    "Seconds of one reconcile, with its calls to the gateway.",
    MetricType.Histogram,
)
RECONCILE_ERRORS: Final = MetricDefinition(
    "gateway_backup_operator_reconcile_errors_total",
    ("kind",),
    "Reconciles that ended with an error of the API server or an unexpected one. They are retried.",
    MetricType.Counter,
)
NOTIFICATIONS: Final = MetricDefinition(
    "gateway_backup_operator_notifications_total",
    ("result",),
    "Notifications by result: `sent`, `dropped`, or `failed` for each request that fails and is repeated.",
    MetricType.Counter,
)
OPERATOR_METRICS: Final = (INFO, LEADER, OBJECTS_READ, QUEUE_DEPTH, RECONCILE_SECONDS, RECONCILE_ERRORS, NOTIFICATIONS)

# The backups of a gateway and schedule; `schedule` is empty for backups that no schedule made
LAST_SUCCESS: Final = MetricDefinition(
    "gateway_backup_last_success_timestamp_seconds",
    SET_LABELS,
    "Unix time at which the config of the newest Completed backup was read.",
)
LAST_VERIFIED: Final = MetricDefinition(
    "gateway_backup_last_verified_timestamp_seconds",
    SET_LABELS,
    "Unix time at which the config of the newest Verified backup was read.",
)
LAST_DRILLED: Final = MetricDefinition(
    "gateway_backup_last_drilled_timestamp_seconds",
    SET_LABELS,
    "Unix time of the last drill that restored a backup of this set.",
)
LAST_SIZE: Final = MetricDefinition(
    "gateway_backup_last_size_bytes", SET_LABELS, "Size of the newest Completed backup's file."
)
LAST_DURATION: Final = MetricDefinition(
    "gateway_backup_last_duration_seconds", SET_LABELS, "Seconds from start to completion of the newest backup."
)
ENCRYPTED_FILE: Final = MetricDefinition(
    "gateway_backup_encrypted", SET_LABELS, "1 if the newest Completed backup is encrypted, else 0."
)
BACKUP_OBJECTS: Final = MetricDefinition(
    "gateway_backup_objects", (*SET_LABELS, "phase"), "GatewayBackups by phase, with all phases."
)
FAILED_SINCE_SUCCESS: Final = MetricDefinition(
    "gateway_backup_failed_since_success",
    (*SET_LABELS, "reason"),
    "Failed GatewayBackups that are newer than the newest Completed one, by reason. For backups without a schedule, "
    "that is the newest of the gateway.",
)
MISSING_FILES: Final = MetricDefinition(
    "gateway_backup_missing_files", SET_LABELS, "Completed GatewayBackups whose file is not on the volume."
)
NEEDS_REVIEW: Final = MetricDefinition(
    "gateway_backup_suspicious", SET_LABELS, "Completed GatewayBackups that are Suspicious and not accepted."
)
BACKUP_METRICS: Final = (
    LAST_SUCCESS,
    LAST_VERIFIED,
    LAST_DRILLED,
    LAST_SIZE,
    LAST_DURATION,
    ENCRYPTED_FILE,
    BACKUP_OBJECTS,
    FAILED_SINCE_SUCCESS,
    MISSING_FILES,
    NEEDS_REVIEW,
)

# A schedule
SCHEDULE_CREATED: Final = MetricDefinition(
    "gateway_backup_schedule_created_timestamp_seconds", SET_LABELS, "Unix time of the schedule's creation."
)
SCHEDULE_READY: Final = MetricDefinition(
    "gateway_backup_schedule_ready", SET_LABELS, "1 if the condition Ready of the schedule is True."
)
SCHEDULE_SUSPENDED: Final = MetricDefinition(
    "gateway_backup_schedule_suspended", SET_LABELS, "1 if the schedule is suspended."
)
OBJECTIVE_SECONDS: Final = MetricDefinition(
    "gateway_backup_schedule_objective_seconds", SET_LABELS, "`objective.maxAge` in seconds. Absent without one."
)
OBJECTIVE_MET_NOW: Final = MetricDefinition(
    "gateway_backup_schedule_objective_met",
    SET_LABELS,
    "1 if the newest Verified backup is younger than `objective.maxAge`. Absent without an objective.",
)
DRILL_MET: Final = MetricDefinition(
    "gateway_backup_schedule_drill_met",
    SET_LABELS,
    "0 if the last drill failed or one is overdue. Absent without drills and before the first.",
)
RETENTION_HELD: Final = MetricDefinition(
    "gateway_backup_retention_held",
    (*SET_LABELS, "reason"),
    "1 while retention deletes nothing in the schedule's set, with the reason. Absent otherwise.",
)
SCHEDULE_METRICS: Final = (
    SCHEDULE_CREATED,
    SCHEDULE_READY,
    SCHEDULE_SUSPENDED,
    OBJECTIVE_SECONDS,
    OBJECTIVE_MET_NOW,
    DRILL_MET,
    RETENTION_HELD,
)

# A gateway
REACHABLE: Final = MetricDefinition(
    "gateway_backup_gateway_reachable", GATEWAY_LABELS, "1 if the admin API answered the last check, else 0."
)
HEALTHY: Final = MetricDefinition(
    "gateway_backup_gateway_healthy",
    GATEWAY_LABELS,
    "0 if the last health answer was `unhealthy`: the config is missing or invalid.",
)
GATEWAY_ISSUES: Final = MetricDefinition(
    "gateway_backup_gateway_issues", GATEWAY_LABELS, "Issues and warnings in the last health answer."
)
VOLUME_FREE: Final = MetricDefinition(
    "gateway_backup_volume_free_bytes", GATEWAY_LABELS, "Free bytes on the backup volume."
)
VOLUME_TOTAL: Final = MetricDefinition(
    "gateway_backup_volume_total_bytes", GATEWAY_LABELS, "Size of the backup volume in bytes."
)
VOLUME_RETAINED: Final = MetricDefinition(
    "gateway_backup_volume_retained",
    GATEWAY_LABELS,
    "1 if the backups stay when their claim or the namespace is deleted, else 0. Absent if it is not known.",
)
CERTIFICATE_END: Final = MetricDefinition(
    "gateway_backup_certificate_end_timestamp_seconds",
    GATEWAY_LABELS,
    "Unix time at which the admin API's certificate ends. Absent without TLS.",
)
RESTORE_OBJECTS: Final = MetricDefinition(
    "gateway_restore_objects", (*GATEWAY_LABELS, "mode", "phase"), "GatewayRestores by mode and phase."
)
RESTORE_OPEN: Final = MetricDefinition(
    "gateway_restore_open",
    GATEWAY_LABELS,
    "GatewayRestores that have changed the config and are neither committed nor rolled back.",
)
GATEWAY_METRICS: Final = (
    REACHABLE,
    HEALTHY,
    GATEWAY_ISSUES,
    VOLUME_FREE,
    VOLUME_TOTAL,
    VOLUME_RETAINED,
    CERTIFICATE_END,
    RESTORE_OBJECTS,
    RESTORE_OPEN,
)

OBJECT_METRICS: Final = (*BACKUP_METRICS, *SCHEDULE_METRICS, *GATEWAY_METRICS)
"""The gauges that are computed from objects when they are read."""
