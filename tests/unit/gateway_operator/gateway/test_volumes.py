"""Which volume of a pod holds the config or the backups, and what it outlives."""

from __future__ import annotations

from typing import Any

import pytest

from gateway_operator.domain.gateway.volumes import (
    BackupVolume,
    backup_claim,
    bound_volume,
    config_is_persistent,
    judge_reclaim_policy,
    retain_line,
)


def mounted(*mounts: tuple[str, str], **volumes: Any) -> dict[str, Any]:
    """A pod with these mounts and volumes."""
    where = [{"name": name, "mountPath": path} for name, path in mounts]
    named = [{"name": name, **source} for name, source in volumes.items()]
    return {"spec": {"containers": [{"name": "admin", "volumeMounts": where}], "volumes": named}}


CLAIM: dict[str, Any] = {"persistentVolumeClaim": {"claimName": "c"}}
EMPTY: dict[str, Any] = {"emptyDir": {}}
PERSISTENT: dict[str, tuple[dict[str, Any], bool]] = {
    "a claim": (mounted(("c", "/config"), c=CLAIM), True),
    "a host path": (mounted(("c", "/config"), c={"hostPath": {"path": "/x"}}), True),
    "nfs": (mounted(("c", "/config"), c={"nfs": {}}), True),
    "an empty folder": (mounted(("c", "/config"), c=EMPTY), False),
    "an ephemeral claim": (mounted(("c", "/config"), c={"ephemeral": {}}), False),
    "a Secret": (mounted(("c", "/config"), c={"secret": {}}), False),
    "no mount": (mounted(), False),
    "a mount beside it": (mounted(("c", "/conf"), c=CLAIM), False),
    "an empty folder within a claim": (mounted(("c", "/config"), ("e", "/config/sub"), c=CLAIM, e=EMPTY), False),
    "a claim within an empty folder": (mounted(("e", "/config"), ("c", "/config/sub/"), c=CLAIM, e=EMPTY), True),
    "at the root": (mounted(("c", "/"), c=CLAIM), True),
}


@pytest.mark.parametrize("case", PERSISTENT)
def test_config_is_persistent_only_on_a_persistent_volume(case: str) -> None:
    body, persistent = PERSISTENT[case]
    assert config_is_persistent(body, "admin", "/config/sub/config.json") is persistent


TEMPORARY, RETAINED = (False, "BackupVolumeTemporary"), (True, "BackupVolumeRetained")
BACKUP_PODS: dict[str, tuple[dict[str, Any], tuple[bool | None, str]]] = {
    "no mount": (mounted(("c", "/config"), c=CLAIM), TEMPORARY),
    "an empty folder": (mounted(("b", "/backups"), b=EMPTY), TEMPORARY),
    "an empty folder in memory": (mounted(("b", "/backups/"), b={"emptyDir": {"medium": "Memory"}}), TEMPORARY),
    "an ephemeral claim": (mounted(("b", "/backups"), b={"ephemeral": {"volumeClaimTemplate": {}}}), TEMPORARY),
    "an empty folder within a claim": (mounted(("c", "/"), ("b", "/backups"), c=CLAIM, b=EMPTY), TEMPORARY),
    "a host path": (mounted(("b", "/backups"), b={"hostPath": {"path": "/x"}}), RETAINED),
    "nfs": (mounted(("b", "/backups"), b={"nfs": {"server": "x", "path": "/"}}), RETAINED),
    "a CSI volume of the pod": (mounted(("b", "/backups"), b={"csi": {"driver": "x"}}), (None, "BackupVolumeUnknown")),
    "a kind of the future": (mounted(("b", "/backups"), b={"tape": {}}), (None, "BackupVolumeUnknown")),
}


@pytest.mark.parametrize("case", BACKUP_PODS)
def test_volume_without_a_claim_is_judged_by_its_kind(case: str) -> None:
    body, expected = BACKUP_PODS[case]
    result = backup_claim(body, "admin", "/backups")
    assert isinstance(result, BackupVolume)
    assert (result.retained, result.reason) == expected


def test_claim_is_that_of_the_admin_container() -> None:
    claim = {"persistentVolumeClaim": {"claimName": "backups-gw-1"}}
    body = mounted(("b", "/data"), b=claim, c=CLAIM)
    body["spec"]["containers"].append({"name": "other", "volumeMounts": [{"name": "c", "mountPath": "/data/backups"}]})
    assert backup_claim(body, "admin", "/data/backups") == "backups-gw-1"
    assert backup_claim(body, None, "/data/backups") == "c", "no container has the port of the admin API"


@pytest.mark.parametrize(
    "claim", [None, {}, {"spec": {}}, {"spec": {"volumeName": ""}, "status": {"phase": "Pending"}}]
)
def test_claim_without_a_volume_is_unknown(claim: dict[str, Any] | None) -> None:
    result = bound_volume("c", claim)
    assert isinstance(result, BackupVolume)
    assert (result.retained, result.reason) == (None, "BackupVolumeUnknown")
    assert bound_volume("c", {"spec": {"volumeName": "pv"}}) == "pv"


@pytest.mark.parametrize(
    ("volume", "retained", "reason"),
    [
        ({"spec": {"persistentVolumeReclaimPolicy": "Retain"}}, True, "BackupVolumeRetained"),
        ({"spec": {"persistentVolumeReclaimPolicy": "Delete"}}, False, "BackupVolumeDeletedWithClaim"),
        ({"spec": {"persistentVolumeReclaimPolicy": "Recycle"}}, False, "BackupVolumeDeletedWithClaim"),
        ({"spec": {"persistentVolumeReclaimPolicy": "Shred"}}, False, "BackupVolumeDeletedWithClaim"),
        (None, None, "BackupVolumeUnknown"),
    ],
)
def test_only_the_policy_retain_keeps_the_backups(
    volume: dict[str, Any] | None, retained: bool | None, reason: str
) -> None:
    result = judge_reclaim_policy("c", "pv-1", volume)
    assert (result.retained, result.reason) == (retained, reason)
    assert (retain_line("pv-1") in result.message) is (retained is False)
