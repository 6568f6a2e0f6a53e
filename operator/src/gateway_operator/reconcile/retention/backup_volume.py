"""Reads the claim and the PersistentVolume of a gateway's backups, for the condition BackupVolumeRetained."""

from __future__ import annotations

import logging

from gateway_api.contract import SystemHealthData
from gateway_operator.domain.gateway.grants import OPERATOR_CHART, volumes_grant_line
from gateway_operator.domain.gateway.volumes import BackupVolume, backup_claim, bound_volume, judge_reclaim_policy
from gateway_operator.domain.gateway.workload import Endpoint
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.ports import ClusterError, ForbiddenError, Ports
from gateway_operator.reconcile.gateway_lookup import ResolvedGateway

_log = logging.getLogger("gateway_operator.reconcile")


async def read_backup_volume(
    ports: Ports, namespace: str, resolved: ResolvedGateway, health: SystemHealthData
) -> BackupVolume | None:
    """Whether the backups outlive their claim. None if the API server did not answer: the last result then stays."""
    if resolved.pod is None or not isinstance(resolved.gateway, Endpoint):
        return None
    claim = backup_claim(resolved.pod, resolved.gateway.container, health.backup_path)
    if isinstance(claim, BackupVolume):
        return claim
    try:
        volume = bound_volume(claim, await ports.cluster.volume_claim(namespace, claim))
    except ForbiddenError as error:
        return BackupVolume(None, Reason.NotAuthorized, f"{error}. {OPERATOR_CHART}")
    except ClusterError as error:
        _log.warning("The claim %s in namespace %s cannot be read: %s", claim, namespace, error)
        return None
    if isinstance(volume, BackupVolume):
        return volume
    try:
        return judge_reclaim_policy(claim, volume, await ports.cluster.persistent_volume(volume))
    except ForbiddenError as error:
        # The usual case in Role-only mode: no Role can grant it, since a PersistentVolume is in no namespace.
        message = f"{error}. Only a ClusterRole grants it; by hand: {volumes_grant_line(ports.operator)}"
        return BackupVolume(None, Reason.NotAuthorized, message)
    except ClusterError as error:
        _log.warning("PersistentVolume %s cannot be read: %s", volume, error)
        return None
