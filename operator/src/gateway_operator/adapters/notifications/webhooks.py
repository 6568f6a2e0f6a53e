"""Sends notifications to webhooks. The URLs and tokens are files of a mounted Secret.

The files are read before each request, so a changed Secret needs no restart. Results name the receiver's problem, and
never a URL: the URL of a webhook is itself a secret.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from gateway_operator.domain.notifications.delivery import DeliveryResult
from gateway_operator.ports.notifications import WEBHOOK

TIMEOUT: Final = 10.0
"""Seconds for one request."""
CONNECT_TIMEOUT: Final = 3.0
URL_SUFFIX: Final = "-url"
AUTHORIZATION_FILE: Final = "webhook-authorization"
"""The value of the header Authorization for the generic receiver."""
CA_FILE: Final = "ca.crt"
"""The CA certificates that sign the receivers' certificates; without it, the CAs of the image."""
PROXY_FILE: Final = "proxy-url"
"""The HTTP proxy for both receivers; without it, direct connections."""
USER_AGENT: Final = "gateway-backup-operator"
_MAX_FILE_BYTES: Final = 256 * 1024
_CONTENT_REFUSED: Final = frozenset({400, 413, 422})


class HttpWebhooks:
    """The port Webhooks over aiohttp. ``session`` is the operator's shared session."""

    def __init__(self, directory: Path, session: Callable[[], aiohttp.ClientSession], timeout: float = TIMEOUT) -> None:
        self._directory = directory
        self._session = session
        self._timeout = timeout

    def is_configured(self, receiver: str) -> bool:
        return bool(self._read(f"{receiver}{URL_SUFFIX}"))

    async def send(self, receiver: str, body: Mapping[str, Any]) -> DeliveryResult:
        url = self._read(f"{receiver}{URL_SUFFIX}")
        if not _is_valid(url):
            return DeliveryResult(False, f"The key {receiver}{URL_SUFFIX} of the Secret is not an http or https URL.")
        headers = {"User-Agent": USER_AGENT}
        authorization = self._read(AUTHORIZATION_FILE) if receiver == WEBHOOK else ""
        if authorization:
            headers["Authorization"] = authorization
        try:
            context = self._context(url)
            async with self._session().post(
                url,
                json=body,
                headers=headers,
                ssl=context,
                proxy=self._read(PROXY_FILE) or None,
                # A redirect could lead the token to another host.
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=CONNECT_TIMEOUT),
            ) as response:
                return _result(response.status, response.headers.get("Retry-After"))
        except TimeoutError:
            return DeliveryResult(False, f"It did not answer within {self._timeout:.0f} s.")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Only the type: the text of an error can contain the URL.
            return DeliveryResult(False, f"It cannot be reached ({type(error).__name__}).")

    def _read(self, name: str) -> str:
        """The text of a key of the Secret without surrounding white space; empty if there is none."""
        try:
            with (self._directory / name).open("rb") as file:
                return file.read(_MAX_FILE_BYTES).decode().strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def _context(self, url: str) -> ssl.SSLContext | bool:
        authorities = self._read(CA_FILE)
        if not authorities or urlsplit(url).scheme != "https":
            return True
        return ssl.create_default_context(cadata=authorities)


def _is_valid(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _result(status: int, retry_after: str | None) -> DeliveryResult:
    if 200 <= status < 300:
        return DeliveryResult(True)
    return DeliveryResult(
        False,
        f"It answered HTTP {status}.",
        retry_after_seconds(retry_after),
        content_refused=status in _CONTENT_REFUSED,
    )


def retry_after_seconds(value: str | None) -> float | None:
    """The header Retry-After in seconds, from a number or an HTTP date; None if it is absent or invalid."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value[:12])
    try:
        then = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    then = then if then.tzinfo is not None else then.replace(tzinfo=UTC)
    return max(0.0, (then - datetime.now(UTC)).total_seconds())
