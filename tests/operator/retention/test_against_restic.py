"""Our rules keep what `restic forget` keeps, and for the same reason, on thousands of histories.

Where the two mean different things is told in docs/retention.md; here they are asked where they mean the same: distinct
times, `now` the time of the newest, none of them in the future, and no hour that the end of summer time doubles.
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
from tests.api.conftest import needs
from tests.operator.retention.restic_repository import Restic
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
WORDS = {
    "keepLast": "last", "keepHourly": "hourly", "keepDaily": "daily", "keepWeekly": "weekly", "keepMonthly": "monthly",
    "keepYearly": "yearly",
}  # fmt: skip


def history(dice: Random) -> list[datetime]:
    """Times of one kind of life: every hour, every day, in bursts, for years."""
    step = dice.choice([600, 3_600, 21_600, 86_400, 604_800, 2_000_000])
    newest = END - timedelta(seconds=dice.randint(0, 40_000_000))
    ages = {
        dice.randint(0, step * 30) if dice.random() < 0.7 else dice.randint(0, 90) for _ in range(dice.randint(1, 30))
    }
    times = [newest - timedelta(seconds=age, microseconds=dice.randint(0, 999_999)) for age in ages]
    return [time for time in times if not doubled(time)]


def doubled(time: datetime) -> bool:
    """Whether the hour comes twice in Berlin."""
    local = time.astimezone(BERLIN)
    return local.utcoffset() != local.replace(fold=1 - local.fold).utcoffset()


@pytest.fixture(scope="module")
def told() -> Iterator[tuple[Restic, dict[str, list[datetime]]]]:
    """The histories, and a restic that knows them. Hosts in Berlin say so in the times of their snapshots."""
    needs("restic")
    dice = Random(20261124)
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        restic = Restic(Path(folder) / "repository")
        histories = {}
        for number in range(HISTORIES):
            host = f"{'berlin' if number % 2 else 'utc'}-{number}"
            histories[host] = history(dice)
            for index, time in enumerate(histories[host]):
                restic.add(host, f"/b{index}", time.astimezone(BERLIN) if number % 2 else time)
        yield restic, histories


@pytest.mark.parametrize("seed", range(10))
def test_rules_keep_the_same_backups_as_restic_for_the_same_reasons(
    told: tuple[Restic, dict[str, list[datetime]]], seed: int
) -> None:
    restic, histories = told
    dice = Random(seed)
    numbers = {name: dice.choice([0, 0, 1, 2, 3, 7, 12, 40]) for name in RULES}
    within = timedelta(hours=dice.choice([0, 1, 36, 24 * 7, 24 * 200]))
    if not any(numbers.values()):
        within = timedelta(hours=36)
    flags = [part for name, number in numbers.items() if number for part in (RULES[name][0], str(number))]
    if within:
        flags += ["--keep-within", span(within)]
    theirs = restic.forget(flags)
    compared = 0
    for host, times in histories.items():
        if not times:
            continue
        zone = BERLIN if host.startswith("berlin") else UTC
        policy = RetentionPolicy(**numbers, keep_within=within, zone=zone)  # type: ignore[arg-type]
        # Stored, not Verified: minKeep, of which restic knows nothing, then keeps none.
        entries = [summary(f"/b{index}", time, level="Stored") for index, time in enumerate(times)]
        ours = {one.backup.name: set(map(word, one.reasons)) for one in plan(entries, policy, max(times)) if one.keep}
        assert ours == {name: {why.split()[0] for why in whys} for name, whys in theirs[host].items()}, (host, flags)
        compared += 1
    assert compared > HISTORIES * 0.9


def word(reason: str) -> str:
    """A reason of ours in restic's first word for it."""
    rule = reason.split()[0]
    return WORDS.get(rule, "within" if rule == "keepWithin" else rule)
