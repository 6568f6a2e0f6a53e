"""Sends requests to the gateways' admin APIs over HTTP, with one session for all gateways.

Answers are parsed into the models of ``gateway_api.contract``. Each error becomes an AdminApiError that says whether a
repeated call may succeed and whether the outcome of the call is unknown.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError

from gateway_api import contract
from gateway_operator.adapters.admin_errors import error_from_response
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.ports import AdminApiError, AdminTarget

CONNECT_TIMEOUT: Final = 3.0
SHORT_TIMEOUT: Final = 10.0
LONG_TIMEOUT: Final = 120.0
"""Seconds for one call that reads or writes files. After it the call is repeated with the same request id."""
_MAX_IN_FLIGHT: Final = 32
"""Maximum number of concurrent calls to all admin APIs."""
_MAX_BODY_BYTES: Final = 8 * 1024 * 1024
_MAX_CACHED: Final = 256

M = TypeVar("M", bound=BaseModel)
Body = Mapping[str, Any] | bytes | AsyncIterator[bytes] | None
"""The body of a request: JSON, bytes, or a stream that can be sent once."""


class AdminConnection:
    """Requests over aiohttp.

    ``before_call`` is called immediately before each request. If it raises NotLeaderError, the request is not sent.
    """

    def __init__(self, *, before_call: Callable[[], None] = lambda: None) -> None:
        self._before_call = before_call
        self._in_flight = asyncio.Semaphore(_MAX_IN_FLIGHT)
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[str | None, ssl.SSLContext] = {}
        self._accepted_keys: dict[tuple[str, ...], str] = {}

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _call(
        self,
        target: AdminTarget,
        method: str,
        path: str,
        model: type[M],
        body: Body = None,
        limit: float = SHORT_TIMEOUT,
    ) -> M:
        async with self._in_flight:
            status, headers, raw = await self._try_keys(target, method, path, body, limit)
        return parse_answer(target, model, status, headers, raw)

    async def _try_keys(
        self,
        target: AdminTarget,
        method: str,
        path: str,
        body: Body,
        limit: float,
        etag: str = "",
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send the request with each key until one is accepted. A request that is answered with 401 has no effect.

        The key that was accepted last comes first, because the admin API delays the answers to wrong keys.
        """
        accepted = self._accepted_keys.get(target.keys)
        for key in sorted(target.keys, key=lambda one: one != accepted):
            answer = await self._exchange(target, key, method, path, body, limit, etag)
            if answer[0] != 401:
                if len(target.keys) > 1:
                    self._remember_key(target.keys, key)
                break
        return answer

    def _remember_key(self, keys: tuple[str, ...], key: str) -> None:
        if len(self._accepted_keys) >= _MAX_CACHED:
            self._accepted_keys.clear()
        self._accepted_keys[keys] = key

    async def _exchange(
        self,
        target: AdminTarget,
        key: str,
        method: str,
        path: str,
        body: Body,
        limit: float,
        etag: str,
    ) -> tuple[int, Mapping[str, str], bytes]:
        with _as_admin_errors(target, method, path, limit):
            async with self._request(target, key, method, path, body, limit, etag) as response:
                return response.status, response.headers, await _read_body(response)

    @asynccontextmanager
    async def _request(
        self, target: AdminTarget, key: str, method: str, path: str, body: Body, limit: float, etag: str = ""
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        endpoint = target.endpoint
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        url = f"{'https' if endpoint.tls else 'http'}://{host}:{endpoint.port}{path}"
        # After the wait for a free place in flight, which may be longer than the leadership.
        self._before_call()
        content: dict[str, Any] = {"json": body} if body is None or isinstance(body, Mapping) else {"data": body}
        async with self.session().request(
            method,
            url,
            **content,
            headers={"Authorization": f"Bearer {key}", **({"If-None-Match": etag} if etag else {})},
            ssl=self._context(target) if endpoint.tls else True,
            server_hostname=endpoint.server_name,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=limit, sock_connect=CONNECT_TIMEOUT),
        ) as response:
            yield response

    async def _read(self, target: AdminTarget, path: str, limit: float) -> bytes:
        """The body of a GET as bytes, whatever it contains."""
        status, headers, raw = await self._try_keys(target, "GET", path, None, limit)
        if status >= 400:
            raise error_from_response(status, headers, raw)
        return raw

    @asynccontextmanager
    async def _download(self, target: AdminTarget, path: str, limit: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body of a GET as a stream of any size. The key that was accepted last is used."""
        accepted = self._accepted_keys.get(target.keys, target.keys[0])
        with _as_admin_errors(target, "GET", path, limit):
            async with self._request(target, accepted, "GET", path, None, limit) as response:
                if response.status >= 400:
                    raise error_from_response(response.status, response.headers, await _read_body(response))
                yield response.content.iter_any()

    def session(self) -> aiohttp.ClientSession:
        """The session of all requests. It is opened when it is first needed, in the running event loop."""
        if self._session is None:
            # Another pod may get the address of a deleted one, so idle connections are closed soon.
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=5, force_close=False)
            self._session = aiohttp.ClientSession(
                connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    def _context(self, target: AdminTarget) -> ssl.SSLContext:
        """The TLS context that trusts only the gateway's CA, or the system's CAs if there is none.

        It is cached, because creating one takes milliseconds.
        """
        cached = self._contexts.get(target.ca)
        if cached is not None:
            return cached
        try:
            context = ssl.create_default_context(cadata=target.ca)
        except (ssl.SSLError, ValueError, TypeError):
            detail = "A certificate in the annotated CA Secret, key ca.crt, is damaged."
            raise AdminApiError(Reason.CertificateMissing, detail, retryable=True) from None
        if len(self._contexts) >= _MAX_CACHED:
            self._contexts.clear()
        self._contexts[target.ca] = context
        return context


@contextmanager
def _as_admin_errors(target: AdminTarget, method: str, path: str, limit: float) -> Iterator[None]:
    """Convert the errors of one exchange to AdminApiError."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError:
        detail = f"{describe(target)} did not accept a connection within {CONNECT_TIMEOUT:.0f} s."
        raise AdminApiError(Reason.Unreachable, detail, retryable=True) from None
    except TimeoutError:
        # The request was sent: it may have been executed, or may still be running.
        detail = f"{describe(target)} did not answer {method} {path} within {limit:.0f} s."
        raise AdminApiError(Reason.CallTimedOut, detail, retryable=True, outcome_unknown=True) from None
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
        detail = f"The certificate of {describe(target)} is not trusted: {_tls_error_text(error)}."
        raise AdminApiError(Reason.CertificateNotTrusted, detail, retryable=True) from None
    except aiohttp.ClientConnectorError as error:
        detail = f"{describe(target)} refused the connection: {error.os_error.strerror or error.os_error}."
        raise AdminApiError(Reason.Unreachable, detail, retryable=True) from None
    except (aiohttp.ClientError, OSError) as error:
        # The connection was established, so the request may have been executed.
        detail = f"The connection to {describe(target)} broke during {method} {path} ({type(error).__name__})."
        raise AdminApiError(Reason.Unreachable, detail, retryable=True, outcome_unknown=True) from None


def parse_answer(target: AdminTarget, model: type[M], status: int, headers: Mapping[str, str], raw: bytes) -> M:
    """The data of an answer as the model. AdminApiError for an error response, and for a body of another form."""
    if status >= 400:
        raise error_from_response(status, headers, raw)
    try:
        return contract.Envelope[model].model_validate_json(raw).data  # type: ignore[valid-type]
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
        detail = (
            f"{describe(target)} answered HTTP {status} with a body that is not an admin API answer "
            f"({f'invalid field: {field}' if field else 'not JSON'})."
        )
        # The call may have been executed: the caller must check its effect before it decides again.
        raise AdminApiError(
            Reason.UnexpectedAnswer, detail, retryable=True, status=status, outcome_unknown=True
        ) from None


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    """The whole body. AdminApiError if it is larger than ``_MAX_BODY_BYTES``, which no admin API answer is."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            detail = "The answer is too large for an admin API answer."
            raise AdminApiError(Reason.UnexpectedAnswer, detail, retryable=True)
    return bytes(body)


def _tls_error_text(error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError) -> str:
    inner = getattr(error, "certificate_error", None) or error.os_error
    return str(getattr(inner, "verify_message", None) or getattr(inner, "reason", None) or inner)


def describe(target: AdminTarget) -> str:
    """The pod and the address of an admin API, for a message."""
    endpoint = target.endpoint
    return f"pod {endpoint.pod} ({endpoint.host}:{endpoint.port})"
