"""The temporary environment of all subjects: a control plane and twenty gateways, each with an admin API."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp

from tests.bench.operator import load
from tests.bench.operator.api_server import BACKUPS, ApiServer, reads, writes
from tests.bench.operator.gateways import create_gateways, real_admins
from tests.bench.operator.subjects import Subject, operator, run_program, usage
from tests.cluster import Cluster, lifecycle
from tests.cluster.fixtures import create_namespace
from tests.cluster.output import Log
from tests.cluster.processes import Processes
from tests.cluster.slots import claim_name
from tests.operator.support.scripted_admin_api import ADMIN_KEY
from tests.operator.support.workloads import random_loopback_address

ROOT = Path(__file__).resolve().parents[3]
GATEWAYS = 20
_WARM = 40


@dataclass(frozen=True)
class Measurement:
    """The results of one run of one subject."""

    single: list[float]
    """Seconds from apply to Completed of backups one after the other, shortest first."""
    concurrent: list[float]
    """Seconds from apply to Completed of backups applied all at once, shortest first."""
    rate: float
    """Backups per second."""
    writes: float
    """API writes per backup, without its creation."""
    reads: float
    peak: float
    """Peak resident memory of the subject in MiB."""
    cpu: float
    """CPU time of the subject per backup, in milliseconds."""
    server_cpu: float
    """CPU time of the API server per backup, in milliseconds."""
    kinds: dict[str, int]


@dataclass(frozen=True)
class Environment:
    """A running control plane with its gateways."""

    cluster: Cluster
    api: ApiServer
    namespace: str
    hosts: Sequence[str]
    gateways: Sequence[str]
    folder: Path

    async def measure(self, subject: Subject, count: int, singles: int) -> Measurement:
        """Run ``singles`` backups one after the other, then ``count`` at once, in an empty namespace with new stubs."""
        admins = [sys.executable, "-m", "tests.bench.operator.admin_api_stubs", *self.hosts]
        with run_program(admins, self.folder / "admins.log"):
            measurement = await self._measure(subject, count, singles)
            await self._check(_WARM + singles + count)
        return measurement

    async def with_real_admins(self, count: int) -> Measurement:
        """Measure the operator with real ``gateway-admin`` processes and small configs."""
        with real_admins(self.folder) as (hosts, keys, file_count):
            create_namespace(self.cluster, "real")
            gateways = await create_gateways(self.cluster, self.api, "real", hosts, keys)
            real = replace(self, namespace="real", hosts=hosts, gateways=gateways)
            measurement = await real._measure(Subject("operator", operator), count, singles=20)
            assert file_count() == _WARM + 20 + count, f"{file_count()} files"
        return measurement

    async def _measure(self, subject: Subject, count: int, singles: int) -> Measurement:
        with subject.run(self.cluster, self.namespace, self.folder / f"{subject.name}.log") as pid:
            # Other names than below: a name is used once on a volume, also after its object is deleted.
            await load.run_concurrently(self.api, self.namespace, self.gateways, _WARM, first=count)
            await self.clean()
            alone = await load.run_sequentially(self.api, self.namespace, self.gateways, singles)
            server = Processes(self.cluster.paths).pid("kube-apiserver")
            assert server is not None
            before, counted, server_before = usage(pid), await self.api.counted(), usage(server)
            together = await load.run_concurrently(self.api, self.namespace, self.gateways, count)
            await asyncio.sleep(1)  # the last event may be written after the last status
            after, counted_after, server_after = usage(pid), await self.api.counted(), usage(server)
        await self.clean()
        written, kinds = writes(counted, counted_after, count)
        return Measurement(
            single=alone.latencies(),
            concurrent=together.latencies(),
            rate=together.rate(),
            writes=written / count,
            reads=reads(counted, counted_after) / count,
            peak=after.peak,
            cpu=(after.cpu - before.cpu) / count * 1000,
            server_cpu=(server_after.cpu - server_before.cpu) / count * 1000,
            kinds=kinds,
        )

    async def clean(self) -> None:
        """Delete all backups and events of the namespace."""
        for path in (BACKUPS.format(self.namespace), f"/api/v1/namespaces/{self.namespace}/events"):
            while True:
                await self.api.call("DELETE", path)
                if not (await self.api.call("GET", path, query={"limit": "1"}))["items"]:
                    break
                await asyncio.sleep(0.2)

    async def _check(self, expected: int) -> None:
        """Assert that there are as many files as backups: a subject must not create two files for one backup."""
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {ADMIN_KEY}"}, trust_env=False) as session:
            files = 0
            for host in self.hosts:
                async with session.get(f"http://{host}:8001/made") as response:
                    files += int(await response.json())
        assert files == expected, f"{files} files for {expected} backups"


@asynccontextmanager
async def start_environment(log: Log) -> AsyncIterator[Environment]:
    """Start a control plane with gateways, and remove both at the end of the block."""
    name, lock = claim_name("bench")
    try:
        cluster = await asyncio.to_thread(lifecycle.start, name, False, log)
        cluster.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        create_namespace(cluster, "bench")
        hosts = [random_loopback_address() for _ in range(GATEWAYS)]
        with tempfile.TemporaryDirectory(prefix="bench-operator-") as folder:
            async with ApiServer.of(cluster) as api:
                gateways = await create_gateways(cluster, api, "bench", hosts, [ADMIN_KEY] * GATEWAYS)
                yield Environment(cluster, api, "bench", hosts, gateways, Path(folder))
    finally:
        await asyncio.to_thread(lifecycle.stop, name, log, keep_images=False)
        lock.release()
