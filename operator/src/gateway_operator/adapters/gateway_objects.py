"""Requests for the objects of a gateway: its workload, ReplicaSets, pods and Secrets, and the Jobs of its schedules."""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Final
from urllib.parse import quote

from gateway_operator.adapters.kubernetes_api import MERGE, KubernetesApi
from gateway_operator.domain.gateway.admission import InstalledPolicy
from gateway_operator.domain.gateway.credentials import secret_text
from gateway_operator.domain.gateway.grants import OPERATOR_CHART
from gateway_operator.domain.gateway.workload import Workload
from gateway_operator.domain.model.identifiers import GatewayRef
from gateway_operator.domain.model.names import RESTORED as RESTORED_ANNOTATION
from gateway_operator.domain.model.resources import Json
from gateway_operator.ports import ClusterError, ForbiddenError, MissingError, Secret

_WORKLOAD_PLURALS: Final = {"Deployment": "deployments", "StatefulSet": "statefulsets"}


class GatewayObjects(KubernetesApi):
    """The part of the port Cluster that works on a gateway's objects. The port documents the methods."""

    async def workload(self, namespace: str, ref: GatewayRef) -> Workload | None:
        try:
            body = await self.request("GET", _workload_path(namespace, ref))
        except MissingError:
            return None
        return Workload(ref, namespace, str(body["metadata"]["uid"]), body)

    async def pods(self, workload: Workload, *, cached: bool = False) -> tuple[list[Json], list[Json]]:

        if workload.ref.kind == "StatefulSet":
            pod = await self.pod(workload.namespace, workload.ordinal_pod)
            return [], [] if pod is None else [pod]
        selector = workload.label_selector
        if selector is None:
            return [], []
        namespace = quote(workload.namespace)
        # A cached list sets resourceVersion=0. Without it, a list waits up to 0.1 s until the API server knows that its
        # cache is up to date.
        replica_sets, pods = await asyncio.gather(
            self.list_all(f"/apis/apps/v1/namespaces/{namespace}/replicasets", selector, cached=cached),
            self.list_all(f"/api/v1/namespaces/{namespace}/pods", selector, cached=cached),
        )
        return replica_sets, pods

    async def pod(self, namespace: str, name: str) -> Json | None:
        # A GET without a resourceVersion is never answered from the API server's cache.
        return await self._read(f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(name)}")

    async def volume_claim(self, namespace: str, name: str) -> Json | None:
        return await self._read(f"/api/v1/namespaces/{quote(namespace)}/persistentvolumeclaims/{quote(name)}")

    async def persistent_volume(self, name: str) -> Json | None:
        return await self._read(f"/api/v1/persistentvolumes/{quote(name)}")

    async def secret(self, namespace: str, name: str) -> Secret | None:
        try:
            body = await self.request("GET", f"/api/v1/namespaces/{quote(namespace)}/secrets/{quote(name)}")
        except MissingError:
            return None
        data = body.get("data") or {}
        fields = {key: text for key, value in data.items() if (text := _decode(value)) is not None}
        metadata = body["metadata"]
        return Secret(metadata.get("labels") or {}, fields, str(metadata["resourceVersion"]))

    async def job(self, namespace: str, name: str) -> Json | None:
        return await self._read(f"/apis/batch/v1/namespaces/{quote(namespace)}/jobs/{quote(name)}")

    async def cron_job(self, namespace: str, name: str) -> Json | None:
        return await self._read(f"/apis/batch/v1/namespaces/{quote(namespace)}/cronjobs/{quote(name)}")

    async def admission_policy(self, name: str) -> InstalledPolicy:
        try:
            policy = await self._read_admission("validatingadmissionpolicies", name)
            return InstalledPolicy(name, policy, await self._read_admission("validatingadmissionpolicybindings", name))
        except ForbiddenError as error:
            return InstalledPolicy(name, error=f"{error}. {OPERATOR_CHART}")
        except ClusterError as error:
            return InstalledPolicy(name, error=str(error), retryable=True)

    async def _read_admission(self, plural: str, name: str) -> Json | None:
        return await self._read(f"/apis/admissionregistration.k8s.io/v1/{plural}/{quote(name)}")

    async def _read(self, path: str) -> Json | None:
        """The object at a path; None if it does not exist."""
        try:
            return await self.request("GET", path)
        except MissingError:
            return None

    async def restart(self, workload: Workload, marker: str) -> None:
        # Uid and version are preconditions. A workload that was deleted and created again must not be restarted. A late
        # request of an operator that was frozen must not replace the marker of a later restart.
        patch = {
            "metadata": {"uid": workload.uid, "resourceVersion": workload.resource_version},
            "spec": {"template": {"metadata": {"annotations": {RESTORED_ANNOTATION: marker}}}},
        }
        await self.request("PATCH", _workload_path(workload.namespace, workload.ref), patch, content_type=MERGE)


def _workload_path(namespace: str, ref: GatewayRef) -> str:
    return f"/apis/apps/v1/namespaces/{quote(namespace)}/{_WORKLOAD_PLURALS[ref.kind]}/{quote(ref.name)}"


def _decode(value: str) -> str | None:
    """The text of a base64 value without surrounding white space; None if it is not base64."""
    try:
        return secret_text(base64.b64decode(value))
    except binascii.Error:
        return None
