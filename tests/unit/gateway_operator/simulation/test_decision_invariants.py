"""Invariants of every decision for generated observations.

A decision raises nothing, writes only fields of the CRD's schema, and an unfinished object always has a next action.
"""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_api.contract import SystemHealthData
from gateway_operator.domain.backup import decide as backup
from gateway_operator.domain.backup import deletion
from gateway_operator.domain.gateway.workload import Endpoint
from gateway_operator.domain.index.backup_index import TERMINAL_BACKUP_PHASES
from gateway_operator.domain.model.actions import (
    CallBackup,
    CallCommit,
    CallRestore,
    CallRollback,
    CheckFile,
    CreateSafetyBackup,
    DeleteFile,
    Done,
    FindFile,
    Finish,
    ReadRecord,
    RecheckSoon,
    RemoveFinalizer,
    Restart,
    Wait,
    Write,
)
from gateway_operator.domain.restore import decide as restore
from gateway_operator.domain.restore.status import TERMINAL_RESTORE_PHASES, RestoreObservation, is_terminal
from tests.unit.gateway_operator import strategies as strategies

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[4]
CALLS = (CallBackup, ReadRecord, CallRestore, CallCommit, CallRollback)


def schema(plural: str) -> dict[str, Any]:
    """The properties of a status in the schema of the CRD."""
    text = (ROOT / "crds" / f"mcpgateway.dev_{plural}.yaml").read_text()
    version = yaml.load(text, yaml.CSafeLoader)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    properties: dict[str, Any] = version["properties"]["status"]["properties"]
    return properties


BACKUP_STATUS, RESTORE_STATUS = schema("gatewaybackups"), schema("gatewayrestores")


def check_status(status: dict[str, Any], fields: dict[str, Any]) -> None:
    """Every written field is in the schema: the API server silently drops unknown fields."""
    unknown = set(status) - set(fields)
    assert not unknown
    if "phase" in status:
        assert status["phase"] in fields["phase"]["enum"]
    for name, value in status.items():
        properties = fields[name].get("properties")
        if properties and value:
            assert not set(value) - set(properties), name
        items = (fields[name].get("items") or {}).get("properties")
        if items:
            assert all(not set(one) - set(items) for one in value), name


@given(strategies.backup_views, strategies.times)
@settings(max_examples=200, deadline=None)
def test_backup_decisions_are_valid(view: backup.BackupObservation, now: datetime) -> None:
    action = backup.decide(view, now)
    thing = view.backup
    if backup.is_terminal(thing) or thing.meta.deleting_since:
        assert isinstance(action, Done)
        return
    assert not isinstance(action, Done)
    check_status(dict(getattr(action, "status", {})), BACKUP_STATUS)
    match action:
        case Finish():
            assert action.status["phase"] in TERMINAL_BACKUP_PHASES
            kinds = {one["type"]: one["status"] for one in action.status["conditions"]}
            assert kinds["Finished"] == "True"
            assert kinds["Completed"] != kinds["Failed"]
            assert len(action.status.get("lastErrors", [])) <= 10
        case Wait():
            assert math.isfinite(action.seconds)
            assert 0 < action.seconds <= 100_005
            assert action.status.get("phase") not in ("Completed", "Failed")
        case CallBackup():
            assert action.request_id == thing.meta.ref.uid
            assert isinstance(view.gateway, Endpoint)
            assert action.timeout > 0
            assert len(action.path.split("/")[1].encode()) + len(".verification") <= 180
        case ReadRecord():
            assert isinstance(view.gateway, Endpoint)
            assert view.stored is None
            assert thing.existing is None
        case FindFile():
            assert action.path == thing.existing
            assert action.status["adopted"] is True
        case CheckFile():
            assert isinstance(view.gateway, Endpoint)
            assert thing.phase == "Verifying"
        case Write():
            assert action.status["phase"] != thing.phase


@given(strategies.restore_views, strategies.times)
@settings(max_examples=400, deadline=None)
def test_restore_decisions_are_valid(view: RestoreObservation, now: datetime) -> None:
    action = restore.decide(view, now)
    thing = view.restore
    if is_terminal(thing):
        assert isinstance(action, Done)
        return
    assert not isinstance(action, Done)
    check_status(dict(getattr(action, "status", {})), RESTORE_STATUS)
    match action:
        case Finish():
            assert action.status["phase"] in TERMINAL_RESTORE_PHASES
            assert len(action.status["steps"]) <= 20
        case Wait() | RecheckSoon():
            assert math.isfinite(action.seconds)
            assert 0 < action.seconds <= 100_005
        case CallRestore():
            assert thing.phase == "Restoring"
            assert action.request_id == thing.request_id
            assert (action.backup_id is None) or (action.path is None)
        case CallCommit():
            assert thing.phase == "HealthCheck"
            assert view.healthy_streak >= thing.health_consecutive
        case CallRollback():
            assert thing.phase == "RollingBack"
            assert thing.on_failure == "Rollback" or thing.phase == "RollingBack"
        case CreateSafetyBackup():
            assert thing.phase == "SafetyBackup"
            assert view.safety is None
            assert len(action.name) <= 63
        case Restart():
            assert thing.restart != "Never"
        case Write():
            changes = {key for key, value in action.status.items() if thing.status.get(key) != value}
            assert changes


@given(strategies.restore_views, strategies.times)
@settings(max_examples=100, deadline=None)
def test_restart_never_is_respected(view: RestoreObservation, now: datetime) -> None:
    action = restore.decide(view, now)
    assert not (view.restore.restart == "Never" and isinstance(action, Restart))


@given(strategies.deletion_views, strategies.times)
@settings(max_examples=200, deadline=None)
def test_deletion_decisions_are_valid_and_bounded_in_time(view: deletion.DeletionObservation, now: datetime) -> None:
    action = deletion.decide(view, now)
    check_status(dict(getattr(action, "status", {})), BACKUP_STATUS)
    thing = view.backup
    by_person = thing.delete_file and thing.meta.deleting_since is not None
    by_retention = thing.phase == "Deleting" and "deletion" in thing.status
    if not by_person and not by_retention:
        assert action == RemoveFinalizer()
    if isinstance(action, DeleteFile):
        assert action.backup_id
        assert isinstance(view.health, SystemHealthData)
        assert thing.status.get("volumeID") in (None, view.health.volume_id)
    if isinstance(action, Wait):
        assert 0 < action.seconds <= 600
        since = deletion.deletion_started(thing)
        assert since is not None
        assert (now - since).total_seconds() < deletion.UNREACHABLE_LIMIT


@given(st.integers(0, 100), st.text(max_size=40))
def test_backoff_is_bounded(attempt: int, seed: str) -> None:
    from gateway_operator.domain.model.timestamps import backoff

    assert 0 < backoff(attempt, seed) <= 60
    assert backoff(attempt, seed) == backoff(attempt, seed)
