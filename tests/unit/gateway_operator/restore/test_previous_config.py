"""The operator reports where the replaced config is, and forces a rollback only where the admin API cannot judge."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway_api.contract import RestoreState, SafetyBackup, SystemHealthData
from gateway_operator.domain.model.actions import CallRollback, Finish, Write
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.names import RESTORE_FINALIZER
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.decide import decide
from gateway_operator.domain.restore.status import RestoreObservation
from tests.unit.gateway_operator.simulation.fake_admin_api import health_data, restore_result

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
RESTORED, SECTIONS, OLD, NEWER = "a" * 64, "b" * 64, "c" * 64, "d" * 64
PATH = "/config/.gateway/previous-20260101T120000.000000Z"
KEPT = SafetyBackup(kind="kept", path=PATH)
SAFETY = {"kind": "backup", "backupName": "safe", "path": "safety/a.json.zst", "sha256": OLD}


def restore(phase: str, **status: Any) -> Restore:
    return Restore.parse(
        {
            "metadata": {
                "name": "back", "namespace": "ns", "uid": "u", "generation": 1, "resourceVersion": "1",
                "creationTimestamp": "2026-01-01T11:59:00Z", "finalizers": [RESTORE_FINALIZER],
            },
            "spec": {"gatewayRef": {"name": "gw"}, "backupName": "good"},
            "status": {
                "phase": phase, "requestID": "r", "startTime": "2026-01-01T11:59:00Z", "restoredDigest": RESTORED,
                "sectionsDigest": SECTIONS, "source": {"backupName": "good", "backupID": "x"},
                "steps": [{"name": phase, "startTime": "2026-01-01T11:59:30Z"}], **status,
            },
        }
    )  # fmt: skip


HEALTH = {
    "the restored bytes": (health_data(config_digest=RESTORED, sections_digest=SECTIONS), True),
    "another format": (health_data(config_digest=NEWER, sections_digest=SECTIONS), True),
    "other data": (health_data(config_digest=NEWER, sections_digest=NEWER), False),
    "an invalid config": (health_data(config_digest=NEWER, sections_digest=None, config_valid=False), False),
    "no config": (health_data(config_digest=None, sections_digest=None, config_valid=False), False),
    "no answer": (Failure("Unreachable", "no answer", retryable=True), False),
}


@pytest.mark.parametrize("case", HEALTH)
@pytest.mark.parametrize("state", [RestoreState.applied, RestoreState.prepared])
def test_rollback_is_forced_only_where_the_admin_api_cannot_judge(case: str, state: RestoreState) -> None:
    """Otherwise the admin API compares the config under its locks. It may have changed since the observation."""
    health, is_restored = HEALTH[case]
    assert isinstance(health, SystemHealthData | Failure)
    journal = restore_result(request_id="r", state=state)
    action = decide(RestoreObservation(restore("RollingBack"), health=health, journal=journal), NOW)
    assert action == CallRollback("r", force=is_restored and state is RestoreState.prepared)


@pytest.mark.parametrize(
    ("recorded", "previous", "expected"),
    [
        (SAFETY, OLD, None),
        (SAFETY, NEWER, {**SAFETY, "kind": "kept", "path": PATH}),
        (SAFETY, None, {**SAFETY, "kind": "kept", "path": PATH}),
        ({**SAFETY, "sha256": None}, OLD, {**SAFETY, "sha256": None, "kind": "kept", "path": PATH}),
        ({"kind": "none"}, OLD, {"kind": "kept", "path": PATH}),
        ({"kind": "kept", "backupName": "safe"}, OLD, {"kind": "kept", "backupName": "safe", "path": PATH}),
        (None, OLD, {"kind": "kept", "path": PATH}),
    ],
)
def test_status_says_where_the_replaced_config_is(
    recorded: dict[str, Any] | None, previous: str | None, expected: dict[str, Any] | None
) -> None:
    safety_backup = SafetyBackup(kind="backup", path="safety/a.json.zst") if expected is None else KEPT
    answer = restore_result(request_id="r", previous_sha256=previous, safety_backup=safety_backup)
    status = {} if recorded is None else {"safetyBackup": recorded}
    written = decide(RestoreObservation(restore("Restoring", **status), answer=answer), NOW)
    assert isinstance(written, Write)
    assert written.status.get("safetyBackup") == expected
    assert (PATH in written.status["message"]) is (expected is not None)


def test_completed_restore_names_the_config_that_no_backup_holds() -> None:
    """The safety backup was deleted between the restore and its commit."""
    answer = restore_result(request_id="r", state=RestoreState.committed, previous_sha256=NEWER, safety_backup=KEPT)
    ended = decide(RestoreObservation(restore("HealthCheck", safetyBackup=SAFETY), journal=answer), NOW)
    assert isinstance(ended, Finish)
    assert ended.status["phase"] == "Completed"
    assert ended.status["safetyBackup"]["path"] == PATH
    assert PATH in ended.status["message"]
