"""Creates GatewayBackups, and measures the time until each is Completed with one watch on the namespace."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import aiohttp

from tests.bench.operator.api_server import BACKUPS, ApiServer

_END = re.compile(rb'"phase":"(Completed|Failed)"')
_NAME = re.compile(rb'"name":"((?:one|all)-[0-9]+)"')
_CREATORS = 32


@dataclass
class Progress:
    """Time of creation and of completion of each backup, in seconds of `time.perf_counter`."""

    sent: dict[str, float] = field(default_factory=dict)
    done: dict[str, float] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    def latencies(self) -> list[float]:
        """Seconds from creation to Completed of each finished backup, shortest first."""
        return sorted(self.done[name] - sent for name, sent in self.sent.items() if name in self.done)

    def rate(self) -> float:
        """Backups per second, from the first creation to the last completion."""
        return len(self.done) / (max(self.done.values()) - min(self.sent.values()))


def quantile(ordered: Sequence[float], share: float) -> float:
    """A quantile of sorted values; `share` is between 0 and 1."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def run_concurrently(
    api: ApiServer, namespace: str, gateways: Sequence[str], count: int, first: int = 0
) -> Progress:
    """Create ``count`` backups as fast as the API server accepts them, numbered from ``first``; wait for all."""
    async with _watched(api, namespace) as (progress, changed):
        names = iter(range(first, first + count))

        async def create() -> None:
            for number in names:
                await _create(api, namespace, progress, f"all-{number}", gateways[number % len(gateways)])

        await asyncio.gather(*(create() for _ in range(_CREATORS)))
        await _all_done(progress, changed, patience=60)
    return progress


async def run_sequentially(api: ApiServer, namespace: str, gateways: Sequence[str], count: int) -> Progress:
    """Create ``count`` backups, each after the previous one is Completed."""
    async with _watched(api, namespace) as (progress, changed):
        for number in range(count):
            await _create(api, namespace, progress, f"one-{number}", gateways[number % len(gateways)])
            await _all_done(progress, changed, patience=60)
    return progress


async def _create(api: ApiServer, namespace: str, progress: Progress, name: str, gateway: str) -> None:
    body = {
        "apiVersion": "mcpgateway.dev/v1alpha1",
        "kind": "GatewayBackup",
        "metadata": {"name": name},
        "spec": {"gatewayRef": {"name": gateway}},
    }
    progress.sent[name] = time.perf_counter()
    await api.call("POST", BACKUPS.format(namespace), body)


@asynccontextmanager
async def _watched(api: ApiServer, namespace: str) -> AsyncIterator[tuple[Progress, asyncio.Event]]:
    progress, changed = Progress(), asyncio.Event()
    path = BACKUPS.format(namespace)

    def record(name: str, phase: bytes) -> None:
        if phase == b"Failed":
            progress.failed.add(name)
        progress.done.setdefault(name, time.perf_counter())
        changed.set()

    async def watch() -> None:
        while True:
            listed = await api.call("GET", path)
            for one in listed["items"]:
                phase = one.get("status", {}).get("phase", "").encode()
                if phase in (b"Completed", b"Failed") and one["metadata"]["name"] in progress.sent:
                    record(one["metadata"]["name"], phase)
            # The API server closes watches shortly after a CRD was created. Then list and watch again.
            with suppress(aiohttp.ClientError):
                async for line in api.lines(path, listed["metadata"]["resourceVersion"]):
                    if (end := _END.search(line)) and (name := _NAME.search(line)):
                        record(name[1].decode(), end[1])

    task = asyncio.create_task(watch())
    try:
        yield progress, changed
    except RuntimeError as error:
        if task.done() and not task.cancelled():
            raise RuntimeError("the watch of the bench failed") from task.exception()
        raise error
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _all_done(progress: Progress, changed: asyncio.Event, patience: float) -> None:
    """Wait until all backups have ended; RuntimeError if none ends for ``patience`` seconds, or if one failed."""
    while len(progress.done) < len(progress.sent):
        changed.clear()
        if len(progress.done) == len(progress.sent):
            return
        try:
            await asyncio.wait_for(changed.wait(), patience)
        except TimeoutError:
            missing = sorted(set(progress.sent) - set(progress.done))
            unfinished = f"{len(missing)} of {len(progress.sent)} backups are not finished"
            raise RuntimeError(f"{unfinished}, and none ended for {patience:g} s: {missing[:5]}") from None
    if progress.failed:
        raise RuntimeError(f"{len(progress.failed)} failed: {sorted(progress.failed)[:5]}")
