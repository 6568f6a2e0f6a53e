"""Gateways for tests: a Deployment whose pod gets a status by hand, since nothing runs pods here.

The controller-manager makes the ReplicaSet and the Pod, as in a real cluster; the test plays the scheduler and the
kubelet, and gives the pod the loopback address where an admin API listens.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from gateway_operator.domain.model.names import ADMIN_CA_SECRET, ADMIN_KEY_SECRET, CONFIG_RELOAD, FINALIZER
from tests.cluster import Cluster, ClusterError

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def loopback() -> str:
    """An address of this machine that no other test uses."""
    one, two, three = (secrets.randbelow(253) + 1 for _ in range(3))
    return f"127.{one}.{two}.{three}"


def until(what: str, check: Callable[[], Any], timeout: float = 60) -> Any:
    """Wait until a check gives something true."""
    deadline = time.monotonic() + timeout
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.1)


@dataclass
class Kube:
    """One namespace: kubectl, and for what is asked often, requests without a process."""

    cluster: Cluster
    namespace: str

    def run(self, *arguments: str, body: Any = None, check: bool = True) -> str:
        """A kubectl command."""
        text = None if body is None else json.dumps(body)
        return self.cluster.kubectl("-n", self.namespace, *arguments, input=text, check=check)

    def apply(self, body: Any) -> None:
        """Apply an object. kubectl does it, unless the object is new and valid."""
        if not self._created(body):
            self.run("apply", "-f", "-", body=body)

    def _created(self, body: dict[str, Any]) -> bool:
        """Create an object as `kubectl apply` does, with the note from which it finds removed fields later."""
        if body["kind"] == "List":
            return False
        metadata = {"annotations": {}, "namespace": self.namespace, **body["metadata"]}
        note = json.dumps({**body, "metadata": metadata}) + "\n"
        metadata["annotations"] = {**metadata["annotations"], LAST_APPLIED: note}
        return self.cluster.rest.create(
            {**body, "metadata": metadata}, metadata["namespace"], manager="kubectl-client-side-apply"
        )

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """An object, or None."""
        return self.cluster.rest.get(kind, self.namespace, name)

    def items(self, kind: str, *, labels: str = "", fields: str = "") -> list[dict[str, Any]]:
        """All objects of a kind, or those that a selector of labels or fields takes."""
        return self.cluster.rest.items(kind, self.namespace, labels=labels, fields=fields)

    def patch_status(self, kind: str, name: str, status: Any) -> None:
        """Merge into a status."""
        self.cluster.rest.patch_status(kind, self.namespace, name, status)

    def backup(self, name: str, **spec: Any) -> None:
        """Apply a GatewayBackup."""
        self.apply(resource("GatewayBackup", name, {"gatewayRef": {"name": "gw"}, **spec}))

    def delete_with_file(self, name: str, *flags: str) -> None:
        """Delete a GatewayBackup and its file, as `kubectl gateway backup delete` does."""
        patch = {"metadata": {"finalizers": [FINALIZER]}, "spec": {"deleteFile": True}}
        self.run("patch", f"gwb/{name}", "--type=merge", "-p", json.dumps(patch))
        self.run("delete", f"gwb/{name}", *flags)

    def restore(self, name: str, **spec: Any) -> None:
        """Apply a GatewayRestore."""
        self.apply(resource("GatewayRestore", name, {"gatewayRef": {"name": "gw"}, **spec}))

    def schedule(self, name: str, **spec: Any) -> None:
        """Apply a GatewayBackupSchedule; far from due unless it says when."""
        spec = {"gatewayRef": {"name": "gw"}, "schedule": "0 3 1 1 *", **spec}
        self.apply(resource("GatewayBackupSchedule", name, spec))

    def wait_condition(self, kind: str, name: str, condition: str, reason: str, timeout: float = 30) -> dict[str, Any]:
        """Wait until a condition has that reason, of the generation that is there now. Gives the condition."""

        def found() -> dict[str, Any] | None:
            body = self.get(kind, name) or {"metadata": {}}
            for one in (body.get("status") or {}).get("conditions") or ():
                if one["type"] == condition and one["reason"] == reason:
                    return one if one.get("observedGeneration") == body["metadata"]["generation"] else None
            return None

        answer: dict[str, Any] = until(f"{condition} {reason} of {kind} {name}", found, timeout)
        return answer

    def status(self, kind: str, name: str) -> dict[str, Any]:
        """The status of an object; empty if there is none."""
        return (self.get(kind, name) or {}).get("status") or {}

    def wait_phase(self, kind: str, name: str, *phases: str, timeout: float = 30) -> dict[str, Any]:
        """Wait for one of the phases."""
        return self.wait_status(kind, name, lambda status: status.get("phase") in phases, timeout)

    def wait_status(
        self, kind: str, name: str, check: Callable[[dict[str, Any]], Any], timeout: float = 30
    ) -> dict[str, Any]:
        """Wait until the status fits."""
        last: dict[str, Any] = {}

        def look() -> Any:
            nonlocal last
            last = self.status(kind, name)
            return check(last)

        try:
            until(f"{kind} {name}", look, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}; its status is {json.dumps(last, indent=1)}") from None
        return last

    def events(self, name: str) -> list[tuple[str, str]]:
        """(type, reason) of the events about an object, oldest first."""
        found = self.items("events", fields=f"involvedObject.name={name}")
        return [(one["type"], one["reason"]) for one in sorted(found, key=lambda one: one["firstTimestamp"])]


def resource(kind: str, name: str, spec: Any) -> dict[str, Any]:
    """One of ours."""
    return {"apiVersion": "mcpgateway.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


@dataclass
class Gateway:
    """A Deployment that is a gateway."""

    kube: Kube
    address: str
    key: str
    name: str = "gw"
    port: int = 8001
    port_name: str = "admin"
    ca: str | None = None
    reload: str = "Watch"
    volumes: list[dict[str, Any]] = field(
        default_factory=lambda: [{"name": "config", "persistentVolumeClaim": {"claimName": "config"}}]
    )
    config_folder: str = "/config"
    annotated: bool = True
    replicas: int = 1

    def create(self) -> Gateway:
        """The Secret, the Deployment, and its pod, ready."""
        self.secret()
        self.deployment()
        self.ready()
        return self

    def secret(self) -> None:
        """The Secret with the key."""
        fields = {"admin-key": self.key, **({"ca.crt": self.ca} if self.ca else {})}
        meta = {"name": f"{self.name}-admin"}
        self.kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": fields})

    def deployment(self) -> None:
        """The Deployment, without a pod that is ready."""
        annotations = {CONFIG_RELOAD: self.reload}
        if self.annotated:
            annotations[ADMIN_KEY_SECRET] = f"{self.name}-admin"
        if self.ca:
            annotations[ADMIN_CA_SECRET] = f"{self.name}-admin"
        container = {
            "name": "admin",
            "image": "admin",
            "ports": [{"name": self.port_name, "containerPort": self.port}],
            "volumeMounts": [{"name": "config", "mountPath": self.config_folder}],
        }
        labels = {"app": self.name}
        self.kube.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": self.name, "annotations": annotations},
                "spec": {
                    "replicas": self.replicas,
                    "strategy": {"type": "Recreate"},
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {
                            "terminationGracePeriodSeconds": 0,
                            "containers": [container, {"name": "gateway", "image": "gateway"}],
                            "volumes": self.volumes,
                        },
                    },
                },
            }
        )

    def pods(self) -> list[dict[str, Any]]:
        """Its pods."""
        return self.kube.items("pods", labels=f"app={self.name}")

    def pod(self) -> str:
        """The name of its pod, once there is one that is not going."""
        found: dict[str, Any] = until(
            f"a pod of {self.name}",
            lambda: next((pod for pod in self.pods() if "deletionTimestamp" not in pod["metadata"]), None),
            timeout=120,  # controllers that lost their API server ask again after up to half a minute
        )
        return str(found["metadata"]["name"])

    @contextmanager
    def kubelet(self, *, gateway: bool = True) -> Iterator[None]:
        """Makes each new pod ready as it comes, until the block ends."""
        ended = threading.Event()

        def play() -> None:
            while not ended.wait(0.3):
                for pod in self.pods():
                    if "podIP" not in pod["status"] and "deletionTimestamp" not in pod["metadata"]:
                        status = pod_status(self.address, gateway=gateway)
                        with suppress(ClusterError):
                            self.kube.patch_status("pod", pod["metadata"]["name"], status)

        thread = threading.Thread(target=play, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def ready(self, *, gateway: bool = True, admin: bool = True) -> str:
        """Give the pod an address and readiness, as a kubelet would."""
        name = self.pod()
        self.kube.patch_status("pod", name, pod_status(self.address, gateway=gateway, admin=admin))
        return name


def pod_status(address: str, *, gateway: bool = True, admin: bool = True) -> dict[str, Any]:
    """The status of a running pod."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    whole = "True" if gateway and admin else "False"
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [
            {"type": kind, "status": whole, "lastTransitionTime": now} for kind in ("Ready", "ContainersReady")
        ],
        "containerStatuses": [
            {
                "name": name,
                "ready": ready,
                "started": ready,
                "restartCount": 0,
                "image": name,
                "imageID": name,
                "state": {"running": {"startedAt": now}},
            }
            for name, ready in (("admin", admin), ("gateway", gateway))
        ],
    }


__all__ = ["ClusterError", "Gateway", "Kube", "loopback", "pod_status", "resource", "until"]
