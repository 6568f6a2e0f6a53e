"""Ends on request: the answers to a person, the validity of every decision, and what retention keeps meanwhile."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway_api.contract import RestoreState
from gateway_operator.cli.restore_end import end_problem, has_ended_so
from gateway_operator.domain.gateway.workload import Endpoint
from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.model.actions import (
    AddFinalizer,
    CallCommit,
    CallReset,
    CallRestore,
    CallRollback,
    Done,
    Finish,
    RecheckSoon,
    RemoveFinalizer,
    Wait,
    Write,
)
from gateway_operator.domain.model.admin_api import NotFound
from gateway_operator.domain.model.names import RESTORE_FINALIZER
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.decide import decide
from gateway_operator.domain.restore.status import (
    CHANGING_PHASES,
    TERMINAL_RESTORE_PHASES,
    RestoreObservation,
    has_work,
    is_open,
    is_terminal,
)
from gateway_operator.domain.retention.sets import gather, in_use
from tests.unit.gateway_operator import strategies as strategies
from tests.unit.gateway_operator.simulation.fake_admin_api import health_data, restore_result
from tests.unit.gateway_operator.simulation.test_decision_invariants import RESTORE_STATUS, check_status


def restore(phase: str, *, wants: str = "", mode: str = "Apply", **status: Any) -> Restore:
    spec = {"gatewayRef": {"name": "gw"}, "backupName": "good", "mode": mode, **({"end": wants} if wants else {})}
    meta = {"name": "r", "namespace": "prod", "uid": "u"}
    return Restore.parse({"metadata": meta, "spec": spec, "status": {"phase": phase, **status}})


LEFT: dict[str, Any] = {"reason": "HealthCheckFailed", "restoredDigest": "a" * 64}
ENDED: dict[str, Any] = {"end": {"action": "Rollback"}}


@pytest.mark.parametrize(
    ("one", "commit", "rollback"),
    [
        (restore("Validating"), "not replaced the config yet", ""),
        (restore("Restoring"), "not replaced the config yet", ""),
        (restore("Restarting"), "", ""),
        (restore("HealthCheck"), "", ""),
        (restore("RollingBack"), "", ""),
        (restore("Failed", **LEFT), "", ""),
        (restore("Failed", reason="RestoreStateUnknown"), "", ""),
        (restore("RollbackFailed"), "", ""),
        (restore("Failed", reason="NoSuchBackup"), "changed nothing", "changed nothing"),
        (restore("Failed", reason="AlreadyApplied", restoredDigest="a"), "changed nothing", "changed nothing"),
        (restore("Completed"), "", "can no longer be rolled back"),
        (restore("RolledBack"), "can no longer be committed", ""),
        (restore("HealthCheck", wants="Rollback"), "has spec.end Rollback already", ""),
        (restore("RollbackFailed", wants="Rollback", **ENDED), "spec.supersede: true", "spec.supersede: true"),
        (restore("HealthCheck", mode="Drill"), "changes no config", "changes no config"),
        (restore("Completed", mode="DryRun"), "changes no config", "changes no config"),
    ],
)
def test_request_is_judged_by_what_the_gateway_may_hold(one: Restore, commit: str, rollback: str) -> None:
    for action, expected in (("Commit", commit), ("Rollback", rollback)):
        if one.mode == "Apply" and has_ended_so(one, action):
            assert expected == ""
            continue
        problem = end_problem(one, action)
        assert expected in problem if expected else problem == "", (action, problem)


ended_views = st.builds(
    lambda view, end, finalizer, deleted, recorded, generation: replace(
        view,
        restore=replace(
            view.restore,
            end=end,
            meta=replace(
                view.restore.meta,
                finalizers=(RESTORE_FINALIZER,) if finalizer else (),
                deleting_since=strategies.CREATED + timedelta(seconds=100) if deleted else None,
                generation=generation,
            ),
            status={**view.restore.status, **({"end": {"action": recorded}} if recorded else {})},
        ),
    ),
    strategies.restore_views,
    st.sampled_from(["", "Commit", "Rollback"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["", "Commit", "Rollback"]),
    st.sampled_from([1, 2]),
)


def deleted_with_commit(phase: str, state: RestoreState | None) -> RestoreObservation:
    """A restore that was deleted after its commit was requested. ``state``: of the journal; None without a record."""
    one = restore(phase, wants="Commit", requestID="r", source={"backupID": "id"})
    meta = replace(one.meta, finalizers=(RESTORE_FINALIZER,), deleting_since=strategies.CREATED)
    endpoint = Endpoint("gw-1", "10.0.0.1", 8001, tls=True, server_name=None, pod_ready=True, container="admin")
    record = NotFound() if state is None else restore_result(state=state)
    return RestoreObservation(replace(one, meta=meta), endpoint, health=health_data(), journal=record)


@pytest.mark.parametrize(
    ("phase", "state", "next_phase"),
    [
        ("", None, "Failed"),
        ("Validating", None, "Failed"),
        ("SafetyBackup", None, "Failed"),
        ("Restoring", None, "Failed"),
        ("Restoring", RestoreState.prepared, "RollingBack"),
        ("Restoring", RestoreState.applied, "Restarting"),
        ("Restoring", RestoreState.committed, "Restarting"),
        ("Restoring", RestoreState.rolled_back, "RolledBack"),
        ("HealthCheck", RestoreState.applied, "HealthCheck"),
        ("HealthCheck", RestoreState.committed, "Completed"),
    ],
)
def test_deletion_counts_unless_the_commit_is_possible(phase: str, state: RestoreState | None, next_phase: str) -> None:
    """A requested commit survives the deletion only if the journal says that the config is replaced."""
    action = decide(deleted_with_commit(phase, state), strategies.CREATED + timedelta(seconds=31))
    assert isinstance(action, Write | Finish)
    assert action.status["phase"] == next_phase
    if next_phase == "HealthCheck":
        assert action.status["reason"] == "Committing"


@given(ended_views, strategies.times)
@example(deleted_with_commit("Restoring", None), strategies.CREATED)
@example(deleted_with_commit("Restoring", RestoreState.prepared), strategies.CREATED)
@settings(max_examples=600, deadline=None)
def test_decisions_about_ends_are_valid(view: RestoreObservation, now: datetime) -> None:
    one = view.restore
    action = decide(view, now)
    check_status(dict(getattr(action, "status", {})), RESTORE_STATUS)
    held = RESTORE_FINALIZER in one.meta.finalizers
    deleted = one.meta.deleting_since is not None
    if isinstance(action, Done):
        assert is_terminal(one)
        assert not held or (is_open(one) and not deleted)
    if isinstance(action, CallRestore | CallReset | CallRollback | CallCommit):
        # Nothing that changes a config is called for an object that can disappear meanwhile.
        assert held or deleted
        assert not (isinstance(action, CallRestore | CallReset) and deleted)
    if isinstance(action, AddFinalizer):
        assert one.phase in CHANGING_PHASES
        assert not deleted
    if isinstance(action, RemoveFinalizer):
        assert held
        assert one.phase in TERMINAL_RESTORE_PHASES
        assert deleted or not is_open(one)
    if isinstance(action, CallRollback) and action.force and not _restored_config(view):
        assert one.end == "Rollback"
    if isinstance(action, Write | Finish) and one.phase in TERMINAL_RESTORE_PHASES:
        assert is_open(one) or set(action.status) == {"observedGeneration"}
    if isinstance(action, Wait | RecheckSoon):
        assert math.isfinite(action.seconds)
        assert action.seconds >= 0
    if not has_work(one):
        assert isinstance(action, Done)


def _restored_config(view: RestoreObservation) -> bool:
    digests = (view.restore.status.get("restoredDigest"), view.restore.status.get("sectionsDigest"))
    health = view.health
    live = (getattr(health, "config_digest", None), getattr(health, "sections_digest", None))
    return any(one is not None and one == other for one, other in zip(live, digests, strict=True))


@pytest.mark.parametrize(
    "phase", ["", "Validating", "Restoring", "HealthCheck", "RollingBack", "RollbackFailed", "Failed"]
)
def test_retention_keeps_what_an_open_restore_uses(phase: str) -> None:
    """Its source and its safety backup, also after it has failed and was left open."""
    status = LEFT if phase == "Failed" else {}
    source = {"backupName": "good", "backupID": "id-good", "path": "manual/good"}
    user = restore(phase, source=source, **status)
    rows = [_row("good"), _row("safe", origin="Restore", restore={"uid": "u"}), _row("other")]
    used = {row.name for row in rows if in_use(row, [user])}
    assert used == {"good", "safe"}
    kept = {name for one in gather(rows, [], [user]) for name, row in one.members.items() if row.restores}
    assert kept == {"good", "safe"}
    assert not any(in_use(row, [restore("Completed", source=source)]) for row in rows)


def _row(name: str, **status: Any) -> BackupSummary:
    body = {
        "metadata": {"name": name, "namespace": "prod", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"gatewayRef": {"name": "gw"}},
        "status": {
            "phase": "Completed",
            "backupID": f"id-{name}",
            "path": f"manual/{name}",
            "origin": "Manual",
            **status,
        },
    }
    return BackupSummary.from_backup(Backup.parse(body))
