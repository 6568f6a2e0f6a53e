"""Measures a scrape of the operator with 10,000 backups: `make bench-scrape`.

The page is computed in a thread, which shares the interpreter with the event loop. A task on the loop measures how long
it waits meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter
from typing import Final

from gateway_operator.adapters.monitoring.metrics import MetricsSnapshot, PrometheusMetrics
from gateway_operator.domain.gateway.health import GatewayHealth
from gateway_operator.domain.metrics.gauges import ObservedObjects
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.kopf_runner import configure_garbage_collector
from tests.unit.gateway_operator.summaries import summary

NOW: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
BACKUPS: Final = 10_000
GATEWAYS: Final = (10, 1_000)
RUNS: Final = 10


def observed(gateways: int) -> ObservedObjects:
    """Gateways with a schedule each, and their hourly backups."""
    schedules = [
        GatewayBackupSchedule.parse(
            {
                "metadata": {"namespace": "prod", "name": f"nightly-{number}", "uid": f"{number}"},
                "spec": {"gatewayRef": {"name": f"gateway-{number}"}, "objective": {"maxAge": "26h"}},
            }
        )
        for number in range(gateways)
    ]
    backups = [
        summary(f"{one.name}-{age}", NOW - timedelta(hours=age), set_id=one.set_id, size_bytes=9_000)
        for one in schedules
        for age in range(BACKUPS // gateways)
    ]
    health = GatewayHealth(NOW, None, True, True, 0, 1, 2, NOW)
    return ObservedObjects(backups, schedules, gateways={one.set_id.namespaced_gateway: health for one in schedules})


@contextmanager
def measured_waits(waits: list[float]) -> Iterator[None]:
    """Append, for each millisecond of the block, the seconds that the event loop was late."""

    async def measure() -> None:
        while True:
            began = perf_counter()
            await asyncio.sleep(0.001)
            waits.append(perf_counter() - began - 0.001)

    task = asyncio.create_task(measure())
    try:
        yield
    finally:
        task.cancel()


async def measure(gateways: int) -> str:
    """One line with the results for this number of gateways."""
    objects = observed(gateways)
    seconds: list[float] = []
    waits: list[float] = []
    size = 0
    for _ in range(RUNS):
        metrics = PrometheusMetrics()  # a new one has no page of the last second
        metrics.connect(lambda: MetricsSnapshot(True, {}, replace(objects, backups=list(objects.backups)), NOW))
        with measured_waits(waits):
            began = perf_counter()
            size = len(await metrics.page())
            seconds.append(perf_counter() - began)
            await asyncio.sleep(0.01)
    waits.sort()
    late, latest = waits[int(len(waits) * 0.99)], waits[-1]
    return (
        f"{gateways:5,} gateways: {median(seconds) * 1000:4.0f} ms for {size / 1e6:.2f} MB; "
        f"the loop was late by {late * 1000:.0f} ms (p99), {latest * 1000:.0f} ms (maximum)"
    )


def main() -> None:
    """Measure each number of gateways and print the results."""
    configure_garbage_collector()
    print(f"A scrape with {BACKUPS:,} backups, median of {RUNS}")
    for gateways in GATEWAYS:
        print(asyncio.run(measure(gateways)))


if __name__ == "__main__":
    main()
