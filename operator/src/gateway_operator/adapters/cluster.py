"""The Kubernetes API. The one module that imports the client: raw requests and plain JSON, no generated models.

The generated models cost some 60 MiB of memory for the few fields that are read here.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from gateway_operator.domain import times
from gateway_operator.domain.actions import Note
from gateway_operator.domain.gateway import Workload
from gateway_operator.domain.names import (
    API_VERSION,
    BACKUP_KIND,
    BACKUP_PLURAL,
    DELETE_FILE,
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
from gateway_operator.domain.names import RESTORED as RESTORED_ANNOTATION
from gateway_operator.domain.objects import GatewayRef, Json, Meta, Ref
from gateway_operator.ports import ClusterError, ConflictError, ForbiddenError, InvalidError, MissingError, Page, Secret

REQUEST_TIMEOUT: Final = 30.0
COMPONENT: Final = "gateway-backup-operator"
PLURALS: Final = {
    BACKUP_KIND: BACKUP_PLURAL,
    RESTORE_KIND: RESTORE_PLURAL,
    SCHEDULE_KIND: SCHEDULE_PLURAL,
    IMPORT_KIND: IMPORT_PLURAL,
}
_WORKLOADS: Final = {"Deployment": "deployments", "StatefulSet": "statefulsets"}
_MERGE: Final = "application/merge-patch+json"
_PAGE: Final = 500
_EVENT_LIMIT: Final = 1000
_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_TRIES: Final = 3
_KINDS: Final = {403: ForbiddenError, 404: MissingError, 409: ConflictError, 422: InvalidError}


class KubernetesCluster:
    """The port Cluster."""

    def __init__(self, client: ApiClient, namespace: str = "default") -> None:
        self._client = client
        self.namespace = namespace
        """Where we are: the pod's namespace, or the kubeconfig's."""

    @classmethod
    async def connect(cls, context: str | None = None) -> KubernetesCluster:
        """With the pod's service account where there is one, else, or if a context is named, with the kubeconfig."""
        configuration = Configuration()
        configuration.connection_pool_maxsize = 64
        # Else each request asks two threads for a proxy and a .netrc: a third of what it costs, for what no pod has.
        configuration.client_session_kwargs = {"trust_env": False}
        if _SERVICE_ACCOUNT.exists() and context is None:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            return cls(ApiClient(configuration), _SERVICE_ACCOUNT.with_name("namespace").read_text().strip())
        try:
            # The client looks at KUBECONFIG only once, when it is imported.
            where = os.environ.get("KUBECONFIG") or None
            loader = await load_kube_config(  # type: ignore[no-untyped-call]
                config_file=where, context=context, client_configuration=configuration
            )
        except (
            ConfigException,
            OSError,
            TypeError,
            ValueError,
        ) as error:  # of an empty file the client makes a TypeError
            raise ClusterError(f"There is neither a service account nor a usable kubeconfig: {error}") from error
        return cls(ApiClient(configuration), str(loader.current_context["context"].get("namespace") or "default"))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Json:
        """One request, its answer as JSON. Reads are tried three times over a broken connection or a busy server."""
        return (await self._tried(method, path, body, query, content_type))[0]

    async def _tried(
        self, method: str, path: str, body: Any, query: Mapping[str, str] | None, content_type: str
    ) -> tuple[Json, datetime | None]:
        tries = _TRIES if method == "GET" else 1
        for turn in range(1, tries + 1):
            try:
                return await self._once(method, path, body, query, content_type)
            except (ConflictError, ForbiddenError, InvalidError, MissingError):
                raise
            except ClusterError:
                if turn == tries:
                    raise
                await asyncio.sleep(0.2 * 2**turn)
        raise AssertionError("unreachable")

    async def _once(
        self, method: str, path: str, body: Any, query: Mapping[str, str] | None, content_type: str
    ) -> tuple[Json, datetime | None]:
        url = f"{path}?{urlencode(query)}" if query else path
        headers = {"Accept": "application/json", "Content-Type": content_type}
        try:
            verb, address, sent, _, _ = await self._client.param_serialize(
                method, url, header_params=headers, auth_settings=["BearerToken"]
            )
            response = await self._client.call_api(verb, address, sent, body, _request_timeout=REQUEST_TIMEOUT)
            raw = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ClusterError(f"The Kubernetes API did not answer {method} {path}: {type(error).__name__}") from error
        try:
            answer = json.loads(raw) if raw else {}
        except ValueError:
            answer = {"message": raw[:200].decode("utf-8", "replace")}
        if response.status < 400:
            return dict(answer), _date(response.headers)
        message = str(answer.get("message") or f"HTTP {response.status}")
        raise _KINDS.get(response.status, ClusterError)(message)

    async def watch(self, path: str, query: Mapping[str, str], seconds: float) -> AsyncIterator[Json]:
        """The events of a watch, for at most so many seconds. Ends earlier when the server or the line ends it."""
        asked = {**query, "watch": "true", "timeoutSeconds": str(max(1, int(seconds)))}
        headers = {"Accept": "application/json"}
        try:
            verb, address, sent, _, _ = await self._client.param_serialize(
                "GET", f"{path}?{urlencode(asked)}", header_params=headers, auth_settings=["BearerToken"]
            )
            response = await self._client.call_api(verb, address, sent, None, _request_timeout=seconds + 5)
            if response.status >= 400:
                raise _KINDS.get(response.status, ClusterError)(f"a watch of {path} was answered {response.status}")
            async for line in response.response.content:
                yield dict(json.loads(line))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ClusterError(f"The watch of {path} was cut: {type(error).__name__}") from error

    async def read(self, ref: Ref) -> Json | None:
        """One object of ours; None if it is gone or has another uid."""
        try:
            body = await self.request("GET", ours(ref.kind, ref.namespace, ref.name))
        except MissingError:
            return None
        return body if not ref.uid or body["metadata"].get("uid") == ref.uid else None

    async def list_ours(self, kind: str, namespace: str) -> list[Json]:
        """All objects of one of our kinds in a namespace; in all, if it is empty."""
        return await self.all_of(ours(kind, namespace))

    async def all_of(self, path: str, selector: str | None = None) -> list[Json]:
        """A whole list, page by page."""
        found: list[Json] = []
        query = {"limit": str(_PAGE), **({"labelSelector": selector} if selector else {})}
        while True:
            page = await self.request("GET", path, query=query)
            found.extend(page.get("items") or ())
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return found
            query["continue"] = str(token)

    async def page(self, kind: str, namespace: str, after: str = "") -> Page:
        """A page of all objects of one of our kinds, fresh and of one instant; of all namespaces if it is empty.

        Without a resourceVersion the API server asks its store, and all pages are of the first one's instant; when that
        is too old it says so, and the list is to be begun anew.
        """
        query = {"limit": str(_PAGE), **({"continue": after} if after else {})}
        body, served = await self._tried("GET", ours(kind, namespace), None, query, "application/json")
        items, meta = body.get("items"), body.get("metadata") or {}
        if body.get("kind") != f"{kind}List" or not isinstance(items, list) or not meta.get("resourceVersion"):
            raise ClusterError(f"The Kubernetes API answered a list of {kind}s with something else.")
        return Page(items, str(meta.get("continue") or ""), served)

    async def create_ours(self, kind: str, namespace: str, body: Json) -> None:
        """Create an object of ours. Conflict if the name is taken."""
        await self.request("POST", ours(kind, namespace), {"apiVersion": API_VERSION, "kind": kind, **body})

    async def write_status(self, meta: Meta, status: Mapping[str, Any]) -> Json:
        """Merge into the status of exactly the version that was read. Conflict if there is a newer one."""
        ref = meta.ref
        body = {"metadata": {"uid": ref.uid, "resourceVersion": meta.resource_version}, "status": status}
        path = f"{ours(ref.kind, ref.namespace, ref.name)}/status"
        return await self.request("PATCH", path, body, content_type=_MERGE)

    async def put_label(self, meta: Meta, key: str, value: str) -> Json:
        """Label an object of ours."""
        return await self._mark(meta, {"labels": {key: value}})

    async def mark_file_for_deletion(self, meta: Meta, why: str) -> Json:
        """Say that a GatewayBackup's file goes with it, and why."""
        finalizers = [*(one for one in meta.finalizers if one != FINALIZER), FINALIZER]
        return await self._mark(meta, {"annotations": {DELETE_FILE: why}, "finalizers": finalizers})

    async def unmark_file(self, meta: Meta) -> Json:
        """Take that mark back. The finalizer stays: the operator takes off what is not needed."""
        return await self._mark(meta, {"annotations": {DELETE_FILE: None}})

    async def _mark(self, meta: Meta, changes: Mapping[str, Any]) -> Json:
        ref = meta.ref
        body = {"metadata": {"uid": ref.uid, "resourceVersion": meta.resource_version, **changes}}
        return await self.request("PATCH", ours(ref.kind, ref.namespace, ref.name), body, content_type=_MERGE)

    async def delete_ours(self, meta: Meta) -> None:
        """Delete an object of ours, if it is exactly the version that was read."""
        ref = meta.ref
        body = {"preconditions": {"uid": ref.uid, "resourceVersion": meta.resource_version}}
        await self.request("DELETE", ours(ref.kind, ref.namespace, ref.name), body)

    async def workload(self, namespace: str, ref: GatewayRef) -> Workload | None:
        """The workload of a gateway."""
        path = f"/apis/apps/v1/namespaces/{quote(namespace)}/{_WORKLOADS[ref.kind]}/{quote(ref.name)}"
        try:
            body = await self.request("GET", path)
        except MissingError:
            return None
        return Workload(ref, namespace, str(body["metadata"]["uid"]), body)

    async def pods(self, workload: Workload) -> tuple[list[Json], list[Json]]:
        """ReplicaSets (of a Deployment) and pods that its selector selects."""
        selector = workload.label_selector
        if selector is None:
            return [], []
        namespace = quote(workload.namespace)
        pods = self.all_of(f"/api/v1/namespaces/{namespace}/pods", selector)
        if workload.ref.kind != "Deployment":
            return [], await pods
        # Both at once: on a busy server a list waits up to 0.1 s until the server knows that its cache is not behind.
        sets = self.all_of(f"/apis/apps/v1/namespaces/{namespace}/replicasets", selector)
        found = await asyncio.gather(sets, pods)
        return found[0], found[1]

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
        plural = _WORKLOADS[workload.ref.kind]
        path = f"/apis/apps/v1/namespaces/{quote(workload.namespace)}/{plural}/{quote(workload.ref.name)}"
        patch = {
            "metadata": {"uid": workload.uid},
            "spec": {"template": {"metadata": {"annotations": {RESTORED_ANNOTATION: marker}}}},
        }
        await self.request("PATCH", path, patch, content_type=_MERGE)

    async def swept(self, namespace: str, kind: str) -> str | None:
        """Why objects of a kind are being swept away with their namespace or their definition; None if they are not.

        A read that is not allowed counts as a yes: whoever cannot know must not delete.
        """
        definition = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{PLURALS[kind]}.{GROUP}"
        for path, said in (
            (f"/api/v1/namespaces/{quote(namespace)}", "its namespace is being deleted"),
            (definition, "the definition of GatewayBackup is being deleted"),
        ):
            try:
                body = await self.request("GET", path)
            except MissingError:
                return said
            except ForbiddenError as error:
                return f"it cannot be seen whether {said} ({error})"
            if body["metadata"].get("deletionTimestamp"):
                return said
        return None

    async def event(self, ref: Ref, note: Note, at: datetime) -> None:
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
            "firstTimestamp": times.text(at),
            "lastTimestamp": times.text(at),
            "count": 1,
        }
        try:
            await self.request("POST", f"/api/v1/namespaces/{quote(ref.namespace)}/events", body)
        except ClusterError:
            return


def ours(kind: str, namespace: str, name: str = "") -> str:
    """The path of our objects."""
    root = f"/apis/{GROUP}/{VERSION}"
    space = f"/namespaces/{quote(namespace)}" if namespace else ""
    return f"{root}{space}/{PLURALS[kind]}{f'/{quote(name)}' if name else ''}"


def _date(headers: Mapping[str, str] | None) -> datetime | None:
    try:
        return parsedate_to_datetime((headers or {}).get("Date", ""))
    except (TypeError, ValueError):
        return None


def _text(value: str) -> str | None:
    try:
        return base64.b64decode(value).decode().strip()
    except (binascii.Error, UnicodeDecodeError):
        return None
