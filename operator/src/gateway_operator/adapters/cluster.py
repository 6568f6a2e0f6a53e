"""What the operator asks of a cluster: the port Cluster, in requests to the Kubernetes API."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from gateway_operator.adapters.kubernetes_api import MERGE, PAGE, KubernetesApi
from gateway_operator.domain.gateway.workload import Workload
from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.actions import KubernetesEvent
from gateway_operator.domain.model.identifiers import GatewayRef, Ref
from gateway_operator.domain.model.names import (
    API_VERSION,
    BACKUP_KIND,
    BACKUP_PLURAL,
    FINALIZER,
    GROUP,
    IMPORT_KIND,
    IMPORT_PLURAL,
    RESTORE_KIND,
    RESTORE_PLURAL,
    SCHEDULE_KIND,
    SCHEDULE_PLURAL,
    VERSION,
)
from gateway_operator.domain.model.names import RESTORED as RESTORED_ANNOTATION
from gateway_operator.domain.model.resources import Json, Meta
from gateway_operator.ports import ClusterError, MissingError, Page, Secret

COMPONENT: Final = "gateway-backup-operator"
PLURALS: Final = {
    BACKUP_KIND: BACKUP_PLURAL,
    RESTORE_KIND: RESTORE_PLURAL,
    SCHEDULE_KIND: SCHEDULE_PLURAL,
    IMPORT_KIND: IMPORT_PLURAL,
}
_WORKLOADS: Final = {"Deployment": "deployments", "StatefulSet": "statefulsets"}
_EVENT_LIMIT: Final = 1000


class KubernetesCluster(KubernetesApi):
    """The port Cluster."""

    async def read(self, ref: Ref) -> Json | None:
        """One object of ours; None if it is gone or has another uid."""
        try:
            body = await self.request("GET", custom_resource_path(ref.kind, ref.namespace, ref.name))
        except MissingError:
            return None
        return body if not ref.uid or body["metadata"].get("uid") == ref.uid else None

    async def list_ours(self, kind: str, namespace: str) -> list[Json]:
        """All objects of one of our kinds in a namespace; in all, if it is empty."""
        return await self.all_of(custom_resource_path(kind, namespace))

    async def page(self, kind: str, namespace: str, after: str = "") -> Page:
        """A page of all objects of one of our kinds, fresh and of one instant; of all namespaces if it is empty.

        Without a resourceVersion the API server asks its store, and all pages are of the first one's instant; when that
        is too old it says so, and the list is to be begun anew.
        """
        query = {"limit": str(PAGE), **({"continue": after} if after else {})}
        body, served = await self.answered(custom_resource_path(kind, namespace), query)
        items, meta = body.get("items"), body.get("metadata") or {}
        if body.get("kind") != f"{kind}List" or not isinstance(items, list) or not meta.get("resourceVersion"):
            raise ClusterError(f"The Kubernetes API answered a list of {kind}s with something else.")
        return Page(items, str(meta.get("continue") or ""), served)

    async def create_ours(self, kind: str, namespace: str, body: Json) -> None:
        """Create an object of ours. Conflict if the name is taken."""
        await self.request(
            "POST", custom_resource_path(kind, namespace), {"apiVersion": API_VERSION, "kind": kind, **body}
        )

    async def write_status(self, meta: Meta, status: Mapping[str, Any]) -> Json:
        """Merge into the status of exactly the version that was read. Conflict if there is a newer one."""
        ref = meta.ref
        body = {"metadata": {"uid": ref.uid, "resourceVersion": meta.resource_version}, "status": status}
        path = f"{custom_resource_path(ref.kind, ref.namespace, ref.name)}/status"
        return await self.request("PATCH", path, body, content_type=MERGE)

    async def put_label(self, meta: Meta, key: str, value: str) -> Json:
        """Label an object of ours."""
        return await self._patch_metadata(meta, {"labels": {key: value}})

    async def set_finalizer(self, meta: Meta, present: bool) -> None:
        """Add our finalizer or remove it."""
        others = [one for one in meta.finalizers if one != FINALIZER]
        await self._patch_metadata(meta, {"finalizers": [*others, FINALIZER] if present else others or None})

    async def _patch_metadata(self, meta: Meta, changes: Mapping[str, Any]) -> Json:
        ref = meta.ref
        body = {"metadata": {"uid": ref.uid, "resourceVersion": meta.resource_version, **changes}}
        return await self.request(
            "PATCH", custom_resource_path(ref.kind, ref.namespace, ref.name), body, content_type=MERGE
        )

    async def delete_ours(self, meta: Meta) -> None:
        """Delete an object of ours, if it is exactly the version that was read."""
        ref = meta.ref
        body = {"preconditions": {"uid": ref.uid, "resourceVersion": meta.resource_version}}
        await self.request("DELETE", custom_resource_path(ref.kind, ref.namespace, ref.name), body)

    async def delete_by_uid(self, ref: Ref) -> None:
        """Delete an object of ours whatever its version, if it still has this uid."""
        body = {"preconditions": {"uid": ref.uid}}
        await self.request("DELETE", custom_resource_path(ref.kind, ref.namespace, ref.name), body)

    async def workload(self, namespace: str, ref: GatewayRef) -> Workload | None:
        """The workload of a gateway."""
        try:
            body = await self.request("GET", _workload(namespace, ref))
        except MissingError:
            return None
        return Workload(ref, namespace, str(body["metadata"]["uid"]), body)

    async def pods(self, workload: Workload, *, cached: bool = False) -> tuple[list[Json], list[Json]]:
        """The ReplicaSets of a Deployment and the pods it selects; of a StatefulSet, the pod of the ordinal."""
        if workload.ref.kind == "StatefulSet":
            pod = await self.pod(workload.namespace, workload.ordinal_pod)
            return [], [] if pod is None else [pod]
        selector = workload.label_selector
        if selector is None:
            return [], []
        namespace = quote(workload.namespace)
        # Without resourceVersion=0, a list waits up to 0.1 s until the server knows that its cache is up to date.
        found = await asyncio.gather(
            self.all_of(f"/apis/apps/v1/namespaces/{namespace}/replicasets", selector, cached=cached),
            self.all_of(f"/api/v1/namespaces/{namespace}/pods", selector, cached=cached),
        )
        return found[0], found[1]

    async def pod(self, namespace: str, name: str) -> Json | None:
        """A pod, read from the store: a GET without a resourceVersion never comes from the cache."""
        try:
            return await self.request("GET", f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(name)}")
        except MissingError:
            return None

    async def secret(self, namespace: str, name: str) -> Secret | None:
        """A Secret."""
        try:
            body = await self.request("GET", f"/api/v1/namespaces/{quote(namespace)}/secrets/{quote(name)}")
        except MissingError:
            return None
        data = body.get("data") or {}
        fields = {key: text for key, value in data.items() if (text := _text(value)) is not None}
        return Secret(body["metadata"].get("labels") or {}, fields)

    async def restart(self, workload: Workload, marker: str) -> None:
        """Mark the pod template, which makes the controller replace the pods. The same marker twice does so once."""
        patch = {
            "metadata": {"uid": workload.uid},
            "spec": {"template": {"metadata": {"annotations": {RESTORED_ANNOTATION: marker}}}},
        }
        await self.request("PATCH", _workload(workload.namespace, workload.ref), patch, content_type=MERGE)

    async def event(self, ref: Ref, note: KubernetesEvent, at: datetime) -> None:
        """Tell people. Never fails: an event that is lost is no reason to stop.

        Its name is made of what it says, so that a step repeated after a crash tells it once.
        """
        said = hashlib.sha256(f"{ref.uid}\n{note.reason}\n{note.message}".encode()).hexdigest()[:16]
        body = {
            "metadata": {"name": f"{ref.name[:200]}.{said}", "namespace": ref.namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": ref.kind,
                "namespace": ref.namespace,
                "name": ref.name,
                "uid": ref.uid,
            },
            "type": "Warning" if note.warning else "Normal",
            "reason": note.reason,
            "message": note.message[:_EVENT_LIMIT],
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": COMPONENT,
            "firstTimestamp": timestamps.text(at),
            "lastTimestamp": timestamps.text(at),
            "count": 1,
        }
        try:
            await self.request("POST", f"/api/v1/namespaces/{quote(ref.namespace)}/events", body)
        except ClusterError:
            return


def custom_resource_path(kind: str, namespace: str, name: str = "") -> str:
    """The path of our objects."""
    root = f"/apis/{GROUP}/{VERSION}"
    space = f"/namespaces/{quote(namespace)}" if namespace else ""
    return f"{root}{space}/{PLURALS[kind]}{f'/{quote(name)}' if name else ''}"


def _workload(namespace: str, ref: GatewayRef) -> str:
    return f"/apis/apps/v1/namespaces/{quote(namespace)}/{_WORKLOADS[ref.kind]}/{quote(ref.name)}"


def _text(value: str) -> str | None:
    try:
        return base64.b64decode(value).decode().strip()
    except (binascii.Error, UnicodeDecodeError):
        return None
