"""Provisioner of the storage class `standard`: one folder per claim, deleted together with the claim.

It is a separate program, so that the cluster still gets volumes after the process that started it has ended. The
volumes are `local` and not `hostPath`, because the kubelet applies a pod's `fsGroup` only to the former. A chart
without an `fsGroup` therefore fails here in the same way as with the volumes of a cloud.
"""

import argparse
import json
import os
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from tests.cluster.control_plane import node_name
from tests.cluster.paths import HERE, ClusterError, ClusterPaths
from tests.cluster.processes import Processes
from tests.cluster.slots import State

_PROVISIONER = "test-cluster/folder"
_PAUSE = 0.5
_Object = dict[str, Any]


def spawn(state: State) -> None:
    """Start the provisioner of a cluster as a process."""
    command = [sys.executable, "-m", "tests.cluster.provisioner", "--name", state.name]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent)}
    Processes(ClusterPaths.of(state.name)).spawn("provisioner", command, environment)


def local_volume(state: State, name: str, size: str, **spec: object) -> _Object:
    """The manifest of a PersistentVolume for the folder with this name."""
    node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node_name(state.name)]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": spec.pop("accessModes", ["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany"]),
            "local": {"path": str(ClusterPaths.of(state.name).volumes / name)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [node]}]}},
            **spec,
        },
    }


class _Provisioner:
    """Creates volumes for pending claims, and deletes released ones."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._paths = ClusterPaths.of(state.name)
        context = ssl.create_default_context(cafile=str(self._paths.pki / "ca.crt"))
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def step(self) -> None:
        """List claims and volumes once, and create or delete volumes."""
        volumes = self._call("GET", "/api/v1/persistentvolumes")["items"]
        own_volumes = {volume["metadata"]["name"]: volume for volume in volumes if _is_ours(volume)}
        claims = self._call("GET", "/api/v1/persistentvolumeclaims")["items"]
        for claim in claims:
            name = f"pvc-{claim['metadata']['uid']}"
            if _is_pending(claim) and name not in own_volumes:
                self._make(name, claim)
        for name, volume in own_volumes.items():
            due = volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
            if due and volume["status"].get("phase") == "Released":
                self._remove(name)

    def _make(self, name: str, claim: _Object) -> None:
        (self._paths.volumes / name).mkdir(mode=0o755, parents=True, exist_ok=True)
        reference = {key: claim["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion")}
        volume = local_volume(
            self._state,
            name,
            claim["spec"]["resources"]["requests"]["storage"],
            storageClassName=claim["spec"]["storageClassName"],
            accessModes=claim["spec"]["accessModes"],
            persistentVolumeReclaimPolicy="Delete",
            claimRef={"apiVersion": "v1", "kind": "PersistentVolumeClaim", **reference},
        )
        volume["metadata"]["annotations"] = {"pv.kubernetes.io/provisioned-by": _PROVISIONER}
        self._call("POST", "/api/v1/persistentvolumes", volume)
        print(f"made {name} for {reference['namespace']}/{reference['name']}", flush=True)

    def _remove(self, name: str) -> None:
        shutil.rmtree(self._paths.volumes / name, ignore_errors=True)
        self._call("DELETE", f"/api/v1/persistentvolumes/{name}")
        print(f"removed {name}", flush=True)

    def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> _Object:
        request = urllib.request.Request(
            self._state.server + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self._state.tokens['provisioner']}",
                "Content-Type": "application/json",
            },
        )
        with self._opener.open(request, timeout=10) as answer:
            body_of_answer: _Object = json.load(answer)
            return body_of_answer


def _is_ours(volume: _Object) -> bool:
    annotations = volume["metadata"].get("annotations") or {}
    return bool(annotations.get("pv.kubernetes.io/provisioned-by") == _PROVISIONER)


def _is_pending(claim: _Object) -> bool:
    annotations = claim["metadata"].get("annotations") or {}
    asked = annotations.get("volume.kubernetes.io/storage-provisioner") == _PROVISIONER
    return asked and claim["status"].get("phase") == "Pending"


def main() -> None:
    """Provision volumes for one cluster until the process is killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    name = parser.parse_args().name
    state = State.load(ClusterPaths.of(name))
    if state is None:
        raise ClusterError(f"there is no cluster {name}")
    provisioner = _Provisioner(state)
    while True:
        try:
            provisioner.step()
        except (OSError, ValueError) as error:
            # The API server is restarting, or an object was changed concurrently. The next step tries again.
            details = error.read().decode(errors="replace") if isinstance(error, urllib.error.HTTPError) else ""
            print(f"{type(error).__name__}: {error} {details}", flush=True)
        time.sleep(_PAUSE)


if __name__ == "__main__":
    main()
