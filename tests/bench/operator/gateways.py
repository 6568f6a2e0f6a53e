"""Twenty gateways: workloads and pods made by hand as everywhere in the operator's tests, but all in a few calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.api.support.admin_process import AdminProcess, admin_key, gateway_config
from tests.bench.operator.api_server import MERGE, ApiServer
from tests.cluster import Cluster
from tests.operator.support.workloads import Gateway, Kube, loopback, pod_status


@dataclass
class _Collected(Kube):
    """Keeps what is applied, to apply it in one command."""

    bodies: list[Any] = field(default_factory=list)

    def apply(self, body: Any) -> None:
        """Keep it."""
        self.bodies.append(body)


def names(count: int) -> list[str]:
    """What the gateways are called."""
    return [f"gw-{number}" for number in range(count)]


async def create_gateways(
    cluster: Cluster, api: ApiServer, namespace: str, hosts: Sequence[str], keys: Sequence[str], folder: str = "/config"
) -> list[str]:
    """A ready gateway for each admin API."""
    collected = _Collected(cluster, namespace)
    wanted = dict(zip(names(len(hosts)), hosts, strict=True))
    for (name, host), key in zip(wanted.items(), keys, strict=True):
        gateway = Gateway(collected, host, key, name, config_folder=folder)
        gateway.secret()
        gateway.deployment()
    Kube(cluster, namespace).apply({"apiVersion": "v1", "kind": "List", "items": collected.bodies})
    pods = f"/api/v1/namespaces/{namespace}/pods"
    ready: set[str] = set()
    for _ in range(300):
        for pod in (await api.call("GET", pods))["items"]:
            name, of = pod["metadata"]["name"], pod["metadata"]["labels"]["app"]
            if of not in ready:
                status = {"status": pod_status(wanted[of])}
                await api.call("PATCH", f"{pods}/{name}/status", status, content_type=MERGE)
                ready.add(of)
        if ready == set(wanted):
            return list(wanted)
        await asyncio.sleep(0.2)
    raise RuntimeError(f"no pods of {sorted(set(wanted) - ready)}")


@contextmanager
def real_admins(folder: Path, count: int = 5) -> Iterator[tuple[list[str], list[str], Callable[[], int]]]:
    """Real admin APIs: their hosts, their keys, and how many backups lie on their volumes."""
    with ExitStack() as stack:
        hosts, keys, volumes = [], [], []
        for number in range(count):
            place, key = folder / f"real-{number}", admin_key()
            config, backups = place / "config" / "config.json", place / "backups"
            config.parent.mkdir(parents=True)
            backups.mkdir()
            config.write_text(json.dumps(gateway_config(key)))
            process = stack.enter_context(AdminProcess(config, backups, loopback(), 8001))
            hosts.append(process.host)
            keys.append(key)
            volumes.append(backups)
        yield hosts, keys, lambda: sum(len(list(volume.rglob("*.manifest.json"))) for volume in volumes)
