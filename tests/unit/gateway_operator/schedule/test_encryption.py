"""The condition Encrypted follows the newest Completed backup of a schedule's set."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.model import conditions
from gateway_operator.domain.schedule.encryption import with_encryption
from tests.unit.gateway_operator.schedule.test_decide import observation, schedule, stored, written_status
from tests.unit.gateway_operator.simulation.fake_cluster import START
from tests.unit.gateway_operator.summaries import summary

PLAIN, SECRET = "nightly/b.json.zst", "nightly/b.json.zst.age"


def backups(*rows: tuple[str, str]) -> list[BackupSummary]:
    """Backups with a phase and a path, oldest first."""
    return [
        summary(f"b{number}", START + timedelta(hours=number), phase=phase, path=path)
        for number, (phase, path) in enumerate(rows)
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], None),
        ([("Failed", PLAIN), ("Running", SECRET)], None),
        ([("Completed", PLAIN)], "NotEncrypted"),
        ([("Completed", SECRET)], "Encrypted"),
        ([("Completed", SECRET.upper())], "Encrypted"),
        ([("Completed", "nightly/.age/b.json.zst")], "NotEncrypted"),
        ([("Completed", PLAIN), ("Completed", SECRET)], "Encrypted"),
        ([("Completed", SECRET), ("Completed", PLAIN)], "NotEncrypted"),
        ([("Completed", SECRET), ("Failed", PLAIN), ("Deleting", PLAIN)], "Encrypted"),
    ],
)
@pytest.mark.parametrize("before", [None, "NotEncrypted"])
def test_condition_shows_whether_the_newest_backup_is_encrypted(
    rows: list[tuple[str, str]], expected: str | None, before: str | None
) -> None:
    present = [] if before is None else with_encryption([], backups(("Completed", PLAIN)), 1, START)
    for given in (backups(*rows), backups(*rows)[::-1]):
        result = {one["type"]: (one["status"], one["reason"]) for one in with_encryption(present, given, 1, START)}
        status = str(expected == "Encrypted")
        assert result == ({} if expected is None else {"Encrypted": (status, expected)})


@pytest.mark.parametrize("fields", [{"file_absent_since": START}, {"deleting_since": START}])
def test_backup_that_no_restore_can_use_does_not_decide_the_condition(fields: dict[str, Any]) -> None:
    older, newer = backups(("Completed", SECRET), ("Completed", PLAIN))
    changed = with_encryption([], [older, replace(newer, **fields)], 1, START)
    assert conditions.condition_status(changed, "Encrypted") is True


def test_status_of_a_schedule_has_the_condition() -> None:
    status = written_status(observation(schedule(), stored(schedule()), backups=backups(("Completed", PLAIN))))
    assert conditions.condition_status(status["conditions"], "Encrypted") is False
