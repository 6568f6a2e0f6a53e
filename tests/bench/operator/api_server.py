"""A minimal client of the API server with aiohttp and JSON. The bench and the client baseline use it."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple

import aiohttp
import yaml

from tests.cluster import Cluster

BACKUPS = "/apis/mcpgateway.dev/v1alpha1/namespaces/{}/gatewaybackups"
MERGE = "application/merge-patch+json"
_TRIES = 30
_COUNTED = re.compile(r"^apiserver_request_total\{([^}]*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Call(NamedTuple):
    """A kind of request in the API server's metric `apiserver_request_total`."""

    verb: str
    resource: str
    subresource: str


class ApiServer:
    """A client with one token; an async context manager."""

    def __init__(self, server: str, authority: str, token: str) -> None:
        self._server = server
        self._trust = ssl.create_default_context(cadata=authority)
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def of(cls, cluster: Cluster) -> ApiServer:
        """A client with the permissions of a cluster-admin."""
        return cls(cluster.server, (cluster.paths.pki / "ca.crt").read_text(), cluster.state.tokens["admin"])

    @classmethod
    def from_kubeconfig(cls, text: str) -> ApiServer:
        """A client for the first cluster and the first user of a kubeconfig."""
        import base64

        config = yaml.safe_load(text)
        cluster = config["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        return cls(cluster["server"], authority, config["users"][0]["user"]["token"])

    async def __aenter__(self) -> ApiServer:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._trust)
        self._session = aiohttp.ClientSession(self._server, connector=connector, headers=self._headers, trust_env=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Send one request and return the JSON body; RuntimeError with the server's message if it fails.

        A 429 is retried every second: the API server returns it for some seconds after a CRD was created.
        """
        assert self._session is not None
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type}
        for left in reversed(range(_TRIES)):
            async with self._session.request(method, path, data=data, headers=headers, params=query) as response:
                raw = await response.read()
                if response.status < 400:
                    answer: dict[str, Any] = json.loads(raw)
                    return answer
                if response.status != 429 or not left:
                    raise RuntimeError(f"{method} {path}: {response.status} {raw[:500].decode(errors='replace')}")
            await asyncio.sleep(1)
        raise AssertionError("unreachable")

    async def lines(self, path: str, version: str) -> AsyncIterator[bytes]:
        """A watch that yields each event as unparsed bytes, so that the caller parses only the events it needs."""
        assert self._session is not None
        query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "3600"}
        timeout = aiohttp.ClientTimeout(total=None, sock_read=None)
        async with self._session.get(path, params=query, timeout=timeout) as response:
            response.raise_for_status()
            rest = b""
            async for chunk in response.content.iter_any():
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield line

    async def version_of(self, path: str) -> str:
        """The resourceVersion of a list, as the start of a watch."""
        return str((await self.call("GET", path, query={"limit": "1"}))["metadata"]["resourceVersion"])

    async def counted(self) -> Counter[Call]:
        """Number of requests that the server has answered since its start, without open watches."""
        assert self._session is not None
        async with self._session.get("/metrics") as response:
            text = await response.text()
        counts: Counter[Call] = Counter()
        for labels, value in _COUNTED.findall(text):
            label = dict(_LABEL.findall(labels))
            counts[Call(label["verb"], label["resource"], label["subresource"])] += int(float(value))
        return counts


WRITES = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE"})
READS = frozenset({"GET", "LIST"})
_WRITTEN = frozenset({"gatewaybackups", "gatewayrestores", "gatewaybackupschedules", "events"})
_READ = frozenset({"gatewaybackups", "deployments", "statefulsets", "replicasets", "pods", "secrets"})


def writes(before: Counter[Call], after: Counter[Call], created: int) -> tuple[int, dict[str, int]]:
    """Number of writes of backups and events between two counts, without ``created`` ones, and the kinds of calls."""
    kinds = {
        " ".join(part for part in call if part): count
        for call, count in (after - before).items()
        if call.verb in WRITES and call.resource in _WRITTEN
    }
    return sum(kinds.values()) - created, kinds


def reads(before: Counter[Call], after: Counter[Call]) -> int:
    """Reads of the resources that a backup needs, between two counts. Kubernetes' controllers cause a few of them."""
    kinds = (after - before).items()
    return sum(count for call, count in kinds if call.verb in READS and call.resource in _READ)
