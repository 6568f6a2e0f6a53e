"""Runs the operator and writes each of its requests to a file, one a line: the method, the URL and the query.

``python -m tests.operator.support.recording_operator run …`` takes the arguments of the operator. The environment
variable RECORDED_REQUESTS names the file.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import aiohttp

from gateway_operator.main import main

_FILE = "RECORDED_REQUESTS"


def record_requests() -> None:
    """Wrap the one method through which kopf and the Kubernetes client send all requests."""
    send = aiohttp.ClientSession._request

    async def recorded(self: aiohttp.ClientSession, method: str, url: Any, **options: Any) -> aiohttp.ClientResponse:
        with open(os.environ[_FILE], "a", encoding="utf-8") as file:
            file.write(f"{method} {url} {dict(options.get('params') or {})}\n")
        return await send(self, method, url, **options)

    aiohttp.ClientSession._request = recorded  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    record_requests()
    sys.exit(main())
