"""Access to one namespace of the test cluster, and gateway Deployments without running pods.

The test cluster has an API server and a controller-manager but no node. The controller-manager creates ReplicaSet and
Pod. The test acts as the scheduler and the kubelet: it writes the pod's status, with the loopback address of an admin
API.
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

from gateway_operator.domain.model.identifiers import GatewayRef
from gateway_operator.domain.model.names import (
    ADMIN_CA_SECRET,
    ADMIN_KEY_SECRET,
    CONFIG_RELOAD,
    FINALIZER,
    job_backup_name,
)
from tests.cluster import Cluster, ClusterError

GATEWAY = GatewayRef("Deployment", "gw")
"""The gateway of the objects that ``Kube`` applies."""
QUICK_HEALTH_CHECK = {"timeoutSeconds": 8, "consecutive": 2}
"""The `healthCheck` of a restore that a healthy gateway passes within seconds."""
LEFT_UNREADY = "tests/left-unready"
"""Annotation of pods that the simulated kubelet does not make ready."""
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def random_loopback_address() -> str:
    """A random address in 127.0.0.0/8, so that tests running at the same time can all use the same port."""
    one, two, three = (secrets.randbelow(253) + 1 for _ in range(3))
    return f"127.{one}.{two}.{three}"


def wait_for(description: str, check: Callable[[], Any], timeout: float = 60) -> Any:
    """Call `check` ten times a second until its result is true, and return that result.

    After `timeout` seconds it is an AssertionError with the description.
    """
    deadline = time.monotonic() + timeout
    while True:
        result = check()
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {timeout} s: {description}"
        time.sleep(0.1)


@dataclass
class Kube:
    """One namespace of the test cluster.

    Frequent reads and writes are HTTP requests, because a kubectl process takes much longer.
    """

    cluster: Cluster
    namespace: str

    def kubectl(self, *arguments: str, body: Any = None, check: bool = True) -> str:
        """Run kubectl in the namespace and return its output. `body` is sent to its stdin as JSON."""
        text = None if body is None else json.dumps(body)
        return self.cluster.kubectl("-n", self.namespace, *arguments, input=text, check=check)

    def apply(self, body: Any) -> None:
        """Apply an object: by one request if it is new and valid, otherwise by kubectl."""
        if not self._created(body):
            self.kubectl("apply", "-f", "-", body=body)

    def _created(self, body: dict[str, Any]) -> bool:
        """Create an object as `kubectl apply` does. Returns False if kubectl must apply it."""
        if body["kind"] == "List":
            return False
        metadata = {"annotations": {}, "namespace": self.namespace, **body["metadata"]}
        last_applied = json.dumps({**body, "metadata": metadata}) + "\n"
        # A later `kubectl apply` compares with this annotation to find fields that were removed.
        metadata["annotations"] = {**metadata["annotations"], LAST_APPLIED: last_applied}
        return self.cluster.rest.create(
            {**body, "metadata": metadata}, metadata["namespace"], manager="kubectl-client-side-apply"
        )

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """The object, or None if it does not exist."""
        return self.cluster.rest.get(kind, self.namespace, name)

    def require(self, kind: str, name: str) -> dict[str, Any]:
        """The object. It is an AssertionError if it does not exist."""
        body = self.get(kind, name)
        assert body is not None, f"there is no {kind} {name}"
        return body

    def items(self, kind: str, *, labels: str = "", fields: str = "") -> list[dict[str, Any]]:
        """All objects of a kind, or those that match a label selector or a field selector."""
        return self.cluster.rest.items(kind, self.namespace, labels=labels, fields=fields)

    def patch_status(self, kind: str, name: str, status: Any) -> None:
        """Apply a JSON merge patch to the status."""
        self.cluster.rest.patch_status(kind, self.namespace, name, status)

    def patch_spec(self, kind: str, name: str, fields: dict[str, Any]) -> None:
        """Apply a JSON merge patch to the spec, with kubectl."""
        self.kubectl("patch", kind, name, "--type=merge", "-p", json.dumps({"spec": fields}))

    def apply_backup(self, name: str, **spec: Any) -> None:
        """Apply a GatewayBackup of the gateway `gw`, unless the spec names another one."""
        self.apply(custom_resource("GatewayBackup", name, {"gatewayRef": {"name": "gw"}, **spec}))

    def apply_scheduled_backup(self, schedule: str, job: str, **spec: Any) -> str:
        """Start a Job of the schedule's CronJob and apply the GatewayBackup of its pod. Returns the backup's name."""
        wait_for(f"the CronJob {schedule}", lambda: self.get("cronjob", schedule))
        self.kubectl("create", "job", f"--from=cronjob/{schedule}", job)
        uid = self.require("job", job)["metadata"]["uid"]
        name = job_backup_name(job, uid)
        self.apply_backup(name, group=schedule, job={"name": job, "uid": uid}, **spec)
        return name

    def complete_scheduled_backup(self, schedule: str, job: str, **spec: Any) -> str:
        """`apply_scheduled_backup`, and wait until the backup is Completed."""
        name = self.apply_scheduled_backup(schedule, job, **spec)
        self.wait_phase("gwb", name, "Completed")
        return name

    def complete_backup(self, name: str, **spec: Any) -> dict[str, Any]:
        """Apply a GatewayBackup, wait until it is Completed and return its status."""
        self.apply_backup(name, **spec)
        return self.wait_phase("gwb", name, "Completed")

    def delete_with_file(self, name: str, *flags: str) -> None:
        """Delete a GatewayBackup and its file, as `kubectl gateway backup delete` does."""
        patch = {"metadata": {"finalizers": [FINALIZER]}, "spec": {"deleteFile": True}}
        # The finalizer comes first: without it the object could disappear before its file is deleted.
        self.kubectl("patch", f"gwb/{name}", "--type=merge", "-p", json.dumps(patch))
        self.kubectl("delete", f"gwb/{name}", *flags)

    def apply_restore(self, name: str, **spec: Any) -> None:
        """Apply a GatewayRestore of the gateway `gw`, unless the spec names another one."""
        self.apply(custom_resource("GatewayRestore", name, {"gatewayRef": {"name": "gw"}, **spec}))

    def apply_schedule(self, name: str, **spec: Any) -> None:
        """Apply a GatewayBackupSchedule. Without a `schedule` in the spec it is due on 1 January only."""
        spec = {"gatewayRef": {"name": "gw"}, "schedule": "0 3 1 1 *", **spec}
        self.apply(custom_resource("GatewayBackupSchedule", name, spec))

    def wait_condition(self, kind: str, name: str, condition: str, reason: str, timeout: float = 60) -> dict[str, Any]:
        """Wait until the condition has the reason for the current generation. Returns the condition."""

        def current() -> dict[str, Any] | None:
            body = self.get(kind, name) or {"metadata": {}}
            for one in (body.get("status") or {}).get("conditions") or ():
                if one["type"] == condition and one["reason"] == reason:
                    return one if one.get("observedGeneration") == body["metadata"]["generation"] else None
            return None

        result: dict[str, Any] = wait_for(f"{condition} {reason} of {kind} {name}", current, timeout)
        return result

    def wait_schedule_ready(self, name: str, reason: str, timeout: float = 60) -> dict[str, Any]:
        """Wait until the condition Ready of a schedule has the reason. Returns the condition."""
        return self.wait_condition("gwbs", name, "Ready", reason, timeout)

    def status(self, kind: str, name: str) -> dict[str, Any]:
        """The status of an object. Empty if there is no object or no status."""
        return (self.get(kind, name) or {}).get("status") or {}

    def wait_phase(self, kind: str, name: str, *phases: str, timeout: float = 60) -> dict[str, Any]:
        """Wait until the phase is one of these. Returns the status."""
        return self.wait_status(kind, name, lambda status: status.get("phase") in phases, timeout)

    def wait_status(
        self, kind: str, name: str, check: Callable[[dict[str, Any]], Any], timeout: float = 60
    ) -> dict[str, Any]:
        """Wait until `check` accepts the status, and return the status."""
        last: dict[str, Any] = {}

        def check_status() -> Any:
            nonlocal last
            last = self.status(kind, name)
            return check(last)

        try:
            wait_for(f"{kind} {name}", check_status, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}; its status is {json.dumps(last, indent=1)}") from None
        return last

    def events(self, name: str) -> list[tuple[str, str]]:
        """(type, reason) of the events about an object, oldest first."""
        events = self.items("events", fields=f"involvedObject.name={name}")
        return [(one["type"], one["reason"]) for one in sorted(events, key=lambda one: one["firstTimestamp"])]

    def wait_event(self, name: str, kind: str, reason: str) -> None:
        """Waits for an event about an object: the operator posts it after the status, so it may come later."""
        wait_for(f"the event {reason} of {name}", lambda: (kind, reason) in self.events(name))

    def event_reasons(self, name: str) -> list[str]:
        """The reasons of the events about an object, oldest first."""
        return [reason for _, reason in self.events(name)]


def condition_states(status: dict[str, Any]) -> dict[str, str]:
    """The conditions of a status as type → "True", "False" or "Unknown"."""
    return {one["type"]: one["status"] for one in status["conditions"]}


def custom_resource(kind: str, name: str, spec: Any) -> dict[str, Any]:
    """An object of the group mcpgateway.dev."""
    return {"apiVersion": "mcpgateway.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


@dataclass
class GatewayDeployment:
    """A Deployment of a gateway, its Secret, and the status of its pod. The address is that of its admin API.

    With another `kind` it is a StatefulSet, all pods of which have that address.
    """

    kube: Kube
    address: str
    key: str
    name: str = "gw"
    port: int = 8001
    port_name: str = "admin"
    ca: str | None = None
    reload: str = "Watch"
    volumes: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"name": name, "persistentVolumeClaim": {"claimName": name}} for name in ("config", "backups")
        ]
    )
    """The claims need not exist: no node starts the pod."""
    config_folder: str = "/config"
    backup_folder: str = "/backups"
    annotated: bool = True
    replicas: int = 1
    kind: str = "Deployment"
    rollout: dict[str, Any] = field(default_factory=lambda: {"strategy": {"type": "Recreate"}})
    """The fields of the workload's spec that say how its pods are replaced."""

    def create(self) -> GatewayDeployment:
        """Create the Secret and the Deployment, and make the pod ready."""
        self.apply_secret()
        self.apply_deployment()
        self.set_pod_ready()
        return self

    def apply_secret(self) -> None:
        """Apply the Secret with the admin key and, for TLS, the CA."""
        fields = {"admin-key": self.key, **({"ca.crt": self.ca} if self.ca else {})}
        meta = {"name": f"{self.name}-admin"}
        self.kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": fields})

    def apply_deployment(self) -> None:
        """Apply the Deployment. Its pod is not ready."""
        annotations = {CONFIG_RELOAD: self.reload}
        if self.annotated:
            annotations[ADMIN_KEY_SECRET] = f"{self.name}-admin"
        if self.ca:
            annotations[ADMIN_CA_SECRET] = f"{self.name}-admin"
        container = {
            "name": "admin",
            "image": "admin",
            "ports": [{"name": self.port_name, "containerPort": self.port}],
            "volumeMounts": [
                {"name": "config", "mountPath": self.config_folder},
                *({"name": one["name"], "mountPath": self.backup_folder} for one in self.volumes[1:]),
            ],
        }
        labels = {"app": self.name}
        self.kube.apply(
            {
                "apiVersion": "apps/v1",
                "kind": self.kind,
                "metadata": {"name": self.name, "annotations": annotations},
                "spec": {
                    "replicas": self.replicas,
                    **({"serviceName": self.name} if self.kind == "StatefulSet" else {}),
                    **self.rollout,
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

    def list_pods(self) -> list[dict[str, Any]]:
        return self.kube.items("pods", labels=f"app={self.name}")

    def pod_name(self) -> str:
        """Wait for a pod that is not being deleted, and return its name."""
        pod: dict[str, Any] = wait_for(
            f"a pod of {self.name}",
            lambda: next((pod for pod in self.list_pods() if "deletionTimestamp" not in pod["metadata"]), None),
            timeout=120,  # controllers retry up to 30 s after they lost the API server
        )
        return str(pod["metadata"]["name"])

    @contextmanager
    def simulated_kubelet(self, *, gateway: bool = True) -> Iterator[None]:
        """Make each new pod ready until the block ends. `gateway` is the readiness of its gateway container."""
        stop = threading.Event()

        def make_pods_ready() -> None:
            while not stop.wait(0.3):
                for pod in self.list_pods():
                    if LEFT_UNREADY in pod["metadata"].get("annotations", {}):
                        continue
                    if "podIP" not in pod["status"] and "deletionTimestamp" not in pod["metadata"]:
                        status = running_pod_status(self.address, gateway=gateway)
                        with suppress(ClusterError):
                            self.kube.patch_status("pod", pod["metadata"]["name"], status)

        thread = threading.Thread(target=make_pods_ready, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def set_pod_ready(self, *, gateway: bool = True, admin: bool = True) -> str:
        """Write the pod's status with its address and the readiness of its two containers. Returns its name."""
        name = self.pod_name()
        self.kube.patch_status("pod", name, running_pod_status(self.address, gateway=gateway, admin=admin))
        return name


def running_pod_status(address: str, *, gateway: bool = True, admin: bool = True) -> dict[str, Any]:
    """The status of a running pod at this address, with the readiness of its two containers."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    pod_ready = "True" if gateway and admin else "False"
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [
            {"type": kind, "status": pod_ready, "lastTransitionTime": now} for kind in ("Ready", "ContainersReady")
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


__all__ = [
    "QUICK_HEALTH_CHECK",
    "ClusterError",
    "GatewayDeployment",
    "Kube",
    "condition_states",
    "custom_resource",
    "random_loopback_address",
    "running_pod_status",
    "wait_for",
]
