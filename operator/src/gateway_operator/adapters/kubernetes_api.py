"""Requests to the Kubernetes API, as raw paths and plain JSON. The one module that imports the client.

The generated models cost some 60 MiB of memory for the few fields that are read here.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTResponse
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from gateway_operator.domain.model.resources import Json
from gateway_operator.ports import ClusterError, ConflictError, ForbiddenError, InvalidError, MissingError

REQUEST_TIMEOUT: Final = 30.0
MERGE: Final = "application/merge-patch+json"
PAGE: Final = 500
"""So many objects are listed at once."""
_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_TRIES: Final = 3
_KINDS: Final = {403: ForbiddenError, 404: MissingError, 409: ConflictError, 422: InvalidError}


class KubernetesApi:
    """One connection, and what goes over it. Every call may raise ClusterError."""

    def __init__(self, client: ApiClient, namespace: str = "default") -> None:
        self._client = client
        self.namespace = namespace
        """Where we are: the pod's namespace, or the kubeconfig's."""

    @classmethod
    async def connect(cls, context: str | None = None) -> Self:
        """With the pod's service account where there is one, else, or if a context is named, with the kubeconfig."""
        configuration = Configuration()
        configuration.connection_pool_maxsize = 64
        # Else each request asks two threads for a proxy and a .netrc: a third of what it costs, for what no pod has.
        # And each request and answer is held against a jar of cookies, of which the API has none.
        configuration.client_session_kwargs = {"trust_env": False, "cookie_jar": aiohttp.DummyCookieJar()}
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
        return (await self._answered(method, path, body, query, content_type))[0]

    async def answered(self, path: str, query: Mapping[str, str]) -> tuple[Json, datetime | None]:
        """What a GET gives, with the time by the API server's clock."""
        body, headers = await self._answered("GET", path, None, query, "application/json")
        return body, _date(headers)

    async def _answered(
        self, method: str, path: str, body: Any, query: Mapping[str, str] | None, content_type: str
    ) -> tuple[Json, Mapping[str, str]]:
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
    ) -> tuple[Json, Mapping[str, str]]:
        url = f"{path}?{urlencode(query)}" if query else path
        try:
            response = await self._send(method, url, body, content_type, REQUEST_TIMEOUT)
            raw = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ClusterError(f"The Kubernetes API did not answer {method} {path}: {type(error).__name__}") from error
        try:
            answer = json.loads(raw) if raw else {}
        except ValueError:
            answer = {"message": raw[:200].decode("utf-8", "replace")}
        if response.status < 400:
            return answer, response.headers
        message = str(answer.get("message") or f"HTTP {response.status}")
        raise _KINDS.get(response.status, ClusterError)(message)

    async def _send(self, method: str, url: str, body: Any, content_type: str, seconds: float) -> RESTResponse:
        """By the client's connection and with its credentials. What else it does serves its models: bodies are walked
        through, headers rewritten."""
        headers = {**self._client.default_headers, "Accept": "application/json", "Content-Type": content_type}
        await self._client.update_params_for_auth(headers, None, ["BearerToken"], url, method, body)
        address = f"{self._client.configuration.host}{url}"
        limit = aiohttp.ClientTimeout(total=seconds)
        client: Any = self._client.rest_client
        response: RESTResponse = await client.request(method, address, headers, body, _request_timeout=limit)
        return response

    async def watch(self, path: str, query: Mapping[str, str], seconds: float) -> AsyncIterator[Json]:
        """The events of a watch, for at most so many seconds. Ends earlier when the server or the line ends it."""
        asked = {**query, "watch": "true", "timeoutSeconds": str(max(1, int(seconds)))}
        try:
            response = await self._send("GET", f"{path}?{urlencode(asked)}", None, "application/json", seconds + 5)
            if response.status >= 400:
                raise _KINDS.get(response.status, ClusterError)(f"a watch of {path} was answered {response.status}")
            async for line in response.response.content:
                yield dict(json.loads(line))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ClusterError(f"The watch of {path} was cut: {type(error).__name__}") from error

    async def all_of(self, path: str, selector: str | None = None, *, cached: bool = False) -> list[Json]:
        """A whole list, page by page. ``cached``: from the server's cache, which may be out of date."""
        found: list[Json] = []
        query = {"limit": str(PAGE), **({"labelSelector": selector} if selector else {})}
        if cached:
            query["resourceVersion"] = "0"
        while True:
            page = await self.request("GET", path, query=query)
            found.extend(page.get("items") or ())
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return found
            query["continue"] = str(token)
            query.pop("resourceVersion", None)  # the token names the version of the first page


def _date(headers: Mapping[str, str]) -> datetime | None:
    try:
        return parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError):
        return None
