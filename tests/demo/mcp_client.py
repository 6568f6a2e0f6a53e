"""A user of the gateway: the public MCP client with one user's key.

It shows from a user's view whether a restore worked: the same client with the same key lists the same servers again.
"""

import asyncio
import json
from dataclasses import dataclass, field

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client


@dataclass(frozen=True)
class Identity:
    """A user with a key for one project. The repr omits the key, so that logs do not show it."""

    email: str
    project: str
    user_id: str
    project_id: str
    api_key: str = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """The request headers that identify the user to the gateway."""
        return {"apikey": self.api_key, "project_id": self.project_id, "user_id": self.user_id}


@dataclass(frozen=True)
class Listing:
    """Names of the project's servers in the gateway's answer, or the error. `answered` is False without an answer."""

    servers: tuple[str, ...] = ()
    error: str | None = None
    answered: bool = True

    def __str__(self) -> str:
        return self.error or ", ".join(self.servers) or "no servers"


def list_servers(url: str, identity: Identity, timeout: float = 20) -> Listing:
    """List the servers once, as a user does. A refusal or a missing answer becomes a Listing with an error."""
    try:
        return asyncio.run(asyncio.wait_for(_list_servers(url, identity, timeout), timeout))
    except Exception as error:
        cause = _first_cause(error)
        if isinstance(cause, OSError | TimeoutError | httpx2.HTTPError | MCPError):
            return Listing(error=f"no answer ({type(cause).__name__}: {cause})", answered=False)
        raise


def _first_cause(error: Exception) -> BaseException:
    """The first error inside the exception groups that the client's task groups raise."""
    cause: BaseException = error
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return cause


async def _list_servers(url: str, identity: Identity, timeout: float) -> Listing:
    async with httpx2.AsyncClient(headers=identity.headers, timeout=timeout, trust_env=False) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, read_timeout_seconds=timeout) as client:
            answer = await client.call_tool("enkrypt_list_all_servers", {"discover_tools": False})
    text = "".join(getattr(part, "text", "") for part in answer.content)
    try:
        body = json.loads(text)
    except ValueError:
        return Listing(error=f"not JSON: {text[:80]!r}")
    if body.get("status") != "success":
        error = body.get("error") or {}
        return Listing(error=f"{error.get('code', 'error')}: {error.get('message', text[:80])}")
    return Listing(servers=tuple(sorted(body.get("available_servers", {}))))
