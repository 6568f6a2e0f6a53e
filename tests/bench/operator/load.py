"""Applying GatewayBackups and waiting until they are Completed."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.bench.operator.api_server import BACKUPS, ApiServer

_NAME = re.compile(rb'"name":"((?:one|all)-[0-9]+)"')
_CREATORS = 32


@dataclass
class Seen:
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


async def all_at_once(api: ApiServer, namespace: str, gateways: Sequence[str], count: int) -> Seen:
    """``count`` backups as fast as the API server takes them."""
    async with _watched(api, namespace) as (seen, changed):
        names = iter(range(count))

        async def create() -> None:
            for number in names:
                await _create(api, namespace, seen, f"all-{number}", gateways[number % len(gateways)])

        await asyncio.gather(*(create() for _ in range(_CREATORS)))
        await _all_done(seen, changed, patience=60)
    return seen


async def one_by_one(api: ApiServer, namespace: str, gateways: Sequence[str], count: int) -> Seen:
    """``count`` backups, each when the one before it is Completed: what a single backup takes."""
    async with _watched(api, namespace) as (seen, changed):
        for number in range(count):
            await _create(api, namespace, seen, f"one-{number}", gateways[number % len(gateways)])
            await _all_done(seen, changed, patience=60)
    return seen


async def _create(api: ApiServer, namespace: str, seen: Seen, name: str, gateway: str) -> None:
    body = {
        "apiVersion": "mcpgateway.dev/v1alpha1",
        "kind": "GatewayBackup",
        "metadata": {"name": name},
        "spec": {"gatewayRef": {"name": gateway}},
    }
    seen.sent[name] = time.perf_counter()
    await api.call("POST", BACKUPS.format(namespace), body)


@asynccontextmanager
async def _watched(api: ApiServer, namespace: str) -> AsyncIterator[tuple[Seen, asyncio.Event]]:
    seen, changed = Seen(), asyncio.Event()
    path = BACKUPS.format(namespace)
    version = await api.version_of(path)

    async def watch() -> None:
        async for line in api.lines(path, version):
            done, failed = b'"phase":"Completed"' in line, b'"phase":"Failed"' in line
            if (done or failed) and (found := _NAME.search(line)):
                name = found[1].decode()
                if failed:
                    seen.failed.add(name)
                seen.done.setdefault(name, time.perf_counter())
                changed.set()
        raise RuntimeError("the watch ended")

    task = asyncio.create_task(watch())
    try:
        yield seen, changed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _all_done(seen: Seen, changed: asyncio.Event, patience: float) -> None:
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
