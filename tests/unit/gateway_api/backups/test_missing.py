"""Which manifests without data move to `missing/`: those whose data has been gone for a week."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway_api.backups import missing
from gateway_api.backups.missing import ABSENT_FOR, INTERVAL, MissingRecord, is_due, plan

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("noted", "folder_changed", "moves"),
    [
        (None, timedelta(0), False),
        (6.9 * DAY, timedelta(0), False),
        (7 * DAY, timedelta(0), True),
        # Nothing in the folder has changed for a week, so the data has been gone for longer.
        (None, 8 * DAY, True),
        (2 * DAY, 6 * DAY, False),
        # The clock of the file server is ahead.
        (None, -3 * DAY, False),
        (7 * DAY, -3 * DAY, True),
    ],
)
def test_manifest_moves_after_a_week_without_data(
    noted: timedelta | None, folder_changed: timedelta, moves: bool
) -> None:
    note = MissingRecord(since={} if noted is None else {"d/a.json": NOW - noted})
    dead: list[tuple[tuple[str, ...], float]] = [(("d", "a.json"), (NOW - folder_changed).timestamp())]
    move, next_record = plan(dead, note, NOW)
    assert move == ([("d", "a.json")] if moves else [])
    assert next_record.checked == NOW
    # The first observation is kept, so that daily checks add up to a week.
    if not moves:
        expected = min(NOW - (noted or timedelta(0)), NOW - folder_changed, NOW)
        assert next_record.since == {"d/a.json": expected}


def test_data_that_is_there_again_begins_a_new_week() -> None:
    note = MissingRecord(since={"d/a.json": NOW - 6 * DAY})
    _, between = plan([], note, NOW)
    move, _ = plan([(("d", "a.json"), NOW.timestamp())], between, NOW + DAY)
    assert move == []


def test_note_stays_small_and_every_manifest_moves_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing, "MAX_RECORDED", 10)
    dead: list[tuple[tuple[str, ...], float]] = [((f"{number:05}",), NOW.timestamp()) for number in range(35)]
    note, now, moved = MissingRecord(), NOW, 0
    while dead and now < NOW + 60 * DAY:
        move, note = plan(dead, note, now)
        assert len(note.since) <= 10
        dead = [one for one in dead if one[0] not in set(move)]
        moved += len(move)
        now += DAY
    assert moved == 35


@pytest.mark.parametrize(("age", "due"), [(timedelta(0), False), (INTERVAL, True), (-DAY, True), (0.9 * DAY, False)])
def test_check_is_due_once_a_day_and_after_a_clock_was_set_back(age: timedelta, due: bool) -> None:
    assert is_due(MissingRecord(checked=NOW - age), NOW) is due
    assert is_due(MissingRecord(), NOW)
    assert ABSENT_FOR == 7 * DAY
