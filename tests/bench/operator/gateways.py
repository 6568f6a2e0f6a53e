"""Creates the workloads and pods of many gateways in a few calls, without a kubelet, as in the operator's tests."""

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
from tests.operator.support.workloads import GatewayDeployment, Kube, random_loopback_address, running_pod_status


@dataclass
class _Collected(Kube):
    """Collects the applied bodies, so that one command can apply all of them."""

    bodies: list[Any] = field(default_factory=list)

    def apply(self, body: Any) -> None:
        self.bodies.append(body)


def names(count: int) -> list[str]:
    """The names of this number of gateways."""
    return [f"gw-{number}" for number in range(count)]


async def create_gateways(
    cluster: Cluster, api: ApiServer, namespace: str, hosts: Sequence[str], keys: Sequence[str], folder: str = "/config"
) -> list[str]:
    """Create a gateway with a ready pod for each admin API, and return the gateways' names."""
    collected = _Collected(cluster, namespace)
    host_of = dict(zip(names(len(hosts)), hosts, strict=True))
    for (name, host), key in zip(host_of.items(), keys, strict=True):
        gateway = GatewayDeployment(collected, host, key, name, config_folder=folder)
        gateway.apply_secret()
        gateway.apply_deployment()
    Kube(cluster, namespace).apply({"apiVersion": "v1", "kind": "List", "items": collected.bodies})
    pods = f"/api/v1/namespaces/{namespace}/pods"
    ready: set[str] = set()
    for _ in range(300):
        for pod in (await api.call("GET", pods))["items"]:
            name, app = pod["metadata"]["name"], pod["metadata"]["labels"]["app"]
            if app not in ready:
                status = {"status": running_pod_status(host_of[app])}
                await api.call("PATCH", f"{pods}/{name}/status", status, content_type=MERGE)
                ready.add(app)
        if ready == set(host_of):
            return list(host_of)
        await asyncio.sleep(0.2)
    raise RuntimeError(f"no pods of {sorted(set(host_of) - ready)}")


@contextmanager
def real_admins(folder: Path, count: int = 5) -> Iterator[tuple[list[str], list[str], Callable[[], int]]]:
    """Run real admin APIs; yields their hosts, their keys, and a function that counts the backups on their volumes."""
    with ExitStack() as stack:
        hosts, keys, volumes = [], [], []
        for number in range(count):
            root, key = folder / f"real-{number}", admin_key()
            config, backups = root / "config" / "config.json", root / "backups"
            config.parent.mkdir(parents=True)
            backups.mkdir()
            config.write_text(json.dumps(gateway_config(key)))
            process = stack.enter_context(AdminProcess(config, backups, random_loopback_address(), 8001))
            hosts.append(process.host)
            keys.append(key)
            volumes.append(backups)
        yield hosts, keys, lambda: sum(len(list(volume.rglob("*.manifest"))) for volume in volumes)
