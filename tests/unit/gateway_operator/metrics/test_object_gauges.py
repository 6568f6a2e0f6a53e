"""The gauges about objects: their values, bounded labels, and no series without its object."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_api.contract import ErrorCode
from gateway_operator.domain.gateway.health import GatewayHealth
from gateway_operator.domain.gateway.volumes import BackupVolume
from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.metrics import definitions as metrics
from gateway_operator.domain.metrics.gauges import BACKUP_PHASES, ObservedObjects, object_gauges
from gateway_operator.domain.metrics.restores import RestoreSummary
from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.identifiers import BackupSetId, GatewayRef, NamespacedGateway, SetKind
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from tests.unit.gateway_operator.summaries import SET_ID, summary

NOW: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
GATEWAY: Final = SET_ID.namespaced_gateway
NIGHTLY: Final = ("prod", "gw", "nightly")
MANUAL: Final = ("prod", "gw", "")


def schedule(status: dict[str, Any] | None = None, **spec: Any) -> GatewayBackupSchedule:
    """The schedule `nightly`, a day old."""
    metadata = {"namespace": "prod", "name": "nightly", "creationTimestamp": timestamps.text(NOW - 24 * HOUR)}
    return GatewayBackupSchedule.parse(
        {"metadata": metadata, "spec": {"gatewayRef": {"name": "gw"}, **spec}, "status": status or {}}
    )


def condition(kind: str, status: str, reason: str) -> dict[str, Any]:
    """A status with one condition."""
    return {"conditions": [{"type": kind, "status": status, "reason": reason, "message": ""}]}


def values(metric: metrics.MetricDefinition, **observed: Any) -> dict[tuple[str, ...], float]:
    """The series of one gauge."""
    return dict(object_gauges(ObservedObjects(**observed), NOW).values.get(metric, {}))


def old(hours: float) -> datetime:
    """A time that many hours ago."""
    return NOW - hours * HOUR


def group(name: str, kind: SetKind = SetKind.Group) -> BackupSetId:
    """Another backup set of the same gateway."""
    return BackupSetId("prod", GATEWAY.gateway, kind, name)


@pytest.mark.parametrize(
    ("backups", "success", "verified"),
    [
        ([summary("a", old(3)), summary("b", old(2))], 2, 2),
        ([summary("a", old(3)), summary("b", old(2), level="Stored")], 2, 3),
        ([summary("a", old(3)), summary("b", old(2), level="Drilled")], 2, 2),
        ([summary("a", old(3)), summary("b", old(2), phase="Failed")], 3, 3),
        ([summary("a", old(3)), summary("b", old(2), phase="Running", level="")], 3, 3),
        ([summary("a", old(3)), summary("b", old(2), deleting_since=NOW)], 3, 3),
        ([summary("a", old(3)), summary("b", old(2), file_absent_since=NOW)], 3, 3),
        ([summary("a", old(3)), summary("b", old(2), set_id=group("nightly", SetKind.Group))], 3, 3),
        ([], None, None),
    ],
)
def test_last_times_are_of_the_newest_usable_backup(
    backups: list[BackupSummary], success: float | None, verified: float | None
) -> None:
    observed = {"backups": backups, "schedules": [schedule()]}
    for metric, hours in ((metrics.LAST_SUCCESS, success), (metrics.LAST_VERIFIED, verified)):
        expected = None if hours is None else old(hours).timestamp()
        assert values(metric, **observed).get(NIGHTLY) == expected, metric.name


def test_details_are_of_the_newest_completed_backup() -> None:
    newest = summary(
        "b",
        old(1),
        size_bytes=200,
        start_time=old(1),
        completion_time=old(1) + timedelta(seconds=7),
        path="g/b.zst.age",
    )
    backups = [newest, summary("a", old(2), size_bytes=100, path="g/a.zst"), summary("c", old(3), set_id=group("x"))]
    assert values(metrics.LAST_SIZE, backups=backups) == {NIGHTLY: 200.0}
    assert values(metrics.LAST_DURATION, backups=backups) == {NIGHTLY: 7.0}
    assert values(metrics.ENCRYPTED_FILE, backups=backups) == {NIGHTLY: 1.0, MANUAL: 0.0}


def test_failures_count_by_reason_until_the_next_success() -> None:
    def failed(name: str, hours: float, reason: str, **fields: Any) -> BackupSummary:
        fields = {"snapshot_time": None, "completion_time": old(hours), **fields}
        return summary(name, old(hours), phase="Failed", reason=reason, **fields)

    backups = [
        summary("good", old(5)), failed("before", 6, Reason.TimedOut), failed("a", 4, Reason.TimedOut),
        failed("b", 3, Reason.TimedOut), failed("c", 2, ErrorCode.ConfigInvalid), failed("d", 1, "typed by hand"),
        # It failed before its origin was verified: its group names the schedule.
        failed("e", 1, Reason.NoReadyPod, set_id=group("nightly")),
    ]  # fmt: skip
    expected = {"TimedOut": 2.0, "ConfigInvalid": 1.0, "Other": 1.0, "NoReadyPod": 1.0}
    observed = {"backups": backups, "schedules": [schedule()]}
    assert values(metrics.FAILED_SINCE_SUCCESS, **observed) == {(*NIGHTLY, key): n for key, n in expected.items()}
    observed["backups"] = [*backups, summary("now", old(0))]
    assert values(metrics.FAILED_SINCE_SUCCESS, **observed) == {}


def test_failure_without_a_schedule_ends_with_the_next_good_backup() -> None:
    failed = summary("m", old(3), phase="Failed", reason="TimedOut", set_id=group("manual"))
    scheduled = summary("s", old(2), phase="Failed", reason="TimedOut")
    by_hand = summary("h", old(1), set_id=group("manual"))
    assert values(metrics.FAILED_SINCE_SUCCESS, backups=[failed, summary("a", old(4))]) == {(*MANUAL, "TimedOut"): 1.0}
    assert values(metrics.FAILED_SINCE_SUCCESS, backups=[failed, summary("a", old(2))]) == {}
    # The time of a failure has whole seconds, and that of a snapshot has fractions.
    same_second = summary("a", old(3) + timedelta(seconds=0.7))
    assert values(metrics.FAILED_SINCE_SUCCESS, backups=[failed, same_second]) == {(*MANUAL, "TimedOut"): 1.0}
    # A schedule that fails is not helped by a backup that a person makes.
    assert values(metrics.FAILED_SINCE_SUCCESS, backups=[scheduled, by_hand]) == {(*NIGHTLY, "TimedOut"): 1.0}


def test_last_drill_is_known_from_the_backup_or_the_schedule() -> None:
    drilled = summary("a", old(9), level="Drilled", verified_time=old(4))
    status = {"drill": {"lastSuccessfulTime": timestamps.text(old(2))}}
    assert values(metrics.LAST_DRILLED, backups=[drilled]) == {NIGHTLY: old(4).timestamp()}
    assert values(metrics.LAST_DRILLED, schedules=[schedule(status)]) == {NIGHTLY: old(2).timestamp()}
    both = values(metrics.LAST_DRILLED, backups=[drilled], schedules=[schedule(status)])
    assert both == {NIGHTLY: old(2).timestamp()}


@pytest.mark.parametrize(
    ("hours", "max_age", "status", "expected"),
    [
        (5, "6h", {}, 1.0),
        (5, "6h", condition("ObjectiveMet", "True", "ObjectiveMet"), 1.0),
        (7, "6h", condition("ObjectiveMet", "True", "ObjectiveMet"), 0.0),  # no pass has run meanwhile
        (5, "6h", condition("ObjectiveMet", "False", "ObjectiveMissed"), 0.0),  # the file may be lost
        (None, "2d", {}, 1.0),
        (None, "6h", {}, 0.0),
        (5, None, {}, None),
        (5, "as if", {}, None),
    ],
)
def test_objective_is_judged_when_it_is_read(
    hours: float | None, max_age: str | None, status: dict[str, Any], expected: float | None
) -> None:
    backups = [] if hours is None else [summary("a", old(hours))]
    spec = {} if max_age is None else {"objective": {"maxAge": max_age}}
    gauges = values(metrics.OBJECTIVE_MET_NOW, backups=backups, schedules=[schedule(status, **spec)])
    assert gauges.get(NIGHTLY) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (condition("RetentionApplied", "False", "LargeDeletion"), {(*NIGHTLY, "LargeDeletion"): 1.0}),
        (condition("RetentionApplied", "False", "ListingIncomplete"), {(*NIGHTLY, "ListingIncomplete"): 1.0}),
        (condition("RetentionApplied", "False", "NoPolicy"), {}),
        (condition("RetentionApplied", "False", "DryRun"), {}),
        (condition("RetentionApplied", "True", "Applied"), {}),
        ({}, {}),
    ],
)
def test_held_retention_has_a_series_with_its_reason(status: dict[str, Any], expected: dict[Any, float]) -> None:
    assert values(metrics.RETENTION_HELD, schedules=[schedule(status)]) == expected


def test_schedule_states_are_zero_or_one() -> None:
    plain = {"schedules": [schedule()]}
    assert values(metrics.SCHEDULE_SUSPENDED, **plain) == {NIGHTLY: 0.0}
    assert values(metrics.SCHEDULE_READY, **plain) == {}, "there is no status yet"
    assert values(metrics.DRILL_MET, **plain) == {}
    assert values(metrics.SCHEDULE_CREATED, **plain) == {NIGHTLY: old(24).timestamp()}
    for state, value in (("True", 1.0), ("False", 0.0)):
        drilled = schedule(condition("Drilled", state, "Drilled"), drill={"schedule": "@daily"}, suspend=True)
        assert values(metrics.DRILL_MET, schedules=[drilled]) == {NIGHTLY: value}
        assert values(metrics.SCHEDULE_SUSPENDED, schedules=[drilled]) == {NIGHTLY: 1.0}
        assert values(metrics.SCHEDULE_READY, schedules=[schedule(condition("Ready", state, "x"))]) == {NIGHTLY: value}


def test_gateway_has_its_last_check_while_an_object_names_it() -> None:
    volume = BackupVolume(False, Reason.BackupVolumeDeletedWithClaim, "text")
    health = GatewayHealth(NOW, None, False, True, 2, 10, 100, NOW, volume)
    observed = {"gateways": {GATEWAY: health}, "backups": [summary("a", old(1))]}
    labels = ("prod", "gw")
    for metric, value in (
        (metrics.REACHABLE, 0), (metrics.HEALTHY, 1), (metrics.GATEWAY_ISSUES, 2), (metrics.VOLUME_FREE, 10),
        (metrics.VOLUME_TOTAL, 100), (metrics.CERTIFICATE_END, NOW.timestamp()),
        (metrics.VOLUME_RETAINED, 0),
    ):  # fmt: skip
        assert values(metric, **observed) == {labels: float(value)}
        assert values(metric, gateways={GATEWAY: health}) == {}
    unknown = replace(volume, retained=None)
    for few in (GatewayHealth(NOW, reachable=False), GatewayHealth(NOW, reachable=False, backup_volume=unknown)):
        for metric in (metrics.HEALTHY, metrics.VOLUME_RETAINED):
            assert values(metric, **{**observed, "gateways": {GATEWAY: few}}) == {}


@pytest.mark.parametrize(
    ("phase", "mode", "reason", "is_open"),
    [
        ("Completed", "Apply", "Restored", 0), ("HealthCheck", "Apply", "", 1), ("RollbackFailed", "Apply", "", 1),
        ("Failed", "Apply", "RestoreStateUnknown", 1), ("Failed", "Apply", "NoSuchBackup", 0), ("", "Drill", "", 0),
        ("Completed", "DryRun", "WouldRestore", 0), ("Restoring", "Drill", "", 0),
    ],
)  # fmt: skip
def test_restores_count_by_mode_and_phase_and_while_open(phase: str, mode: str, reason: str, is_open: int) -> None:
    body = {
        "metadata": {"namespace": "prod", "name": "r", "uid": "u"},
        "spec": {"gatewayRef": {"name": "gw"}, "mode": mode},
        "status": {"phase": phase, "reason": reason},
    }
    rows = [RestoreSummary.from_restore(Restore.parse(body))] * 2
    assert values(metrics.RESTORE_OBJECTS, restores=rows) == {("prod", "gw", mode, phase or "Pending"): 2.0}
    assert values(metrics.RESTORE_OPEN, restores=rows) == {("prod", "gw"): 2.0 * is_open}


def test_ordinals_of_a_stateful_set_are_gateways_of_their_own() -> None:
    def at(kind: str, ordinal: int) -> BackupSetId:
        return BackupSetId("prod", GatewayRef(kind, "gw", ordinal), SetKind.Group, "manual")

    rows = [
        summary("a", old(3), set_id=at("StatefulSet", 1)), summary("b", old(2), set_id=at("StatefulSet", 0)),
        summary("c", old(1), set_id=at("Deployment", 0)),
    ]  # fmt: skip
    # One series for two gateways of the same labels: Prometheus would reject two.
    expected = {("prod", "gw-1", ""): old(3).timestamp(), MANUAL: old(1).timestamp()}
    assert values(metrics.LAST_SUCCESS, backups=rows) == expected


NAMES: Final = st.sampled_from(["a", "b", "gw"])
SETS: Final = st.builds(
    BackupSetId,
    NAMES,
    st.builds(GatewayRef, st.sampled_from(["Deployment", "StatefulSet"]), NAMES, st.integers(0, 1)),
    st.sampled_from(SetKind),
    NAMES,
)
TIMES: Final = st.none() | st.integers(-100, 100).map(old)
ROWS: Final = st.builds(
    BackupSummary,
    name=NAMES,
    uid=st.uuids().map(str),
    set_id=SETS,
    created=st.integers(-100, 100).map(old),
    phase=st.sampled_from(["", *BACKUP_PHASES]) | st.text(max_size=5),
    reason=st.sampled_from(["TimedOut", "ConfigInvalid"]) | st.text(max_size=20),
    snapshot_time=TIMES,
    completion_time=TIMES,
    file_absent_since=TIMES,
    level=st.sampled_from(["", "Stored", "Verified", "Drilled", "Odd"]),
    verified_time=TIMES,
    adopted=st.booleans(),
    schedule=st.just("") | NAMES,
    suspicious=st.booleans(),
    deleting_since=TIMES,
)


CHECKS: Final = st.dictionaries(
    SETS.map(lambda one: one.namespaced_gateway), st.just(GatewayHealth(NOW, None, True, True, 1, 2, 3)), max_size=3
)


@given(st.lists(ROWS, max_size=8), CHECKS)
def test_labels_are_bounded_and_every_backup_counts_once(
    rows: list[BackupSummary], gateways: dict[NamespacedGateway, GatewayHealth]
) -> None:
    gauges = object_gauges(ObservedObjects(backups=rows, gateways=gateways), NOW).values
    assert sum(gauges.get(metrics.BACKUP_OBJECTS, {}).values()) == len(rows)
    reasons = {str(one) for one in Reason} | {str(one) for one in ErrorCode} | {"Other"}
    named = {(one.set_id.namespace, one.set_id.gateway.name) for one in rows}
    for metric, series in gauges.items():
        assert metric in metrics.OBJECT_METRICS
        for labels in series:
            assert len(labels) == len(metric.labels)
            by_name = dict(zip(metric.labels, labels, strict=True))
            assert (by_name["namespace"], by_name["gateway"].removesuffix("-1")) in named
            assert by_name.get("phase", "Other") in {*BACKUP_PHASES, "Other"}
            assert by_name.get("reason", "Other") in reasons
