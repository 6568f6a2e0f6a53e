"""Fakes of the clock and the Kubernetes API in memory: objects with versions, one Deployment and its pod."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from gateway_operator.domain.gateway.admission import InstalledPolicy
from gateway_operator.domain.gateway.workload import Workload
from gateway_operator.domain.model.actions import KubernetesEvent
from gateway_operator.domain.model.identifiers import GatewayRef, Ref
from gateway_operator.domain.model.names import FINALIZERS
from gateway_operator.domain.model.resources import Json, Meta
from gateway_operator.ports import ClusterError, ConflictError, ForbiddenError, MissingError, Page, Secret

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
NAMESPACE = "prod"
GATEWAY = GatewayRef("Deployment", "gw")
"""The gateway of all objects that a test creates without another one."""
WRONG_KEY = "w" * 40
"""A key that no admin API accepts."""
VOLUMES = ("config", "backups")
"""The volumes of the pod, which are also the names of their claims and PersistentVolumes."""
CA_BUNDLE = "-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----"
T = TypeVar("T")


def _copy(thing: T) -> T:
    """A deep copy, three times as fast as copy.deepcopy."""
    copied: T = pickle.loads(pickle.dumps(thing))
    return copied


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _merged(old: Any, new: Any) -> Any:
    """Apply the JSON merge patch ``new`` to ``old``."""
    if not isinstance(new, dict):
        return new
    base = old if isinstance(old, dict) else {}
    both = {**base, **{key: _merged(base.get(key), value) for key, value in new.items()}}
    return {key: value for key, value in both.items() if value is not None}


@dataclass
class Clock:
    """A clock that advances only in ``sleep`` and ``advance``."""

    time: datetime = START
    on_sleep: list[Callable[[], Any]] = field(default_factory=list)

    def now(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        for call in self.on_sleep:
            await call()


class Cluster:
    """The port Cluster with optimistic locking, one Deployment and its pod."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.version = 0
        self.writes = 0
        self.events: list[KubernetesEvent] = []
        self.restarts: list[str] = []
        self.present = True
        self.pod_ready = True
        self.pod_name = "gw-1"
        self.stale_pod: str | None = None
        self.reload = "Watch"
        self.marker: str | None = None
        self.listing_ends_early = False
        self.server_time: datetime | None = None
        self.secrets = {"gw-admin": Secret({}, {"admin-key": "k" * 40, "ca.crt": CA_BUNDLE}, "1")}
        self.forbidden_secrets: set[str] = set()
        self.tls = False
        self.workload_annotations: dict[str, str] = {}
        self.policy: InstalledPolicy | None = None
        self.pod_spec: dict[str, Any] = {
            "containers": [
                {"name": "gateway", "image": "gateway:1"},
                {"name": "admin", "image": "admin:1", "ports": [{"name": "admin", "containerPort": 8001}]},
            ]
        }
        self.drill_pods: dict[str, dict[str, Any]] = {}
        self.reclaim_policy = "Retain"
        self.volumes_forbidden = False

    def add(self, kind: str, name: str, spec: Mapping[str, Any], **meta: Any) -> Ref:
        self.version += 1
        uid = f"{self.version:08x}-{sha(kind + name)[:8]}"
        created = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        self.objects[(kind, name)] = {
            "metadata": {
                "namespace": NAMESPACE,
                "name": name,
                "uid": uid,
                "generation": 1,
                "creationTimestamp": created,
                "resourceVersion": str(self.version),
                **meta,
            },
            "spec": {"gatewayRef": {"name": "gw"}, **spec},
        }
        return Ref(kind, NAMESPACE, name, uid)

    def status(self, ref: Ref) -> dict[str, Any]:
        return dict(self.objects[(ref.kind, ref.name)].get("status") or {})

    async def read(self, ref: Ref) -> Json | None:
        existing = self.objects.get((ref.kind, ref.name))
        if existing is None or (ref.uid and existing["metadata"]["uid"] != ref.uid):
            return None
        return _copy(existing)

    async def list_ours(self, kind: str, namespace: str) -> list[Json]:
        return [_copy(body) for (one, _), body in self.objects.items() if one == kind]

    async def page(self, kind: str, namespace: str, after: str = "") -> Page:
        """A page of three objects. ``listing_ends_early``: every page after the first is an error."""
        begin = int(after or 0)
        if begin and self.listing_ends_early:
            raise ClusterError("410: the list is too old")
        existing = [_copy(body) for (one, _), body in self.objects.items() if one == kind]
        more = str(begin + 3) if begin + 3 < len(existing) else ""
        return Page(existing[begin : begin + 3], more, self.server_time or self.clock.now())

    async def create_ours(self, kind: str, namespace: str, body: Json) -> Json:
        meta = body["metadata"]
        if (kind, meta["name"]) in self.objects:
            raise ConflictError("exists")
        extra = {"labels": meta.get("labels"), "annotations": meta.get("annotations")}
        self.add(kind, meta["name"], body["spec"], **extra)
        return _copy(self.objects[(kind, meta["name"])])

    async def write_status(self, meta: Meta, status: Mapping[str, Any]) -> Json:
        existing = self.objects.get((meta.ref.kind, meta.ref.name))
        if existing is None:
            raise MissingError("gone")
        if existing["metadata"]["resourceVersion"] != meta.resource_version:
            raise ConflictError("newer")
        self.version += 1
        self.writes += 1
        existing["metadata"]["resourceVersion"] = str(self.version)
        existing["status"] = _merged(existing.get("status") or {}, _copy(dict(status)))
        return _copy(existing)

    def _exactly(self, meta: Meta) -> dict[str, Any]:
        existing = self.objects.get((meta.ref.kind, meta.ref.name))
        if existing is None or existing["metadata"]["uid"] != meta.ref.uid:
            raise MissingError("gone")
        if existing["metadata"]["resourceVersion"] != meta.resource_version:
            raise ConflictError("newer")
        self.version += 1
        return existing

    async def set_finalizer(self, meta: Meta, present: bool) -> None:
        existing = self._exactly(meta)
        existing["metadata"]["finalizers"] = [FINALIZERS[meta.ref.kind]] if present else []
        existing["metadata"]["resourceVersion"] = str(self.version)
        if not present and existing["metadata"].get("deletionTimestamp"):
            del self.objects[(meta.ref.kind, meta.ref.name)]

    async def set_owners(self, meta: Meta, owners: Sequence[Json]) -> None:
        existing = self._exactly(meta)
        existing["metadata"] |= {"ownerReferences": list(owners), "resourceVersion": str(self.version)}

    async def delete_ours(self, meta: Meta) -> None:
        self._delete(self._exactly(meta), meta.ref)

    async def delete_by_uid(self, ref: Ref) -> None:
        existing = self.objects.get((ref.kind, ref.name))
        if existing is None:
            raise MissingError("gone")
        if existing["metadata"]["uid"] != ref.uid:
            raise ConflictError("another uid")
        self.version += 1
        self._delete(existing, ref)

    def _delete(self, existing: dict[str, Any], ref: Ref) -> None:
        if existing["metadata"].get("finalizers"):
            existing["metadata"]["deletionTimestamp"] = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
            existing["metadata"]["resourceVersion"] = str(self.version)
        else:
            del self.objects[(ref.kind, ref.name)]

    async def workload(self, namespace: str, ref: GatewayRef) -> Workload | None:
        if not self.present:
            return None
        template = {
            "metadata": {"annotations": {"mcpgateway.dev/restored": self.marker} if self.marker else {}},
            "spec": self.pod_spec,
        }
        body = {
            "metadata": {
                "uid": "w",
                "resourceVersion": f"with {self.marker}",
                "generation": 1,
                "annotations": {
                    "mcpgateway.dev/admin-key-secret": "gw-admin",
                    "mcpgateway.dev/config-reload": self.reload,
                    **({"mcpgateway.dev/admin-ca-secret": "gw-admin"} if self.tls else {}),
                    **self.workload_annotations,
                },
            },
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "gw"}}, "template": template},
            "status": {
                "observedGeneration": 1,
                "updatedReplicas": 1,
                "replicas": 1,
                "readyReplicas": int(self.pod_ready),
            },
        }
        return Workload(ref, namespace, "w", body)

    async def pods(self, workload: Workload, *, cached: bool = False) -> tuple[list[Json], list[Json]]:
        """``stale_pod``: the name of a replaced pod that a cached list still contains."""
        name = self.stale_pod if cached and self.stale_pod else self.pod_name
        owner = [{"controller": True, "uid": "w"}]
        pod = {
            "metadata": {
                "name": name,
                "uid": f"uid of {name}",
                "labels": {"app": "gw"},
                "ownerReferences": [{"controller": True, "uid": "rs", "name": "gw-rs"}],
                "annotations": {"mcpgateway.dev/restored": self.marker} if self.marker else {},
            },
            "spec": {
                "containers": [{"name": "admin", "ports": [{"name": "admin", "containerPort": 8001}],
                                "volumeMounts": [{"name": "config", "mountPath": "/config"},
                                                 {"name": "backups", "mountPath": "/backups"}]}],
                "volumes": [{"name": one, "persistentVolumeClaim": {"claimName": one}} for one in VOLUMES],
            },
            "status": {
                "phase": "Running",
                "podIP": "10.0.0.1",
                "containerStatuses": [{"name": "admin", "ready": True}],
                "conditions": [{"type": "Ready", "status": str(self.pod_ready)}],
            },
        }  # fmt: skip
        return [{"metadata": {"name": "gw-rs", "uid": "rs", "ownerReferences": owner}}], [pod]

    async def pod(self, namespace: str, name: str) -> Json | None:
        if name in self.drill_pods:
            return _copy(self.drill_pods[name])
        workload = await self.workload(namespace, GATEWAY)
        pods = [] if workload is None else (await self.pods(workload))[1]
        return next((body for body in pods if body["metadata"]["name"] == name), None)

    async def secret(self, namespace: str, name: str) -> Secret | None:
        if name in self.forbidden_secrets:
            raise ForbiddenError(f'secrets "{name}" is forbidden')
        return self.secrets.get(name)

    async def job(self, namespace: str, name: str) -> Json | None:
        return await self.read(Ref("Job", namespace, name, ""))

    async def cron_job(self, namespace: str, name: str) -> Json | None:
        return await self.read(Ref("CronJob", namespace, name, ""))

    async def volume_claim(self, namespace: str, name: str) -> Json | None:
        return {"spec": {"volumeName": name}} if name in VOLUMES else None

    async def persistent_volume(self, name: str) -> Json | None:
        if self.volumes_forbidden:
            raise ForbiddenError(f'persistentvolumes "{name}" is forbidden')
        return {"spec": {"persistentVolumeReclaimPolicy": self.reclaim_policy}} if name in VOLUMES else None

    async def admission_policy(self, name: str) -> InstalledPolicy:
        return self.policy if self.policy is not None else InstalledPolicy(name)

    def annotate(self, ref: Ref, key: str, value: str) -> None:
        """Set an annotation, as a user does."""
        self.version += 1
        meta = self.objects[(ref.kind, ref.name)]["metadata"]
        meta["annotations"] = {**(meta.get("annotations") or {}), key: value}
        meta["resourceVersion"] = str(self.version)

    async def restart(self, workload: Workload, marker: str) -> None:
        if workload.resource_version != f"with {self.marker}":
            raise ConflictError("newer")
        if self.marker != marker:
            self.restarts.append(marker)
        self.marker = marker

    async def event(self, ref: Ref, note: KubernetesEvent, at: datetime) -> None:
        self.events.append(note)
