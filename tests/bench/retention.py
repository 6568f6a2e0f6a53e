"""Measures the duration of a retention plan for growing numbers of backups: `make bench-retention`.

It uses two policies: a usual one, and the worst case, in which each rule examines each backup.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from statistics import median
from time import process_time
from typing import Final
from zoneinfo import ZoneInfo

from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.retention.plan import plan
from gateway_operator.domain.retention.policy import RetentionPolicy
from tests.unit.gateway_operator.summaries import summary

NOW: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)
SIZES: Final = (1_000, 10_000, 100_000)
RUNS: Final = 5
_ALL: Final = 1_000_000
POLICIES: Final = {
    "usual": RetentionPolicy(
        keep_last=3, keep_daily=14, keep_weekly=8, keep_monthly=12, zone=ZoneInfo("Europe/Berlin")
    ),
    "worst": RetentionPolicy(
        _ALL // 2,
        _ALL,
        _ALL,
        _ALL,
        _ALL,
        _ALL,
        timedelta(days=9_000),
        timedelta(days=9_999),
        zone=ZoneInfo("Europe/Berlin"),
    ),
}


def history(number: int) -> list[BackupSummary]:
    """Backups every half hour in random order; one of fifty failed, one of a hundred is pinned."""
    dice = Random(number)
    entries = [
        summary(
            f"nightly-{index}",
            NOW - timedelta(minutes=30 * index, seconds=dice.random()),
            phase="Failed" if index % 50 == 0 else "Completed",
            pinned=index % 100 == 1,
            ttl=timedelta(days=400) if index % 3 == 0 else None,
        )
        for index in range(number)
    ]
    dice.shuffle(entries)
    return entries


def seconds(work: Callable[[], object]) -> float:
    """Median CPU seconds of several runs. CPU time, because other programs may run and a plan never waits."""
    times = []
    for _ in range(RUNS):
        began = process_time()
        work()
        times.append(process_time() - began)
    return median(times)


def main() -> None:
    """Measure both policies with each number of backups and print the results."""
    print(f"CPU time, median of {RUNS} runs; last column: ratio to the time for a tenth of the backups")
    for name, policy in POLICIES.items():
        before = None
        for size in SIZES:
            entries = history(size)
            taken = seconds(lambda entries=entries, policy=policy: plan(entries, policy, NOW))  # type: ignore[misc]
            ratio = "" if before is None else f"{taken / before:8.1f}"
            print(f"{name:8} {size:8,} backups {taken * 1000:9.1f} ms {ratio}")
            before = taken


if __name__ == "__main__":
    main()
