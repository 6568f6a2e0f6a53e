"""Objects whose status is worth a notification, as the API server has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule

NOW: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)


def body(name: str, status: dict[str, Any], spec: dict[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
    """An object with this status; its uid follows from its name."""
    created = timestamps.text(NOW - timedelta(days=30))
    metadata = {"namespace": "prod", "name": name, "uid": f"uid-{name}", "creationTimestamp": created, **meta}
    return {"metadata": metadata, "spec": {"gatewayRef": {"name": "gw"}, **(spec or {})}, "status": status}


def condition(kind: str, status: bool, reason: str, message: str = "Text.", age: float = 0.0) -> dict[str, Any]:
    """A condition that changed ``age`` seconds before ``NOW``."""
    since = timestamps.text(NOW - timedelta(seconds=age))
    state = "True" if status else "False"
    return {"type": kind, "status": state, "reason": reason, "message": message, "lastTransitionTime": since}


def backup(name: str = "b", *, age: float = 0.0, phase: str = "Failed", **status: Any) -> Backup:
    """A backup that ended ``age`` seconds before ``NOW``."""
    ended = timestamps.text(NOW - timedelta(seconds=age))
    fields = {"phase": phase, "reason": "Unreachable", "message": "No answer.", "completionTime": ended}
    return Backup.parse(body(name, fields | status))


def restore(name: str = "r", *, spec: dict[str, Any] | None = None, labels: Any = None, **status: Any) -> Restore:
    """A restore that ended at ``NOW``, unless ``status`` says otherwise."""
    fields = {"phase": "Completed", "reason": "Restored", "message": "Done.", "completionTime": timestamps.text(NOW)}
    return Restore.parse(body(name, fields | status, spec, labels=labels or {}))


def schedule(
    name: str = "nightly", *conditions: dict[str, Any], spec: dict[str, Any] | None = None, **status: Any
) -> GatewayBackupSchedule:
    """A schedule with these conditions."""
    return GatewayBackupSchedule.parse(body(name, {"conditions": list(conditions), **status}, spec))
