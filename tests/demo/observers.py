"""Observes a gateway from outside: its probes, the admin API, the pod's readiness, and an MCP client of a user.

Each observation becomes one column of the table that the demo prints.
"""

import base64
import json
import ssl
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.demo.kube import DemoError, Kube, PortForward
from tests.demo.mcp_client import Identity, Listing, list_servers

ADMIN_PORT, ADMIN_TLS_PORT, MCP_PORT = 8001, 8443, 8000


@dataclass(frozen=True)
class Observation:
    """The state of the gateway at one moment, from all sources."""

    when: str
    health: int
    status: str
    contents: str
    pod: str
    listing: Listing

    def column(self) -> list[str]:
        """The cells of one column of the table."""
        client = f"{len(self.listing.servers)} servers"
        if self.listing.error:
            client = self.listing.error.partition(":")[0] if self.listing.answered else "no answer"
        gateway = "answers" if self.listing.answered else "no answer"
        return [str(self.health), self.status, self.contents, self.pod, gateway, client]


@dataclass
class Observer:
    """Observes one gateway through port-forwards, and keeps the observations."""

    kube: Kube
    namespace: str
    workload: str
    columns: list[Observation] = field(default_factory=list)

    def __post_init__(self) -> None:
        target = f"deployment/{self.workload}"
        self._forwards = {
            port: self.kube.port_forward(self.namespace, target, port)
            for port in (MCP_PORT, ADMIN_PORT, ADMIN_TLS_PORT)
        }
        self._trust: tuple[ssl.SSLContext, str] | None = None

    @property
    def mcp_url(self) -> str:
        """The current URL of the gateway for MCP clients."""
        return f"http://127.0.0.1:{self._forwards[MCP_PORT].port}/mcp/"

    def listing(self, identity: Identity) -> Listing:
        """The servers that the gateway lists for this user."""
        listing = list_servers(self.mcp_url, identity)
        if not listing.answered:
            # The port-forward may still lead to a deleted pod: retry once with a new one.
            self._forwards[MCP_PORT].close()
            listing = list_servers(self.mcp_url, identity)
        return listing

    def wait_for_servers(self, identity: Identity, expected: tuple[str, ...], timeout: float = 30) -> Listing:
        """Poll until the gateway lists these servers; after the timeout, return the last answer."""
        deadline = time.monotonic() + timeout
        while (listing := self.listing(identity)).servers != expected and time.monotonic() < deadline:
            time.sleep(0.5)
        return listing

    def observe(self, when: str, identity: Identity) -> Observation:
        """Query all sources, and keep the result as the next column with the heading `when`."""
        observation = Observation(when, self._health(), *self._detailed_health(), self._pod(), self.listing(identity))
        self.columns.append(observation)
        return observation

    def table(self, who: str) -> tuple[list[str], list[list[str]]]:
        """Head and rows of a table with all observations so far."""
        names = ["GET /health", "detailed health", "  contents", "pod (kubelet)", "the gateway", f"{who}'s MCP client"]
        columns = [observation.column() for observation in self.columns]
        rows = [[name, *(column[index] for column in columns)] for index, name in enumerate(names)]
        return ["", *(observation.when for observation in self.columns)], rows

    def close(self) -> None:
        """End all port-forwards of the observer."""
        for forward in self._forwards.values():
            forward.close()

    def _health(self) -> int:
        return self._get(self._forwards[ADMIN_PORT], "http", "/health").status_code

    def _detailed_health(self) -> tuple[str, str]:
        if self._trust is None:
            self._trust = self._secrets()
        context, key = self._trust
        answer = self._get(self._forwards[ADMIN_TLS_PORT], "https", "/api/v1/system/health", context, key)
        if answer.status_code != httpx.codes.OK:
            raise DemoError(f"the detailed health answered {answer.status_code}: {answer.text[:300]}")
        data = answer.json()["data"]
        counts = f"{data['total_projects']} projects, {data['total_api_keys']} keys"
        codes = ", ".join(dict.fromkeys(issue["code"] for issue in data["issues"]))
        return data["status"] + (f" ({codes})" if codes else ""), counts if data["config_valid"] else "cannot be read"

    def _get(
        self, forward: PortForward, scheme: str, path: str, context: ssl.SSLContext | bool = True, key: str = ""
    ) -> httpx.Response:
        name = f"{self.workload}.{self.namespace}.svc"
        headers = {"Host": name, **({"Authorization": f"Bearer {key}"} if key else {})}
        with httpx.Client(verify=context, timeout=15, trust_env=False) as client:
            for attempt in range(3):
                try:
                    url = f"{scheme}://127.0.0.1:{forward.port}{path}"
                    return client.get(url, headers=headers, extensions={"sni_hostname": name})
                except httpx.TransportError as error:
                    forward.close()
                    if attempt == 2:
                        raise DemoError(f"GET {path}: {type(error).__name__}: {error}") from error
        raise AssertionError

    def _secrets(self) -> tuple[ssl.SSLContext, str]:
        """The TLS context with the gateway's CA, and the admin key, from the same Secrets that the operator reads."""
        certificate = self._secret(f"{self.workload}-admin-tls", "ca.crt")
        return ssl.create_default_context(cadata=certificate), self._secret(f"{self.workload}-admin", "admin-key")

    def _secret(self, name: str, key: str) -> str:
        data = json.loads(self.kube.kubectl("-n", self.namespace, "get", "secret", name, "-o", "json"))["data"]
        return base64.b64decode(data[key]).decode().strip()

    def _pod(self) -> str:
        pods = json.loads(
            self.kube.kubectl(
                "-n", self.namespace, "get", "pods", "-l", f"app.kubernetes.io/instance={self.workload}", "-o", "json"
            )
        )["items"]
        return ", ".join(_readiness(pod) for pod in pods) or "none"


def _readiness(pod: dict[str, Any]) -> str:
    conditions = pod["status"].get("conditions", [])
    return "Ready" if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions) else "not Ready"
