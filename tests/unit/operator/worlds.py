"""A whole small world in memory: objects with versions, a gateway with its volume and journal, and a clock.

It keeps the two contracts the operator leans on (optimistic locking; one request id does one thing once) and nothing
else, so that every order of crashes and lost answers can be played through in milliseconds.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway_operator.domain.actions import CallBackup, CallRestore, Note
from gateway_operator.domain.calls import Counts, Gone, Health, Journal, RestoreRecord, StoredBackup
from gateway_operator.domain.gateway import Workload
from gateway_operator.domain.objects import GatewayRef, Json, Meta, Ref
from gateway_operator.ports import AdminApiError, AdminTarget, ConflictError, MissingError, Ports
from gateway_operator.reconcile.backup import forget_backup, reconcile_backup
from gateway_operator.reconcile.gateways import Turns
from gateway_operator.reconcile.restore import reconcile_restore

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
NAMESPACE = "prod"
VOLUME = "v" * 32
log = logging.getLogger("tests")


class CrashError(BaseException):
    """The operator's process ends here."""


def _copy(thing: Any) -> Any:
    """A deep copy, three times as fast as copy.deepcopy."""
    return pickle.loads(pickle.dumps(thing))


def sha(text: str) -> str:
    """A digest."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Clock:
    """Moves only when somebody waits."""

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
    """Objects with versions, one Deployment, and its pod."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.version = 0
        self.writes = 0
        self.events: list[Note] = []
        self.restarts: list[str] = []
        self.present = True
        self.pod_ready = True
        self.swept_because: str | None = None
        self.reload = "Watch"
        self.marker: str | None = None
        self.secrets: dict[str, dict[str, str]] = {"gw-admin": {"admin-key": "k" * 40}}

    def add(self, kind: str, name: str, spec: Mapping[str, Any], **meta: Any) -> Ref:
        self.version += 1
        uid = f"{len(self.objects):08x}-{sha(kind + name)[:8]}"
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
        found = self.objects.get((ref.kind, ref.name))
        if found is None or (ref.uid and found["metadata"]["uid"] != ref.uid):
            return None
        return _copy(found)

    async def list_ours(self, kind: str, namespace: str) -> list[Json]:
        return [_copy(body) for (one, _), body in self.objects.items() if one == kind]

    async def create_ours(self, kind: str, namespace: str, body: Json) -> None:
        meta = body["metadata"]
        if (kind, meta["name"]) in self.objects:
            raise ConflictError("exists")
        extra = {"labels": meta.get("labels"), "annotations": meta.get("annotations")}
        self.add(kind, meta["name"], body["spec"], **extra)

    async def write_status(self, meta: Meta, status: Mapping[str, Any]) -> Json:
        found = self.objects.get((meta.ref.kind, meta.ref.name))
        if found is None:
            raise MissingError("gone")
        if found["metadata"]["resourceVersion"] != meta.resource_version:
            raise ConflictError("newer")
        self.version += 1
        self.writes += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        merged = {**(found.get("status") or {}), **_copy(dict(status))}
        found["status"] = {key: value for key, value in merged.items() if value is not None}
        return _copy(found)

    async def workload(self, namespace: str, ref: GatewayRef) -> Workload | None:
        if not self.present:
            return None
        template = {"metadata": {"annotations": {"mcpgateway.dev/restored": self.marker} if self.marker else {}}}
        body = {
            "metadata": {
                "uid": "w",
                "generation": 1,
                "annotations": {
                    "mcpgateway.dev/admin-key-secret": "gw-admin",
                    "mcpgateway.dev/config-reload": self.reload,
                },
            },
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "gw"}}, "template": template},
            "status": {"observedGeneration": 1, "updatedReplicas": 1, "replicas": 1},
        }
        return Workload(ref, namespace, "w", body)

    async def pods(self, workload: Workload) -> tuple[list[Json], list[Json]]:
        owner = [{"controller": True, "uid": "w"}]
        pod = {
            "metadata": {
                "name": "gw-1",
                "ownerReferences": [{"controller": True, "uid": "rs"}],
                "annotations": {"mcpgateway.dev/restored": self.marker} if self.marker else {},
            },
            "spec": {
                "containers": [{"name": "admin", "ports": [{"name": "admin", "containerPort": 8001}],
                                "volumeMounts": [{"name": "config", "mountPath": "/config"}]}],
                "volumes": [{"name": "config", "persistentVolumeClaim": {"claimName": "c"}}],
            },
            "status": {
                "phase": "Running",
                "podIP": "10.0.0.1",
                "containerStatuses": [{"name": "admin", "ready": True}],
                "conditions": [{"type": "Ready", "status": str(self.pod_ready)}],
            },
        }  # fmt: skip
        return [{"metadata": {"uid": "rs", "ownerReferences": owner}}], [pod]

    async def secret(self, namespace: str, name: str) -> Mapping[str, str] | None:
        return self.secrets.get(name)

    async def restart(self, workload: Workload, marker: str) -> None:
        if self.marker != marker:
            self.restarts.append(marker)
        self.marker = marker

    async def swept(self, namespace: str, kind: str) -> str | None:
        return self.swept_because

    async def event(self, ref: Ref, note: Note, at: datetime) -> None:
        self.events.append(note)


class Admin:
    """One gateway's admin API, its volume and its config."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self.cluster = cluster
        self.clock = clock
        self.live: str | None = "old"
        self.kept: str | None = None
        self.backups: dict[str, tuple[StoredBackup, str | None]] = {}
        self.made = 0
        self.request_ids: set[str] = set()
        self.restore_record: RestoreRecord | None = None
        self.replaced_times = 0
        self.sick_on: str | None = None
        """The content on which the gateway never becomes Ready."""
        self.failing: list[AdminApiError] = []
        self.volume = VOLUME

    def _gate(self) -> None:
        if self.failing:
            raise self.failing.pop(0)

    def _state(self) -> None:
        self.cluster.pod_ready = self.live is not None and self.live != self.sick_on

    async def health(self, target: AdminTarget) -> Health:
        self._gate()
        valid = self.live not in (None, "broken")
        digest = sha(self.live) if self.live is not None else None
        record = self.restore_record
        pending = record.request_id if record and record.state is Journal.applied else None
        return Health(
            status="healthy" if valid else "unhealthy",
            config_path="/config/config.json",
            config_valid=valid,
            config_digest=digest,
            sections_digest=digest if valid else None,
            gateway_id="g",
            volume_id=self.volume,
            pending_request=pending,
        )

    async def backup(self, target: AdminTarget, call: CallBackup) -> StoredBackup:
        self._gate()
        backup_id = self.backup_id(self.volume, call.request_id)
        if backup_id not in self.backups:
            if self.live in (None, "broken"):
                raise AdminApiError("ConfigInvalid", "broken", retryable=False)
            self.made += 1
            content = str(self.live)
            made = StoredBackup(
                backup_id=backup_id,
                path=call.path,
                created=self.clock.now(),
                gateway_id="g",
                volume_id=self.volume,
                gateway_version=None,
                content_sha256=sha(content),
                stored_sha256=sha("stored" + content),
                stored_bytes=len(content),
                level="Verified",
                counts=Counts(1, 1, 1, 1, 0),
            )
            self.backups[backup_id] = (made, content)
        return self.backups[backup_id][0]

    async def read_backup(self, target: AdminTarget, backup_id: str) -> StoredBackup | Gone:
        self._gate()
        found = self.backups.get(backup_id)
        return found[0] if found else Gone()

    async def delete_backup(self, target: AdminTarget, backup_id: str) -> bool:
        self._gate()
        return self.backups.pop(backup_id, None) is not None

    async def restore(self, target: AdminTarget, call: CallRestore) -> RestoreRecord:
        self._gate()
        self.request_ids.add(call.request_id)
        record = self.restore_record
        if record is not None and record.request_id == call.request_id:
            return record
        if record is not None and record.state is Journal.applied:
            raise AdminApiError("RestorePending", "pending", retryable=False)
        found = self.backups.get(call.backup_id or "")
        if found is None:
            raise AdminApiError("BackupNotFound", "absent", retryable=False)
        self.kept, previous = self.live, self.live
        self.live = found[1]
        self.replaced_times += 1
        self.restore_record = RestoreRecord(
            request_id=call.request_id,
            state=Journal.applied,
            previous_sha256=sha(previous) if previous is not None else None,
            restored_sha256=found[0].content_sha256,
            sections_digest=found[0].content_sha256,
            safety_kind="none" if call.safety_backup is False else "raw",
            safety_path=None,
        )
        self._state()
        return self.restore_record

    async def read_restore(self, target: AdminTarget, request_id: str) -> RestoreRecord | Gone:
        self._gate()
        record = self.restore_record
        return record if record is not None and record.request_id == request_id else Gone()

    def _end(self, request_id: str, state: Journal) -> RestoreRecord:
        record = self.restore_record
        if record is None or record.request_id != request_id:
            raise AdminApiError("RestoreNotFound", "absent", retryable=False)
        if record.state not in (Journal.applied, state):
            raise AdminApiError("RestoreEnded", "ended", retryable=False)
        self.restore_record = replace(record, state=state)
        return self.restore_record

    async def commit(self, target: AdminTarget, request_id: str) -> RestoreRecord:
        self._gate()
        return self._end(request_id, Journal.committed)

    async def rollback(self, target: AdminTarget, request_id: str) -> RestoreRecord:
        self._gate()
        record = self.restore_record
        if record is not None and record.state is Journal.applied:
            if self.live is None or sha(self.live) != record.restored_sha256:
                raise AdminApiError("ConfigChanged", "changed", retryable=False)
            self.live = self.kept
            self._state()
        return self._end(request_id, Journal.rolled_back)

    def backup_id(self, volume_id: str, request_id: str) -> str:
        return sha(volume_id + request_id)[:32]


class Faults:
    """Counts the calls to the ports, and breaks some of them.

    ``crashes``: at the N-th call the process ends, before it (odd plans) or after it. ``lost``: the N-th call is done,
    but its answer is lost, where it is a call over the network to an admin API.
    """

    def __init__(self, crash_before: set[int] | None = None, crash_after: set[int] | None = None,
                 lost: set[int] | None = None) -> None:  # fmt: skip
        self.before = crash_before or set()
        self.after = crash_after or set()
        self.lost = lost or set()
        self.calls = 0
        self.names: list[str] = []

    def wrap(self, port: Any, network: bool) -> Any:
        faults = self

        class Wrapped:
            def __getattr__(self, name: str) -> Any:
                method = getattr(port, name)
                if name in ("backup_id", "now") or not callable(method):
                    return method

                async def call(*arguments: Any) -> Any:
                    faults.calls += 1
                    number = faults.calls
                    faults.names.append(name)
                    if number in faults.before:
                        raise CrashError
                    result = await method(*arguments)
                    if number in faults.after:
                        raise CrashError
                    if network and number in faults.lost:
                        raise AdminApiError("Unreachable", "cut", retryable=True, unsure=True)
                    return result

                return call

        return Wrapped()


class World:
    """Everything together, and the loop that kopf is."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.clock = Clock()
        self.cluster = Cluster(self.clock)
        self.admin = Admin(self.cluster, self.clock)
        self.faults = faults or Faults()
        self.plain = Ports(self.cluster, self.admin, self.clock, "ops:operator")
        self.ports = Ports(self.faults.wrap(self.cluster, False), self.faults.wrap(self.admin, True), self.clock, "o:o")
        self.clock.on_sleep.append(self._others)

    async def _others(self) -> None:
        """What another worker of the operator does meanwhile: the safety backup."""
        for kind, name in list(self.cluster.objects):
            if kind == "GatewayBackup":
                uid = self.cluster.objects[(kind, name)]["metadata"]["uid"]
                await reconcile_backup(self.plain, Turns(), Ref(kind, NAMESPACE, name, uid), log)

    def run(self, ref: Ref, *, forget: bool = False, limit: int = 400) -> int:
        """Until the object wants nothing more. Gives how many times the process was started."""
        return asyncio.run(self._run(ref, forget, limit))

    async def _run(self, ref: Ref, forget: bool, limit: int) -> int:
        starts, turns = 1, Turns()
        for _ in range(limit):
            try:
                if forget:
                    wait = await forget_backup(self.ports, ref, log)
                elif ref.kind == "GatewayBackup":
                    wait = await reconcile_backup(self.ports, turns, ref, log)
                else:
                    wait = await reconcile_restore(self.ports, turns, ref, log)
            except CrashError:
                starts, turns = starts + 1, Turns()
                self.clock.advance(1)
                continue
            if wait is None:
                return starts
            self.clock.advance(wait)
        raise AssertionError(f"{ref} does not end: {self.cluster.status(ref)}")
