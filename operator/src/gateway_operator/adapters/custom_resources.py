"""Requests for the operator's custom resources: read, list, create, patch and delete.

Every write names the uid or resourceVersion that it is based on. The API server answers a write on top of an older
version with a conflict, and the caller decides again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from gateway_operator.adapters.kubernetes_api import MERGE, PAGE_SIZE, KubernetesApi
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import (
    API_VERSION,
    BACKUP_KIND,
    BACKUP_PLURAL,
    FINALIZERS,
    GROUP,
    IMPORT_KIND,
    IMPORT_PLURAL,
    RESTORE_KIND,
    RESTORE_PLURAL,
    SCHEDULE_KIND,
    SCHEDULE_PLURAL,
    VERSION,
)
from gateway_operator.domain.model.resources import Json, Meta
from gateway_operator.ports import ClusterError, MissingError, Page

PLURALS: Final = {
    BACKUP_KIND: BACKUP_PLURAL,
    RESTORE_KIND: RESTORE_PLURAL,
    SCHEDULE_KIND: SCHEDULE_PLURAL,
    IMPORT_KIND: IMPORT_PLURAL,
}


class CustomResources(KubernetesApi):
    """The part of the port Cluster that works on custom resources. The port documents the methods."""

    async def why_kinds_are_not_served(self) -> str:
        """Why the API server does not serve all kinds of ours, with the remedy; empty if it serves them."""
        try:
            body = await self.request("GET", f"/apis/{GROUP}/{VERSION}")
        except MissingError:
            body = {}
        except ClusterError as error:
            text = str(error).rstrip(".")
            return f"{text}. If the API server never answers, check the NetworkPolicies between it and the operator."
        if set(PLURALS.values()) <= {resource["name"] for resource in body.get("resources", ())}:
            return ""
        return f"The API server does not serve all {GROUP} kinds. Apply the CRDs; the operator then starts."

    async def read(self, ref: Ref) -> Json | None:
        try:
            body = await self.request("GET", custom_resource_path(ref.kind, ref.namespace, ref.name))
        except MissingError:
            return None
        return body if not ref.uid or body["metadata"].get("uid") == ref.uid else None

    async def list_ours(self, kind: str, namespace: str) -> list[Json]:
        return await self.list_all(custom_resource_path(kind, namespace))

    async def page(self, kind: str, namespace: str, after: str = "") -> Page:
        """One page of a consistent list.

        A list without a resourceVersion is read from the store, and all pages have the version of the first one. If the
        continue token has expired, the API server answers with an error, and the caller starts the list from the first
        page.
        """
        query = {"limit": str(PAGE_SIZE), **({"continue": after} if after else {})}
        body, server_time = await self.get_with_time(custom_resource_path(kind, namespace), query)
        items, meta = body.get("items"), body.get("metadata") or {}
        # Retention deletes on the basis of this list, so a malformed answer must not pass as an empty list.
        if body.get("kind") != f"{kind}List" or not isinstance(items, list) or not meta.get("resourceVersion"):
            raise ClusterError(f"The Kubernetes API did not answer with a list of {kind}s.")
        return Page(items, str(meta.get("continue") or ""), server_time)

    async def create_ours(self, kind: str, namespace: str, body: Json) -> Json:
        return await self.request(
            "POST", custom_resource_path(kind, namespace), {"apiVersion": API_VERSION, "kind": kind, **body}
        )

    async def write_status(self, meta: Meta, status: Mapping[str, Any]) -> Json:
        ref = meta.ref
        body = {"metadata": {"uid": ref.uid, "resourceVersion": meta.resource_version}, "status": status}
        path = f"{custom_resource_path(ref.kind, ref.namespace, ref.name)}/status"
        return await self.request("PATCH", path, body, content_type=MERGE)

    async def set_finalizer(self, meta: Meta, present: bool) -> None:
        ours = FINALIZERS[meta.ref.kind]
        others = [one for one in meta.finalizers if one != ours]
        await self._patch_metadata(meta, {"finalizers": [*others, ours] if present else others or None})

    async def set_owners(self, meta: Meta, owners: Sequence[Json]) -> None:
        await self._patch_metadata(meta, {"ownerReferences": list(owners)})

    async def _patch_metadata(self, meta: Meta, changes: Mapping[str, Any]) -> Json:
        ref = meta.ref
        body = {"metadata": {"uid": ref.uid, "resourceVersion": meta.resource_version, **changes}}
        return await self.request(
            "PATCH", custom_resource_path(ref.kind, ref.namespace, ref.name), body, content_type=MERGE
        )

    async def delete_ours(self, meta: Meta) -> None:
        ref = meta.ref
        body = {"preconditions": {"uid": ref.uid, "resourceVersion": meta.resource_version}}
        await self.request("DELETE", custom_resource_path(ref.kind, ref.namespace, ref.name), body)

    async def delete_by_uid(self, ref: Ref) -> None:
        body = {"preconditions": {"uid": ref.uid}}
        await self.request("DELETE", custom_resource_path(ref.kind, ref.namespace, ref.name), body)


def custom_resource_path(kind: str, namespace: str, name: str = "") -> str:
    """The API path of one object, or of all objects of a kind; of all namespaces if ``namespace`` is empty."""
    root = f"/apis/{GROUP}/{VERSION}"
    scope = f"/namespaces/{quote(namespace)}" if namespace else ""
    return f"{root}{scope}/{PLURALS[kind]}{f'/{quote(name)}' if name else ''}"
