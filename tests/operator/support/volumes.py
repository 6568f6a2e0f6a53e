"""A PersistentVolume without storage behind it, and the claim `backups` that is bound to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.operator.support.workloads import Kube

_COMMON = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}


@contextmanager
def bound_backup_claim(kube: Kube, reclaim_policy: str) -> Iterator[str]:
    """Create both in the namespace, and yield the name of the PersistentVolume."""
    name = f"{kube.namespace}-backups"
    driver = {"driver": "none.tests", "volumeHandle": name}
    spec = {"capacity": {"storage": "1Gi"}, "csi": driver, "persistentVolumeReclaimPolicy": reclaim_policy}
    claimed = {"volumeName": name, "resources": {"requests": {"storage": "1Gi"}}}
    kube.kubectl(
        "apply", "-f", "-",
        body={"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": {**_COMMON, **spec}},
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "backups"},
             "spec": {**_COMMON, **claimed}},
        ]},
    )  # fmt: skip
    try:
        yield name
    finally:
        kube.kubectl("delete", "persistentvolume", name, "--wait=false")
