"""Sends requests to the Kubernetes API with raw paths and plain JSON. No other module imports the Kubernetes client.

The client's generated models are not used: they cost about 60 MiB of memory, and the operator reads few fields.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
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
OPERATOR_AGENT: Final = "gateway-backup-operator"
CLI_AGENT: Final = "kubectl-gateway"
MERGE: Final = "application/merge-patch+json"
PAGE_SIZE: Final = 500
"""Number of objects in one page of a list."""
_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_READ_ATTEMPTS: Final = 3
_ERRORS_BY_STATUS: Final = {
    400: InvalidError,  # for example an unknown field with strict validation
    403: ForbiddenError,
    404: MissingError,
    409: ConflictError,
    422: InvalidError,
}


def new_client(configuration: Configuration, user_agent: str) -> ApiClient:
    """A client with a user agent. Up to the first slash, it is the field manager of each write."""
    client = ApiClient(configuration)
    client.user_agent = user_agent
    return client


def _allow() -> None:
    """Allow every write: jobs and the command line take part in no leader election."""


class KubernetesApi:
    """One connection to the Kubernetes API, and its requests. Every call may raise ClusterError."""

    def __init__(
        self, client: ApiClient, namespace: str = "default", connector: aiohttp.BaseConnector | None = None
    ) -> None:
        self._client = client
        self._connector = connector
        self.namespace = namespace
        """The namespace of the operator's pod, or the one of the kubeconfig's context."""
        self.before_write: Callable[[], None] = _allow
        """Called immediately before a write is sent. NotLeaderError, a ClusterError: the write is not sent."""

    @classmethod
    async def connect(cls, user_agent: str = OPERATOR_AGENT) -> Self:
        """Connect as the operator: with KUBECONFIG if it is set, the pod's service account, or the user's kubeconfig.

        Raises ClusterError if there is none of them.
        """
        configuration = Configuration()
        configuration.connection_pool_maxsize = 64
        # trust_env makes each request look for a proxy and a .netrc file in two threads, a third of a request's cost; a
        # pod has neither. The Kubernetes API sets no cookies, so the cookie jar is a dummy.
        configuration.client_session_kwargs = {"trust_env": False, "cookie_jar": aiohttp.DummyCookieJar()}
        # The client itself reads KUBECONFIG only once, at import.
        config_file = os.environ.get("KUBECONFIG") or None
        if config_file is None and _SERVICE_ACCOUNT.exists():
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            return cls(
                new_client(configuration, user_agent), _SERVICE_ACCOUNT.with_name("namespace").read_text().strip()
            )
        try:
            loader = await load_kube_config(  # type: ignore[no-untyped-call]
                config_file=config_file, client_configuration=configuration
            )
        except (ConfigException, OSError, TypeError, ValueError) as error:  # TypeError: the file is empty
            raise ClusterError(f"There is neither a service account nor a usable kubeconfig: {error}") from error
        namespace = loader.current_context["context"].get("namespace") or "default"
        return cls(new_client(configuration, user_agent), str(namespace))

    @classmethod
    def through_socket(cls, socket: Path, namespace: str) -> Self:
        """Connect through a proxy that listens on a Unix socket and adds the credentials itself."""
        configuration = Configuration()
        configuration.host = "http://localhost"
        connector = aiohttp.UnixConnector(path=str(socket))
        configuration.client_session_kwargs = {
            "trust_env": False,
            "cookie_jar": aiohttp.DummyCookieJar(),
            "connector": connector,
        }
        return cls(new_client(configuration, CLI_AGENT), namespace, connector)

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]
        if self._connector is not None:  # the library closes only connectors that it has made
            await self._connector.close()

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Json:
        """Send one request and return the answer's JSON.

        A GET is tried three times if the connection breaks or the server is busy. A write is sent once, because its
        outcome is then unknown: the caller reads and decides again.
        """
        return (await self._request_with_retries(method, path, body, query, content_type))[0]

    async def get_with_time(self, path: str, query: Mapping[str, str]) -> tuple[Json, datetime | None]:
        """The answer to a GET, and the time by the API server's clock; None if the answer has no valid date."""
        body, headers = await self._request_with_retries("GET", path, None, query, "application/json")
        return body, _date(headers)

    async def _request_with_retries(
        self, method: str, path: str, body: Any, query: Mapping[str, str] | None, content_type: str
    ) -> tuple[Json, Mapping[str, str]]:
        attempts = _READ_ATTEMPTS if method == "GET" else 1
        for attempt in range(1, attempts + 1):
            try:
                return await self._request_once(method, path, body, query, content_type)
            except (ConflictError, ForbiddenError, InvalidError, MissingError):
                raise
            except ClusterError:
                if attempt == attempts:
                    raise
                await asyncio.sleep(0.2 * 2**attempt)
        raise AssertionError("The last attempt returns or raises.")

    async def _request_once(
        self, method: str, path: str, body: Any, query: Mapping[str, str] | None, content_type: str
    ) -> tuple[Json, Mapping[str, str]]:
        url = f"{path}?{urlencode(query)}" if query else path
        if method != "GET":
            self.before_write()
        try:
            response = await self._send(method, url, body, content_type, REQUEST_TIMEOUT)
            raw = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ClusterError(f"The Kubernetes API did not answer {method} {path}: {type(error).__name__}") from error
        try:
            answer = json.loads(raw) if raw else {}
        except ValueError:
            answer = {"message": raw[:200].decode("utf-8", "replace").strip()}
        if response.status < 400:
            return answer, response.headers
        message = str(answer.get("message") or f"HTTP {response.status}")
        raise _ERRORS_BY_STATUS.get(response.status, ClusterError)(message)

    async def _send(self, method: str, url: str, body: Any, content_type: str, seconds: float) -> RESTResponse:
        """Send a request with the client's connection and credentials.

        The client's own call method is not used: it walks through each body and rewrites headers for its models.
        """
        headers = {**self._client.default_headers, "Accept": "application/json", "Content-Type": content_type}
        await self._client.update_params_for_auth(headers, None, ["BearerToken"], url, method, body)
        address = f"{self._client.configuration.host}{url}"
        limit = aiohttp.ClientTimeout(total=seconds)
        client: Any = self._client.rest_client
        response: RESTResponse = await client.request(method, address, headers, body, _request_timeout=limit)
        return response

    async def watch(self, path: str, query: Mapping[str, str], seconds: float) -> AsyncIterator[Json]:
        """The events of a watch, for at most ``seconds``. Ends earlier if the server ends it.

        Raises ClusterError if the connection breaks.
        """
        watch_query = {**query, "watch": "true", "timeoutSeconds": str(max(1, int(seconds)))}
        try:
            # The client's timeout is longer than the server's, which ends the watch without an error.
            response = await self._send(
                "GET", f"{path}?{urlencode(watch_query)}", None, "application/json", seconds + 5
            )
            if response.status >= 400:
                error_class = _ERRORS_BY_STATUS.get(response.status, ClusterError)
                raise error_class(f"The watch of {path} was answered with HTTP {response.status}")
            async for line in response.response.content:
                yield dict(json.loads(line))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ClusterError(f"The watch of {path} broke: {type(error).__name__}") from error

    async def list_all(self, path: str, selector: str | None = None, *, cached: bool = False) -> list[Json]:
        """A complete list, read page by page. ``cached``: from the API server's cache, which may be out of date."""
        items: list[Json] = []
        query = {"limit": str(PAGE_SIZE), **({"labelSelector": selector} if selector else {})}
        if cached:
            query["resourceVersion"] = "0"
        while True:
            page = await self.request("GET", path, query=query)
            items.extend(page.get("items") or ())
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return items
            query["continue"] = str(token)
            query.pop("resourceVersion", None)  # the token names the version of the first page


def _date(headers: Mapping[str, str]) -> datetime | None:
    try:
        return parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError):
        return None
