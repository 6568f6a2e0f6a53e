"""Applying GatewayBackups and waiting until they are Completed."""

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
    """When each backup was sent and when it was seen Completed, in seconds of one clock."""

    sent: dict[str, float] = field(default_factory=dict)
    done: dict[str, float] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    def latencies(self) -> list[float]:
        """Seconds from apply to Completed, shortest first."""
        return sorted(self.done[name] - sent for name, sent in self.sent.items() if name in self.done)

    def rate(self) -> float:
        """Backups per second, from the first that was sent to the last that was done."""
        return len(self.done) / (max(self.done.values()) - min(self.sent.values()))


def quantile(ordered: Sequence[float], share: float) -> float:
    """A quantile of what is in order."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def run_concurrently(api: ApiServer, namespace: str, gateways: Sequence[str], count: int, first: int = 0) -> Progress:
    """``count`` backups as fast as the API server takes them, their names numbered from ``first``."""
    async with _watched(api, namespace) as (seen, changed):
        names = iter(range(first, first + count))

        async def create() -> None:
            for number in names:
                await _create(api, namespace, seen, f"all-{number}", gateways[number % len(gateways)])

        await asyncio.gather(*(create() for _ in range(_CREATORS)))
        await _all_done(seen, changed, patience=60)
    return seen


async def run_sequentially(api: ApiServer, namespace: str, gateways: Sequence[str], count: int) -> Progress:
    """``count`` backups, each when the one before it is Completed: what a single backup takes."""
    async with _watched(api, namespace) as (seen, changed):
        for number in range(count):
            await _create(api, namespace, seen, f"one-{number}", gateways[number % len(gateways)])
            await _all_done(seen, changed, patience=60)
    return seen


async def _create(api: ApiServer, namespace: str, seen: Progress, name: str, gateway: str) -> None:
    body = {
        "apiVersion": "mcpgateway.dev/v1alpha1",
        "kind": "GatewayBackup",
        "metadata": {"name": name},
        "spec": {"gatewayRef": {"name": gateway}},
    }
    seen.sent[name] = time.perf_counter()
    await api.call("POST", BACKUPS.format(namespace), body)


@asynccontextmanager
async def _watched(api: ApiServer, namespace: str) -> AsyncIterator[tuple[Progress, asyncio.Event]]:
    seen, changed = Progress(), asyncio.Event()
    path = BACKUPS.format(namespace)

    def look_at(name: str, phase: bytes) -> None:
        if phase == b"Failed":
            seen.failed.add(name)
        seen.done.setdefault(name, time.perf_counter())
        changed.set()

    async def watch() -> None:
        while True:
            listed = await api.call("GET", path)
            for one in listed["items"]:
                phase = one.get("status", {}).get("phase", "").encode()
                if phase in (b"Completed", b"Failed") and one["metadata"]["name"] in seen.sent:
                    look_at(one["metadata"]["name"], phase)
            # A young API server closes watches of definitions it has just learned: again, from a list.
            with suppress(aiohttp.ClientError):
                async for line in api.lines(path, listed["metadata"]["resourceVersion"]):
                    if (end := _END.search(line)) and (found := _NAME.search(line)):
                        look_at(found[1].decode(), end[1])

    task = asyncio.create_task(watch())
    try:
        yield seen, changed
    except RuntimeError as error:
        if task.done() and not task.cancelled():
            raise RuntimeError("the bench's own watch broke") from task.exception()
        raise error
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _all_done(seen: Progress, changed: asyncio.Event, patience: float) -> None:
    """``patience`` is how many seconds nothing may happen at all."""
    while len(seen.done) < len(seen.sent):
        changed.clear()
        if len(seen.done) == len(seen.sent):
            return
        try:
            await asyncio.wait_for(changed.wait(), patience)
        except TimeoutError:
            missing = sorted(set(seen.sent) - set(seen.done))
            said = f"{len(missing)} of {len(seen.sent)} are not finished"
            raise RuntimeError(f"{said}, and none was for {patience:g} s: {missing[:5]}") from None
    if seen.failed:
        raise RuntimeError(f"{len(seen.failed)} failed: {sorted(seen.failed)[:5]}")
