"""A client of the API server with a persistent connection, for tests that poll.

`kubectl get` starts a process that needs 60 ms of CPU time, so polling with it would keep a core busy.
"""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from tests.cluster.paths import ClusterError

_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_SECONDS = 60
_NOT_FOUND = 404
_CREATED = 201


@dataclass(frozen=True)
class Resource:
    """The path of a kind's objects in the API, and whether they are namespaced."""

    root: str
    plural: str
    namespaced: bool

    def path(self, namespace: str, name: str = "") -> str:
        """The path of one object, or of the list without `name`."""
        parts = [
            self.root,
            *(("namespaces", namespace) if self.namespaced else ()),
            self.plural,
            *((name,) if name else ()),
        ]
        return "/".join(parts)


class Rest:
    """A client with the permissions of a cluster-admin."""

    def __init__(self, server: str, authority: Path, token: str) -> None:
        self._server = server
        self._authority = authority
        self._token = token
        self._resources: dict[str, Resource] = {}
        self._discovery = threading.Lock()

    def close(self) -> None:
        """Close all connections to the API server."""
        if "_client" in self.__dict__:
            self._client.close()

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """One object; None if it does not exist."""
        answer = self._send("GET", self._resource(kind).path(namespace, name))
        return None if answer.status_code == _NOT_FOUND else _body(answer)

    def items(self, kind: str, namespace: str, *, labels: str = "", fields: str = "") -> list[dict[str, Any]]:
        """The objects of a kind. Each gets apiVersion and kind, which the API server omits in lists."""
        selectors = {"labelSelector": labels, "fieldSelector": fields}
        found = _body(self._send("GET", self._resource(kind).path(namespace), params=selectors))
        head = {"apiVersion": found["apiVersion"], "kind": found["kind"].removesuffix("List")}
        return [{**head, **item} for item in found["items"]]

    def create(self, body: dict[str, Any], namespace: str, manager: str = "tests") -> bool:
        """Create an object; False if the API server refuses it for any reason."""
        path = self._resource(f"{body['kind']}.{body['apiVersion']}").path(namespace)
        params = {"fieldValidation": "Strict", "fieldManager": manager}
        return self._send("POST", path, params=params, json=body).status_code == _CREATED

    def patch_status(self, kind: str, namespace: str, name: str, status: Any) -> None:
        """Change the status of an object with a merge patch."""
        path = f"{self._resource(kind).path(namespace, name)}/status"
        headers = {"Content-Type": "application/merge-patch+json"}
        _body(self._send("PATCH", path, json={"status": status}, headers=headers))

    def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object if it exists; does not wait for its finalizers."""
        answer = self._send("DELETE", self._resource(kind).path(namespace, name))
        if answer.status_code != _NOT_FOUND:
            _body(answer)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send any request and return the answer, also a refusal. Headers in the options replace those of the admin."""
        return self._send(method, path, **options)

    @cached_property
    def _client(self) -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self._authority))
        headers = {"Authorization": f"Bearer {self._token}"}
        return httpx.Client(base_url=self._server, headers=headers, verify=context, timeout=_SECONDS, trust_env=False)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        for attempt in (1, 2):
            try:
                return self._client.request(method, path, **options)
            except httpx.TransportError as error:
                # A restart of the API server leaves closed connections in the pool. Only a GET is safe to retry.
                if attempt == 2 or method != "GET":
                    raise ClusterError(f"{method} {path}: {error!r}") from None
        raise AssertionError

    def _resource(self, name: str) -> Resource:
        """The resource with this plural, singular, kind, short name or `Kind.group/version`."""
        with self._discovery:
            if name.lower() not in self._resources:
                self._resources = self._discovered()
            try:
                return self._resources[name.lower()]
            except KeyError:
                raise ClusterError(f"the API server has no resource {name}") from None

    def _discovered(self) -> dict[str, Resource]:
        found: dict[str, Resource] = {}
        for root in ("/api", "/apis"):
            listed = _body(self._send("GET", root, headers={"Accept": _DISCOVERY}))
            for group in listed["items"]:
                for version in group["versions"]:
                    of = "/".join(part for part in (group["metadata"].get("name"), version["version"]) if part)
                    for one in version["resources"]:
                        resource = Resource(f"{root}/{of}", one["resource"], one["scope"] == "Namespaced")
                        kind = one["responseKind"]["kind"]
                        found[f"{kind}.{of}".lower()] = resource
                        for name in (one["resource"], one["singularResource"], kind, *one.get("shortNames", ())):
                            found.setdefault(name.lower(), resource)
        return found


def _body(answer: httpx.Response) -> dict[str, Any]:
    if answer.is_error:
        raise ClusterError(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}")
    found: dict[str, Any] = answer.json()
    return found
