"""A schedule in memory, its CronJobs and Jobs, and an operator with injected crashes."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Mapping
from typing import Any

from gateway_operator.domain.model.names import SCHEDULE_LABEL
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.schedule.cronjob import Image
from gateway_operator.ports import ConflictError, MissingError, Ports
from gateway_operator.reconcile.schedule import ScheduleParts, reconcile_schedule
from tests.unit.gateway_operator.simulation.fake_admin_api import Admin
from tests.unit.gateway_operator.simulation.fake_cluster import Clock, Cluster
from tests.unit.gateway_operator.simulation.faults import CrashError, Faults

IMAGE = Image("operator:1", "Always", ("pull",))
log = logging.getLogger("tests")


def merged(have: Any, patch: Any) -> Any:
    """Apply a merge patch (RFC 7396)."""
    if not isinstance(patch, Mapping) or not isinstance(have, Mapping):
        return patch
    return {**have, **{key: merged(have.get(key), value) for key, value in patch.items()}}


class CronJobs:
    """In-memory CronJobs and Jobs with resource versions, and errors of the API server on demand."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.job_list: list[dict[str, Any]] = []
        self.version = 0
        self.created = 0
        self.refuses: Exception | None = None
        self.account = True

    async def read(self, namespace: str, name: str) -> Json | None:
        return copy.deepcopy(self.objects.get(name))

    async def create(self, namespace: str, body: Json) -> Json:
        name = body["metadata"]["name"]
        if self.refuses is not None:
            raise self.refuses
        if name in self.objects:
            raise ConflictError("exists")
        self.created += 1
        self.version += 1
        self.objects[name] = copy.deepcopy(dict(body))
        meta = {"uid": f"c-{self.created}", "resourceVersion": str(self.version), "generation": 1}
        self.objects[name]["metadata"] |= meta
        return self.objects[name]

    async def patch(self, namespace: str, name: str, patch: Json) -> Json:
        if self.refuses is not None:
            raise self.refuses
        self._exactly(name, patch["metadata"]["resourceVersion"])
        self.version += 1
        self.objects[name] = merged(self.objects[name], patch)
        self.objects[name]["metadata"]["resourceVersion"] = str(self.version)
        return self.objects[name]

    async def delete(self, namespace: str, name: str, uid: str, resource_version: str) -> None:
        if self.refuses is not None:
            raise self.refuses
        if name not in self.objects:
            raise MissingError("no CronJob")
        self._exactly(name, resource_version)
        del self.objects[name]

    def _exactly(self, name: str, version: str) -> None:
        if name not in self.objects or self.objects[name]["metadata"]["resourceVersion"] != version:
            raise ConflictError("newer")

    def add_job(self, cron_job: str, name: str) -> str:
        """A Job that the controller makes of a CronJob. Returns its uid."""
        uid = f"{len(self.job_list)}uid-of-{name}"
        owner = {"kind": "CronJob", "apiVersion": "batch/v1", "name": cron_job, "controller": True}
        owner["uid"] = self.objects[cron_job]["metadata"]["uid"]
        created = "2026-01-01T00:00:00Z"
        meta = {"name": name, "uid": uid, "ownerReferences": [owner], "creationTimestamp": created}
        self.job_list.append({"metadata": {**meta, "labels": {SCHEDULE_LABEL: "nightly"}}, "status": {}})
        return uid

    async def jobs(self, namespace: str, schedule: str) -> list[Json]:
        return [job for job in self.job_list if job["metadata"]["labels"][SCHEDULE_LABEL] == schedule]

    async def pods_of_job(self, namespace: str, uid: str) -> list[Json]:
        return []

    async def events_about(self, namespace: str, uid: str) -> list[Json]:
        return []

    async def has_account(self, namespace: str, name: str) -> bool:
        return self.account


class World:
    """A schedule, its CronJobs, and an operator with injected crashes."""

    def __init__(self, faults: Faults | None = None, **spec: Any) -> None:
        self.clock = Clock()
        self.cluster = Cluster(self.clock)
        self.cron_jobs = CronJobs()
        faults = faults or Faults()
        ports = Ports(faults.wrap(self.cluster, False), Admin(self.cluster, self.clock), self.clock, "o:o")
        self.parts = ScheduleParts(ports, faults.wrap(self.cron_jobs, False), IMAGE)
        self.ref = self.cluster.add("GatewayBackupSchedule", "nightly", {"schedule": "0 2 * * *", **spec})

    def run(self) -> None:
        """Reconcile until a run ends without a crash."""
        for _ in range(20):
            try:
                asyncio.run(reconcile_schedule(self.parts, self.ref, log))
            except CrashError:
                continue
            return
        raise AssertionError("it does not end")
