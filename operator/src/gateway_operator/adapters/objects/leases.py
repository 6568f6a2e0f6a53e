"""Implements the port Leases: one Lease of the group coordination.k8s.io, with raw requests.

The client's own leader election is not used. It does not limit the time of a request: a leader that is cut off from the
API server would lead until its connection breaks. It also measures with the wall clock, which may be set back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from gateway_operator.adapters.kubernetes_api import MERGE, KubernetesApi
from gateway_operator.domain.leader_election import Lease
from gateway_operator.ports import MissingError


class KubernetesLeases:
    """The port Leases; the port documents the methods. ``api`` must not be guarded by the leadership itself."""

    def __init__(self, api: KubernetesApi, name: str) -> None:
        self._api = api
        self._name = name
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{quote(api.namespace)}/leases"

    async def read(self) -> Lease | None:
        try:
            return Lease.parse(await self._api.request("GET", f"{self._path}/{quote(self._name)}"))
        except MissingError:
            return None

    async def create(self, spec: Mapping[str, Any]) -> Lease:
        body = {"metadata": {"name": self._name}, "spec": spec}
        return Lease.parse(await self._api.request("POST", self._path, body))

    async def write(self, lease: Lease, spec: Mapping[str, Any]) -> Lease:
        body = {"metadata": {"resourceVersion": lease.resource_version}, "spec": spec}
        path = f"{self._path}/{quote(self._name)}"
        return Lease.parse(await self._api.request("PATCH", path, body, content_type=MERGE))
