"""Implements the port DrillObjects over the operator's connection to the Kubernetes API."""

from __future__ import annotations

from urllib.parse import quote

from gateway_operator.adapters.kubernetes_api import KubernetesApi
from gateway_operator.domain.model.names import DRILL_LABEL
from gateway_operator.domain.model.resources import Json
from gateway_operator.ports import MissingError


class KubernetesDrillObjects:
    """The port DrillObjects; the port documents the methods."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    async def create_pod(self, namespace: str, body: Json) -> None:
        await self._api.request("POST", _pods(namespace), body)

    async def create_policy(self, namespace: str, body: Json) -> None:
        await self._api.request("POST", _policies(namespace), body)

    async def policy(self, namespace: str, name: str) -> Json | None:
        try:
            return await self._api.request("GET", f"{_policies(namespace)}/{quote(name)}")
        except MissingError:
            return None

    async def delete_pod(self, namespace: str, name: str, uid: str) -> None:
        await self._delete(f"{_pods(namespace)}/{quote(name)}", uid)

    async def delete_policy(self, namespace: str, name: str, uid: str) -> None:
        await self._delete(f"{_policies(namespace)}/{quote(name)}", uid)

    async def _delete(self, path: str, uid: str) -> None:
        try:
            await self._api.request("DELETE", path, {"preconditions": {"uid": uid}})
        except MissingError:
            return

    async def pods(self, namespace: str) -> list[Json]:
        path = _pods(namespace) if namespace else "/api/v1/pods"
        return await self._api.list_all(path, DRILL_LABEL)


def _pods(namespace: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace)}/pods"


def _policies(namespace: str) -> str:
    return f"/apis/networking.k8s.io/v1/namespaces/{quote(namespace)}/networkpolicies"
