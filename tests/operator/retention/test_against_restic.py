"""Compares the retention plan with `restic forget` on thousands of random histories, including the reasons.

docs/retention.md lists the differences. The histories avoid them: times are distinct and none is in the future.
`now` is the newest time. No time is in the hour that the end of summer time repeats.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import pytest

from gateway_operator.domain.model.durations import span
from gateway_operator.domain.retention.plan import plan
from gateway_operator.domain.retention.policy import RetentionPolicy
from tests.api.support.requirements import require_programs
from tests.operator.retention.restic_repository import ResticRepository
from tests.unit.gateway_operator.summaries import summary

BERLIN = ZoneInfo("Europe/Berlin")
HISTORIES = 1000
END = datetime(2025, 1, 6, 15, tzinfo=UTC)
RULES = {
    "keep_last": ("--keep-last", "last snapshot"),
    "keep_hourly": ("--keep-hourly", "hourly snapshot"),
    "keep_daily": ("--keep-daily", "daily snapshot"),
    "keep_weekly": ("--keep-weekly", "weekly snapshot"),
    "keep_monthly": ("--keep-monthly", "monthly snapshot"),
    "keep_yearly": ("--keep-yearly", "yearly snapshot"),
}
RESTIC_REASONS = {
    "keepLast": "last", "keepHourly": "hourly", "keepDaily": "daily", "keepWeekly": "weekly", "keepMonthly": "monthly",
    "keepYearly": "yearly",
}  # fmt: skip


def history(random: Random) -> list[datetime]:
    """Snapshot times with a random spacing between ten minutes and weeks, some of them in bursts."""
    step = random.choice([600, 3_600, 21_600, 86_400, 604_800, 2_000_000])
    newest = END - timedelta(seconds=random.randint(0, 40_000_000))
    ages = {
        random.randint(0, step * 30) if random.random() < 0.7 else random.randint(0, 90)
        for _ in range(random.randint(1, 30))
    }
    times = [newest - timedelta(seconds=age, microseconds=random.randint(0, 999_999)) for age in ages]
    return [time for time in times if not is_repeated_in_berlin(time)]


def is_repeated_in_berlin(time: datetime) -> bool:
    """Whether the local time occurs twice, because summer time ends."""
    local = time.astimezone(BERLIN)
    return local.utcoffset() != local.replace(fold=1 - local.fold).utcoffset()


@pytest.fixture(scope="module")
def repository() -> Iterator[tuple[ResticRepository, dict[str, list[datetime]]]]:
    """A repository with all histories, and the times by host. Odd hosts have snapshot times in Berlin time."""
    require_programs("restic")
    random = Random(20261124)
    memory_folder = Path("/dev/shm")
    with TemporaryDirectory(dir=memory_folder if memory_folder.is_dir() else None) as folder:
        restic = ResticRepository(Path(folder) / "repository")
        histories = {}
        for number in range(HISTORIES):
            host = f"{'berlin' if number % 2 else 'utc'}-{number}"
            histories[host] = history(random)
            for index, time in enumerate(histories[host]):
                restic.add(host, f"/b{index}", time.astimezone(BERLIN) if number % 2 else time)
        yield restic, histories


@pytest.mark.parametrize("seed", range(10))
def test_rules_keep_the_same_backups_as_restic_for_the_same_reasons(
    repository: tuple[ResticRepository, dict[str, list[datetime]]], seed: int
) -> None:
    restic, histories = repository
    random = Random(seed)
    numbers = {name: random.choice([0, 0, 1, 2, 3, 7, 12, 40]) for name in RULES}
    within = timedelta(hours=random.choice([0, 1, 36, 24 * 7, 24 * 200]))
    if not any(numbers.values()):
        within = timedelta(hours=36)
    flags = [part for name, number in numbers.items() if number for part in (RULES[name][0], str(number))]
    if within:
        flags += ["--keep-within", span(within)]
    restic_keeps = restic.forget(flags)
    compared = 0
    for host, times in histories.items():
        if not times:
            continue
        zone = BERLIN if host.startswith("berlin") else UTC
        policy = RetentionPolicy(**numbers, keep_within=within, zone=zone)  # type: ignore[arg-type]
        # minKeep counts only Verified backups, and restic has no such rule: Stored backups exclude it.
        entries = [summary(f"/b{index}", time, level="Stored") for index, time in enumerate(times)]
        keeps = {
            one.backup.name: set(map(restic_reason, one.reasons))
            for one in plan(entries, policy, max(times))
            if one.keep
        }
        expected = {name: {reason.split()[0] for reason in reasons} for name, reasons in restic_keeps[host].items()}
        assert keeps == expected, (host, flags)
        compared += 1
    assert compared > HISTORIES * 0.9


def restic_reason(reason: str) -> str:
    """The first word of restic's reason for one of the plan's reasons."""
    rule = reason.split()[0]
    return RESTIC_REASONS.get(rule, "within" if rule == "keepWithin" else rule)
