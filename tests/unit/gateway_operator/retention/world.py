"""A world with finished backups for tests of retention passes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from gateway_operator.domain.gateway.admission import SCHEDULES_POLICY
from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import APPROVE_DELETIONS, FINALIZER
from gateway_operator.ports import Ports
from gateway_operator.reconcile.backup.deletion import finalize_backup
from gateway_operator.reconcile.retention.controller import RetentionController
from tests.unit.gateway_operator.policies import installed_policy
from tests.unit.gateway_operator.simulation.fake_admin_api import VOLUME, backup_record
from tests.unit.gateway_operator.simulation.fake_cluster import NAMESPACE
from tests.unit.gateway_operator.simulation.faults import Faults, World, log

DAY = timedelta(days=1)


class RetentionWorld(World):
    """Simulated ports with finished backups, and retention passes over them."""

    def __init__(self, faults: Faults | None = None) -> None:
        super().__init__(faults)
        self.begun = self.clock.now()
        self.cluster.policy = installed_policy(SCHEDULES_POLICY)

    def add(self, name: str, age: timedelta, *, group: str = "nightly", phase: str = "Completed", **spec: Any) -> Ref:
        """Add a finished backup of this age, with its file."""
        meta = {key: spec.pop(key) for key in ("labels", "annotations") if key in spec}
        origin = spec.pop("origin", {"nightly": "Schedule", "safety": "Restore"}.get(group, "Manual"))
        schedule = spec.pop("schedule", group if origin == "Schedule" else "")
        ref = self.cluster.add("GatewayBackup", name, {"group": group, **spec}, **meta)
        completed, backup_id = self.clock.now() - age, self.admin.backup_id(VOLUME, ref.uid)
        status: dict[str, Any] = {
            "phase": phase,
            "completionTime": timestamps.text(completed),
            "startTime": timestamps.text(completed),
            "origin": origin,
            "schedule": schedule,
            "thresholds": {"ttl": spec["ttl"]} if "ttl" in spec else {},
        }
        if phase == "Completed":
            metadata = {"namespace": NAMESPACE, "name": name, "origin": str(origin), "schedule": str(schedule)}
            stored = backup_record(backup_id=backup_id, path=f"{group}/{name}", created=completed, metadata=metadata)
            status |= {
                "snapshotTime": timestamps.precise(completed), "backupID": backup_id, "volumeID": VOLUME,
                "path": f"{group}/{name}", "verification": {"level": "Verified"}, "sizeBytes": 1,
                "sha256": stored.stored_sha256, "contentDigest": stored.content_sha256,
            }  # fmt: skip
            self.admin.backups[backup_id] = (stored, "old")
        self.cluster.objects["GatewayBackup", name]["status"] = status
        return ref

    def schedule(self, name: str = "nightly", **spec: Any) -> None:
        """Add a schedule with this spec."""
        self.cluster.add("GatewayBackupSchedule", name, {"schedule": "@daily", **spec})

    def daily(self, number: int, **spec: Any) -> None:
        """Add one backup a day; ``d0`` is one hour old."""
        for day in range(number):
            self.add(f"d{day}", timedelta(hours=1) + day * DAY, **spec)

    def run_passes(
        self, *, controller: RetentionController | None = None, passes: int = 1, ports: Ports | None = None
    ) -> RetentionController:
        """Run passes, each followed by the delete handlers of the deleted objects."""
        controller = controller or RetentionController(ports or self.plain, [], log)

        async def run() -> None:
            for _ in range(passes):
                await controller.run_once()
                await self.finish()

        asyncio.run(run())
        return controller

    async def finish(self) -> None:
        """Run the delete handler and remove the finalizer, as kopf does."""
        for (kind, name), body in list(self.cluster.objects.items()):
            if kind == "GatewayBackup" and body["metadata"].get("deletionTimestamp"):
                assert body["metadata"]["finalizers"] == [FINALIZER]
                assert body["spec"]["deleteFile"]
                if await finalize_backup(self.plain, Ref(kind, NAMESPACE, name, body["metadata"]["uid"]), log) is None:
                    del self.cluster.objects[kind, name]

    def names(self) -> set[str]:
        """The names of the existing backups."""
        return {name for kind, name in self.cluster.objects if kind == "GatewayBackup"}

    def files(self) -> set[str]:
        """The names of the existing files."""
        return {stored.path.rpartition("/")[2] for stored, _ in self.admin.backups.values()}

    def status_of(self, name: str, kind: str = "GatewayBackup") -> dict[str, Any]:
        """The status of an object by name."""
        return dict(self.cluster.objects[kind, name].get("status") or {})

    def approve(self, name: str = "nightly") -> None:
        """Approve what the schedule's status asks for, as ``kubectl gateway retention approve`` does."""
        asked = self.status_of(name, "GatewayBackupSchedule")["retention"]["approvals"]
        text = ",".join(one["nonce"] for one in asked)
        change = {APPROVE_DELETIONS: text}
        self.edit(name, lambda body: body["metadata"].update(annotations=change), "GatewayBackupSchedule")

    def condition(self, kind: str = "RetentionApplied", name: str = "nightly") -> tuple[str, str]:
        """Status and reason of a condition of a schedule."""
        result = self.status_of(name, "GatewayBackupSchedule").get("conditions") or []
        return next((one["status"], one["reason"]) for one in result if one["type"] == kind)

    def edit(self, name: str, change: Callable[[dict[str, Any]], None], kind: str = "GatewayBackup") -> None:
        """Change an object as another client would."""
        body = self.cluster.objects[kind, name]
        change(body)
        self.cluster.version += 1
        body["metadata"]["resourceVersion"] = str(self.cluster.version)


class ActBeforeCall:
    """A port that runs an action of another client before one of its calls."""

    def __init__(self, port: Any, name: str, act: Callable[[], Any], nth: int = 1) -> None:
        self._port, self._name, self._act, self._left = port, name, act, nth

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if name != self._name:
            return method

        async def call(*arguments: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                self._act()
            return await method(*arguments)

        return call
