"""Implements the port CronJobs over the operator's connection to the Kubernetes API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from gateway_operator.adapters.kubernetes_api import MERGE, KubernetesApi
from gateway_operator.domain.model.names import SCHEDULE_LABEL
from gateway_operator.domain.model.resources import Json
from gateway_operator.ports import MissingError

_JOB_UID_LABEL: Final = "batch.kubernetes.io/controller-uid"


class KubernetesCronJobs:
    """The port CronJobs; the port documents the methods."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    async def read(self, namespace: str, name: str) -> Json | None:
        try:
            return await self._api.request("GET", _path(namespace, name))
        except MissingError:
            return None

    async def create(self, namespace: str, body: Json) -> Json:
        return await self._api.request("POST", _path(namespace), body)

    async def patch(self, namespace: str, name: str, patch: Json) -> Json:
        return await self._api.request("PATCH", _path(namespace, name), patch, content_type=MERGE)

    async def delete(self, namespace: str, name: str, uid: str, resource_version: str) -> None:
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        body = {"preconditions": preconditions, "propagationPolicy": "Background"}
        await self._api.request("DELETE", _path(namespace, name), body)

    async def jobs(self, namespace: str, schedule: str) -> Sequence[Json]:
        path = f"/apis/batch/v1/namespaces/{quote(namespace)}/jobs"
        return await self._api.list_all(path, f"{SCHEDULE_LABEL}={schedule}")

    async def pods_of_job(self, namespace: str, uid: str) -> Sequence[Json]:
        return await self._api.list_all(f"/api/v1/namespaces/{quote(namespace)}/pods", f"{_JOB_UID_LABEL}={uid}")

    async def events_about(self, namespace: str, uid: str) -> Sequence[Json]:
        path = f"/api/v1/namespaces/{quote(namespace)}/events"
        answer = await self._api.request("GET", path, query={"fieldSelector": f"involvedObject.uid={uid}"})
        return answer.get("items") or ()

    async def has_account(self, namespace: str, name: str) -> bool:
        try:
            await self._api.request("GET", f"/api/v1/namespaces/{quote(namespace)}/serviceaccounts/{quote(name)}")
        except MissingError:
            return False
        return True


def _path(namespace: str, name: str = "") -> str:
    return f"/apis/batch/v1/namespaces/{quote(namespace)}/cronjobs{f'/{quote(name)}' if name else ''}"
