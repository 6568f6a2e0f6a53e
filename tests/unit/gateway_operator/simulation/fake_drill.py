"""A fake of the objects of drills, with a kubelet that starts the pod, and of the admin API inside that pod."""

from __future__ import annotations

from typing import Any

from gateway_api.contract import RestoreState
from gateway_operator.domain.model.resources import Json
from gateway_operator.ports import AdminTarget, ConflictError, ForbiddenError, InvalidError
from tests.unit.gateway_operator.simulation.fake_admin_api import Admin
from tests.unit.gateway_operator.simulation.fake_cluster import Clock, Cluster

DRILL_HOST = "10.0.0.9"


class DrillObjects:
    """The port DrillObjects. A created pod runs at once; its gateway is Ready when the restore in it is committed."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self.cluster = cluster
        self.policies: dict[str, dict[str, Any]] = {}
        self.admin = Admin(Cluster(clock), clock)
        self.admin.volume = "d" * 32
        self.created = 0
        self.without_policy = 0
        """Pods that were created while they had no policy."""
        self.forbidden = False
        self.rejected = ""
        self.isolation_exit_code = 0
        self.isolation_message = ""
        self.gateway_exits: int | None = None
        self.ready = True
        self.deletions_fail = False

    async def create_policy(self, namespace: str, body: Json) -> None:
        if self.forbidden:
            raise ForbiddenError('networkpolicies is forbidden: User "o" cannot create resource "networkpolicies"')
        self._add(self.policies, body)

    async def create_pod(self, namespace: str, body: Json) -> None:
        if self.rejected:
            raise InvalidError(self.rejected)
        if body["metadata"]["name"] not in self.policies:
            self.without_policy += 1
        self._add(self.cluster.drill_pods, body)
        self.created += 1
        self.settle()

    def _add(self, store: dict[str, dict[str, Any]], body: Json) -> None:
        name = str(body["metadata"]["name"])
        if name in store:
            raise ConflictError("exists")
        self.cluster.version += 1
        store[name] = {**body, "metadata": {**body["metadata"], "uid": f"object-{self.cluster.version}"}}

    async def policy(self, namespace: str, name: str) -> Json | None:
        self.settle()
        return self.policies.get(name)

    async def delete_pod(self, namespace: str, name: str, uid: str) -> None:
        self._delete(self.cluster.drill_pods, name, uid)

    async def delete_policy(self, namespace: str, name: str, uid: str) -> None:
        self._delete(self.policies, name, uid)

    def _delete(self, store: dict[str, dict[str, Any]], name: str, uid: str) -> None:
        if self.deletions_fail:
            raise ForbiddenError("cannot delete")
        if name in store and store[name]["metadata"]["uid"] != uid:
            raise ConflictError("another uid")
        store.pop(name, None)

    async def pods(self, namespace: str) -> list[Json]:
        return list(self.cluster.drill_pods.values())

    def settle(self) -> None:
        """Write the statuses that the kubelet would write."""
        record = self.admin.restore_record
        committed = record is not None and record.state is RestoreState.committed
        for pod in self.cluster.drill_pods.values():
            ready = committed and self.ready and self.gateway_exits is None
            isolation = {"exitCode": self.isolation_exit_code, "message": self.isolation_message}
            gateway: dict[str, Any] = {"name": "gateway", "state": {"waiting": {"reason": "PodInitializing"}}}
            if committed and self.gateway_exits is not None:
                gateway["state"] = {"terminated": {"exitCode": self.gateway_exits, "message": "Traceback"}}
            pod["status"] = {
                "phase": "Running" if committed else "Pending",
                "podIP": DRILL_HOST,
                "initContainerStatuses": [
                    {"name": "drill-isolation", "state": {"terminated": isolation}},
                    {"name": "admin", "ready": True, "state": {"running": {}}},
                ],
                "containerStatuses": [gateway],
                "conditions": [{"type": "Ready", "status": str(ready)}],
            }


class AdminRouter:
    """Both admin APIs: the address of the call decides which one answers, as on a network."""

    def __init__(self, live: Admin, objects: DrillObjects) -> None:
        self._live = live
        self._objects = objects

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._live, name)
        if not callable(method) or name == "backup_id":
            return method

        async def call(target: AdminTarget, *arguments: Any, **options: Any) -> Any:
            try:
                return await getattr(self._admin(target), name)(target, *arguments, **options)
            finally:
                self._objects.settle()

        return call

    def _admin(self, target: AdminTarget) -> Admin:
        return self._objects.admin if target.endpoint.host == DRILL_HOST else self._live

    async def copy_backup(self, source: AdminTarget, target: AdminTarget, backup_id: str, seconds: float) -> None:
        record, content = self._admin(source).read_content(source, backup_id)
        self._admin(target).backups.setdefault(backup_id, (record, content))
