"""The claim of a GatewayBackup: the status that is written before the gateway is called, and the call itself.

The claim names the path, the backup id and the volume. The same claim follows from the object after a crash, so the
same file is requested again. An operator that has read an older version of the object cannot write it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from gateway_api.contract import SystemHealthData
from gateway_operator.domain.gateway.workload import Endpoint
from gateway_operator.domain.model import retry as retry_policy
from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.actions import CallBackup, FindFile
from gateway_operator.domain.model.identifiers import Origin
from gateway_operator.domain.model.names import backup_path
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup

SCHEDULE_KEY: Final = "schedule"
"""Key in the metadata of a file: the schedule of a scheduled backup."""
_MIN_CALL_SECONDS: Final = 5.0


def claim_new(
    backup: Backup, pod: Endpoint, health: SystemHealthData, backup_id: str, deadline: datetime, now: datetime
) -> CallBackup:
    """The call that makes a new backup, with its claim. The call may take until ``deadline``."""
    meta = backup.meta
    started = backup.time("startTime") or now
    path = str(
        backup.status.get("path")
        or backup_path(
            backup.group, meta.created, meta.ref.name, meta.ref.uid, encrypted=health.encryption == "require"
        )
    )
    status = _running(backup, pod, health, path, now)
    # The path and the backup id are durable before the call: after a crash the same file is requested again, and a lost
    # answer is resolved by the id.
    status.update(message=f"Pod {pod.pod} was asked for the backup.", backupID=backup_id)
    left = timestamps.seconds_until(max(deadline, timestamps.later(started, backup.timeout)), now)
    metadata = {
        "namespace": meta.ref.namespace,
        "name": meta.ref.name,
        "uid": meta.ref.uid,
        "group": backup.group,
        "gateway": str(backup.gateway),
        "origin": str(backup.origin),
    }
    if backup.origin is Origin.Schedule:
        metadata[SCHEDULE_KEY] = backup.schedule
    if backup.description:
        metadata["description"] = backup.description
    return CallBackup(path, meta.ref.uid, metadata, max(left, _MIN_CALL_SECONDS), status)


def _running(backup: Backup, pod: Endpoint, health: SystemHealthData, path: str, now: datetime) -> dict[str, Any]:
    status: dict[str, Any] = {
        "phase": "Running",
        "reason": str(Reason.Running),
        "observedGeneration": backup.meta.generation,
        "startTime": timestamps.text(backup.time("startTime") or now),
        "attempt": retry_policy.attempt_number(backup),
        "nextRetryTime": None,
        "failure": None,
        "pod": pod.pod,
        "path": path,
        "volumeID": health.volume_id,
        "gatewayID": health.gateway_id,
    }
    authorized = retry_policy.authorized_conditions(backup, None, now)
    if authorized is not None:
        status["conditions"] = authorized
    return status


def claim_existing(backup: Backup, path: str, pod: Endpoint, health: SystemHealthData, now: datetime) -> FindFile:
    """The read of the file that the backup adopts, with its claim."""
    status = _running(backup, pod, health, path, now)
    # The claim is durable before the file is read, so that two GatewayBackups cannot both adopt it.
    status.update(message=f"Pod {pod.pod} was asked for {path}.")
    return FindFile(path, status)
