"""Computes the gauges about objects, each time they are read, from what the watch has shown.

So they are complete after a restart without a backup having run since, and a series ends with its object. Nothing is
read from the API server or from a gateway.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from gateway_operator.domain.gateway.health import GatewayHealth
from gateway_operator.domain.index.backup_index import BackupSummary, newest_restorable
from gateway_operator.domain.metrics import definitions as metrics
from gateway_operator.domain.metrics.restores import RestoreSummary
from gateway_operator.domain.metrics.series import GaugeSeries, LabelValues, gateway_labels, reason_label
from gateway_operator.domain.model import conditions, durations, timestamps
from gateway_operator.domain.model.identifiers import NamespacedGateway, SetKind
from gateway_operator.domain.model.levels import DRILLED, VERIFIED, reaches
from gateway_operator.domain.retention.result import RETENTION_APPLIED
from gateway_operator.domain.retention.status import OBJECTIVE_MET, QUIET_REASONS, check_objective
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule

BACKUP_PHASES: Final = ("Pending", "Running", "Verifying", "Completed", "Failed", "Deleting")
_ScheduleKey = tuple[NamespacedGateway, str]


@dataclass(frozen=True)
class ObservedObjects:
    """The inputs of the gauges: all objects of the watch, and the last check of each gateway."""

    backups: Iterable[BackupSummary] = ()
    schedules: Sequence[GatewayBackupSchedule] = ()
    restores: Iterable[RestoreSummary] = ()
    gateways: Mapping[NamespacedGateway, GatewayHealth] = field(default_factory=dict)


def object_gauges(observed: ObservedObjects, now: datetime) -> GaugeSeries:
    """The values of ``OBJECT_METRICS``."""
    series = GaugeSeries()
    schedules = {(one.set_id.namespaced_gateway, one.name): one for one in observed.schedules}
    sets: dict[LabelValues, list[BackupSummary]] = {_set_labels(*key): [] for key in schedules}
    gateways = {gateway for gateway, _ in schedules}
    for row in observed.backups:
        gateway = row.set_id.namespaced_gateway
        gateways.add(gateway)
        sets.setdefault(_set_labels(gateway, _schedule_of(row, schedules)), []).append(row)
    newest = {labels: newest_restorable(rows) for labels, rows in sets.items()}
    successes: dict[LabelValues, list[BackupSummary]] = {}
    for labels, success in newest.items():
        successes.setdefault(labels[:2], []).extend([] if success is None else [success])
    for labels, rows in sets.items():
        _backup_gauges(series, labels, rows, newest[labels])
        # A backup without a schedule may never be repeated, so any newer backup of its gateway ends its failure.
        _failure_gauge(series, labels, rows, newest[labels] if labels[2] else newest_restorable(successes[labels[:2]]))
    for key, schedule in schedules.items():
        _schedule_gauges(series, _set_labels(*key), schedule, sets[_set_labels(*key)], now)
    for gateway, health in observed.gateways.items():
        if gateway in gateways:
            _gateway_gauges(series, gateway_labels(gateway), health)
    for restore in observed.restores:
        gateway_values = gateway_labels(restore.namespaced_gateway)
        series.add(metrics.RESTORE_OBJECTS, (*gateway_values, restore.mode, restore.phase))
        series.add(metrics.RESTORE_OPEN, gateway_values, int(restore.is_open))
    return series


def _set_labels(gateway: NamespacedGateway, schedule: str) -> LabelValues:
    return gateway.namespace, gateway.gateway.label, schedule


def _schedule_of(row: BackupSummary, schedules: Mapping[_ScheduleKey, GatewayBackupSchedule]) -> str:
    """The schedule whose series count the backup; empty without one.

    An unfinished or failed backup may have no verified origin yet. Its group then names the schedule, as in retention.
    An adopted one counts if the schedule's retention includes it.
    """
    set_id = row.set_id
    if set_id.kind is SetKind.Schedule:
        return set_id.name
    if set_id.kind is SetKind.Safety:
        return ""
    if row.adopted:
        schedule = schedules.get((set_id.namespaced_gateway, row.schedule))
        included = schedule is not None and (schedule.retention or {}).get("includeAdopted") is True
        return row.schedule if included else ""
    claimed = row.phase != "Completed" and (set_id.namespaced_gateway, set_id.name) in schedules
    return set_id.name if claimed else ""


def _failure_gauge(
    series: GaugeSeries, labels: LabelValues, rows: Sequence[BackupSummary], success: BackupSummary | None
) -> None:
    # The time of a failure has whole seconds. A failure in the second of the success counts as newer.
    since = None if success is None else success.time.replace(microsecond=0)
    for row in rows:
        if row.phase == "Failed" and (since is None or row.time >= since):
            series.add(metrics.FAILED_SINCE_SUCCESS, (*labels, reason_label(row.reason)))


def _backup_gauges(
    series: GaugeSeries, labels: LabelValues, rows: Sequence[BackupSummary], newest: BackupSummary | None
) -> None:
    if newest is not None:
        series.set(metrics.LAST_SUCCESS, labels, newest.time.timestamp())
        series.set(metrics.LAST_SIZE, labels, newest.size_bytes)
        series.set(metrics.LAST_DURATION, labels, _seconds(newest.start_time, newest.completion_time))
        series.set(metrics.ENCRYPTED_FILE, labels, newest.encrypted)
    series.set(metrics.LAST_VERIFIED, labels, _unix(_newest_verified(rows)))
    drilled = (one.verified_time for one in rows if reaches(one.level, DRILLED))
    series.set(metrics.LAST_DRILLED, labels, _unix(max((one for one in drilled if one is not None), default=None)))
    for phase in BACKUP_PHASES:
        series.add(metrics.BACKUP_OBJECTS, (*labels, phase), 0)
    missing = suspicious = 0
    for row in rows:
        phase = row.phase or "Pending"
        series.add(metrics.BACKUP_OBJECTS, (*labels, phase if phase in BACKUP_PHASES else "Other"))
        missing += row.phase == "Completed" and row.file_absent_since is not None
        suspicious += row.phase == "Completed" and row.needs_review
    series.add(metrics.MISSING_FILES, labels, missing)
    series.add(metrics.NEEDS_REVIEW, labels, suspicious)


def _schedule_gauges(
    series: GaugeSeries,
    labels: LabelValues,
    schedule: GatewayBackupSchedule,
    rows: Sequence[BackupSummary],
    now: datetime,
) -> None:
    present, created = schedule.conditions, schedule.meta.created
    series.set(metrics.SCHEDULE_CREATED, labels, created.timestamp())
    series.set(metrics.SCHEDULE_READY, labels, conditions.condition_status(present, conditions.READY))
    series.set(metrics.SCHEDULE_SUSPENDED, labels, schedule.suspend)
    limit = durations.parse_or_none(schedule.objective)
    if limit is not None:
        series.set(metrics.OBJECTIVE_SECONDS, labels, limit.total_seconds())
        # Both: the rows are judged now, also if no pass runs, and the condition has compared the files with the volume.
        met = check_objective(limit, _newest_verified(rows), created, now).met
        reported = conditions.condition_status(present, OBJECTIVE_MET) is not False
        series.set(metrics.OBJECTIVE_MET_NOW, labels, met and reported)
    if schedule.drill is not None:
        series.set(metrics.DRILL_MET, labels, conditions.condition_status(present, conditions.DRILLED))
    last_drill = timestamps.parse(schedule.drill_status.get("lastSuccessfulTime"))
    if last_drill is not None:
        series.raise_to(metrics.LAST_DRILLED, labels, last_drill.timestamp())
    applied = conditions.find_condition(present, RETENTION_APPLIED)
    reason = str(applied.get("reason"))
    if applied.get("status") == "False" and reason not in QUIET_REASONS:
        series.set(metrics.RETENTION_HELD, (*labels, reason_label(reason)), 1)


def _gateway_gauges(series: GaugeSeries, labels: LabelValues, health: GatewayHealth) -> None:
    series.set(metrics.REACHABLE, labels, health.reachable)
    series.set(metrics.HEALTHY, labels, health.healthy)
    series.set(metrics.GATEWAY_ISSUES, labels, health.issues)
    series.set(metrics.VOLUME_FREE, labels, health.free_bytes)
    series.set(metrics.VOLUME_TOTAL, labels, health.total_bytes)
    volume = health.backup_volume
    series.set(metrics.VOLUME_RETAINED, labels, None if volume is None else volume.retained)
    series.set(metrics.CERTIFICATE_END, labels, _unix(health.certificate_end))


def _newest_verified(rows: Iterable[BackupSummary]) -> datetime | None:
    newest = newest_restorable(one for one in rows if reaches(one.level, VERIFIED))
    return None if newest is None else newest.time


def _unix(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else max(0.0, (end - start).total_seconds())
