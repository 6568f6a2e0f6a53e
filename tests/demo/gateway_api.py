"""Client of the real gateway's own REST API, which an administrator of a gateway uses.

It works around two bugs of release 2.2.4. The answer to a creation contains no valid id, so the client looks the id up
afterwards. The API cannot add a user to a project; the caller passes a function that does it with the command line.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx

from tests.demo.mcp_client import Identity

Join = Callable[[str, str], object]
"""Adds a user to a project. Arguments: the project's name, the user's email."""


@dataclass(frozen=True)
class Project:
    """A project, its members, and the MCP servers that they may use."""

    name: str
    servers: tuple[str, ...]
    members: tuple[str, ...]


PROJECTS: Sequence[Project] = (
    Project("support", ("knowledge-base", "tickets"), ("ada@example.com", "cleo@example.com")),
    Project("billing", ("invoices", "ledger"), ("bruno@example.com",)),
    Project("research", ("papers",), ("cleo@example.com",)),
)


class GatewayApiError(Exception):
    """A request to the gateway's own API failed."""


class GatewayApi:
    """A client of one gateway's own API."""

    def __init__(self, base_url: str, admin_key: str) -> None:
        self._http = httpx.Client(base_url=base_url, headers={"apikey": admin_key}, timeout=20, trust_env=False)

    def __enter__(self) -> "GatewayApi":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def create_project(self, project: Project) -> None:
        """Create a project with its own config that contains its servers."""
        config = f"{project.name}-servers"
        self._call("POST", "/configs", {"config_name": config})
        for server in project.servers:
            body = {"server_name": server, "server_command": "python", "args": ["-m", server.replace("-", "_")]}
            self._call("POST", f"/configs/{config}/servers", {**body, "description": f"{server} of {project.name}"})
        self._call("POST", "/projects", {"project_name": project.name})
        self._call("POST", f"/projects/{project.name}/assign-config", {"config_name": config})

    def create_user(self, email: str) -> None:
        self._call("POST", "/users", {"email": email})

    def create_key(self, email: str, project: str) -> Identity:
        """Create a key of a user for a project, and return the user's identity with that key."""
        before = {entry["api_key"] for entry in self._keys(email)}
        self._call("POST", f"/users/{email}/api-keys", {"project_name": project})
        created = [entry for entry in self._keys(email) if entry["api_key"] not in before]
        if len(created) != 1:
            raise GatewayApiError(f"the gateway created {len(created)} keys for {email} instead of one")
        users = self._call("GET", "/users")
        user_id = next(user["user_id"] for user in users if user["email"] == email)
        return Identity(email, project, user_id, created[0]["project_id"], created[0]["api_key"])

    def delete_project_with_keys(self, project: str) -> None:
        """Delete a project after its keys; the gateway refuses to delete a project with keys."""
        for user in self._call("GET", f"/projects/{project}/users"):
            for entry in self._keys(user["email"]):
                if entry["project_name"] == project:
                    self._call("DELETE", f"/api-keys/{entry['api_key']}")
        self._call("DELETE", f"/projects/{project}")

    def statistics(self) -> dict[str, int]:
        """The gateway's own counts: total_projects, total_users and others."""
        counts: dict[str, int] = self._call("GET", "/system/health")["statistics"]
        return counts

    def _keys(self, email: str) -> list[dict[str, Any]]:
        keys: list[dict[str, Any]] = self._call("GET", f"/users/{email}/api-keys")
        return keys

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        shown = "/api-keys/..." if path.startswith("/api-keys/") else path
        try:
            answer = self._http.request(method, f"/api/v1{path}", json=body)
        except httpx.HTTPError as error:
            raise GatewayApiError(f"{method} {shown}: {type(error).__name__}: {error}") from error
        if answer.status_code != httpx.codes.OK:
            raise GatewayApiError(f"{method} {shown}: {answer.status_code} {answer.text[:200]}")
        return answer.json()["data"]


def populate(api: GatewayApi, join: Join, projects: Sequence[Project] = PROJECTS) -> list[Identity]:
    """Create projects, users and keys; returns one identity for each member of each project, in order."""
    for email in dict.fromkeys(email for project in projects for email in project.members):
        api.create_user(email)
    identities = []
    for project in projects:
        api.create_project(project)
        for email in project.members:
            join(project.name, email)
            identities.append(api.create_key(email, project.name))
    return identities
