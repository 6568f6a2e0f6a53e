"""Finds the volume behind a path of a pod, and judges what it outlives: the pod, its claim, the namespace.

The pod is read and not the workload: in a pod of a StatefulSet the names of the claims are filled in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Json

BACKUP_VOLUME_RETAINED: Final = "BackupVolumeRetained"
_CLAIM: Final = "persistentVolumeClaim"
_TRANSIENT: Final = frozenset({"emptyDir", "configMap", "secret", "projected", "downwardAPI", "ephemeral", "image"})
"""The kinds of volume that are lost with the pod."""
_OUTSIDE: Final = frozenset({"nfs", "iscsi", "fc", "cephfs", "rbd", "glusterfs", "azureFile", "azureDisk"})
"""The kinds that name storage which Kubernetes neither creates nor deletes."""


def mounted_volume(pod: Json, container: str | None, path: str) -> Json | None:
    """The volume behind a file, or a folder with ``/`` at its end.

    None if it is in the container's own layer, which is lost with it.

    Only the container with the admin port counts, or every container if none has it. Of its mounts the one with the
    longest matching path counts.
    """
    spec = pod.get("spec") or {}
    volumes: Mapping[str, Any] = {str(volume.get("name")): volume for volume in spec.get("volumes") or ()}
    longest, name = "", ""
    for one in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        if container is not None and one.get("name") != container:
            continue
        for mount in one.get("volumeMounts") or ():
            mount_path = str(mount.get("mountPath", "")).rstrip("/")
            if path.startswith(f"{mount_path}/") and len(mount_path) >= len(longest):
                longest, name = mount_path, str(mount.get("name"))
    return volumes.get(name)


def _kind(volume: Json | None) -> str:
    """The field of a volume that says what it is; empty without one."""
    return next((key for key in volume or () if key != "name"), "")


def config_is_persistent(pod: Json, container: str | None, config_path: str) -> bool:
    """Whether the volume behind the config outlives the pod."""
    kind = _kind(mounted_volume(pod, container, config_path))
    return bool(kind) and kind not in _TRANSIENT


@dataclass(frozen=True, slots=True)
class BackupVolume:
    """The value of the condition BackupVolumeRetained. ``retained`` is None if it is not known."""

    retained: bool | None
    reason: Reason
    message: str
    """It is the same while nothing changes."""


def backup_claim(pod: Json, container: str | None, backup_path: str) -> str | BackupVolume:
    """The name of the claim behind the backup directory, or the result where there is no claim."""
    volume = mounted_volume(pod, container, f"{backup_path}/")
    kind = _kind(volume)
    if volume is None or kind in _TRANSIENT:
        where = "is no volume" if volume is None else f"is a volume of the kind {kind}"
        message = f"{backup_path} {where}: the backups are deleted with the pod. Mount a PersistentVolumeClaim there."
        return BackupVolume(False, Reason.BackupVolumeTemporary, message)
    if kind == _CLAIM:
        return str(volume[_CLAIM].get("claimName"))
    if kind == "hostPath":
        message = "The backups are in a directory of one node (hostPath). They outlive the namespace, but not the node."
        return BackupVolume(True, Reason.BackupVolumeRetained, message)
    if kind in _OUTSIDE:
        message = f"The backups are on a volume of the kind {kind}, which Kubernetes does not delete."
        return BackupVolume(True, Reason.BackupVolumeRetained, message)
    message = f"{backup_path} is on a volume of the kind {kind}. The operator cannot tell when its data is deleted."
    return BackupVolume(None, Reason.BackupVolumeUnknown, message)


def bound_volume(name: str, claim: Json | None) -> str | BackupVolume:
    """The name of the PersistentVolume of a claim, or the result where it has none."""
    volume = ((claim or {}).get("spec") or {}).get("volumeName")
    if volume:
        return str(volume)
    state = "does not exist" if claim is None else "is not bound to a PersistentVolume"
    return BackupVolume(None, Reason.BackupVolumeUnknown, f"The claim {name} of the backup volume {state}.")


def judge_reclaim_policy(claim: str, name: str, volume: Json | None) -> BackupVolume:
    """The result for a PersistentVolume. Only the policy ``Retain`` keeps it when its claim is deleted."""
    if volume is None:
        message = f"PersistentVolume {name} of the claim {claim} does not exist."
        return BackupVolume(None, Reason.BackupVolumeUnknown, message)
    # The API server's default for a volume that a person creates is Retain; the field is then set as well.
    policy = str((volume.get("spec") or {}).get("persistentVolumeReclaimPolicy") or "Retain")
    described = f"PersistentVolume {name} has the reclaim policy {policy}"
    if policy == "Retain":
        message = f"{described}: the backups stay when the claim {claim} or its namespace is deleted."
        return BackupVolume(True, Reason.BackupVolumeRetained, message)
    message = (
        f"{described}: all backups are deleted with the claim {claim}, also by a deletion of the namespace. To keep "
        f"them: {retain_line(name)}"
    )
    return BackupVolume(False, Reason.BackupVolumeDeletedWithClaim, message)


def retain_line(name: str) -> str:
    """The command that keeps a PersistentVolume when its claim is deleted."""
    patch = '{"spec": {"persistentVolumeReclaimPolicy": "Retain"}}'
    return f"kubectl patch persistentvolume {name} --patch '{patch}'"
