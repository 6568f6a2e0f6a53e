"""The decisions after a crash, as tables: journal, files and digests in, action out."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import pytest

from gateway_api.contract import Counts, RestoreResult, RestoreState, SafetyBackup
from gateway_api.restores.journal import Journal, Phase, RecoveryAction, ReplayAction, recovery_action, replay_action

OLD, NEW, OTHER = "0" * 64, "1" * 64, "2" * 64


def journal(phase: Phase, *, had_config: bool = True, settled: bool = False) -> Journal:
    result = RestoreResult(
        request_id="r",
        state=RestoreState.applied,
        source_path="a.json",
        previous_sha256=OLD if had_config else None,
        restored_sha256=NEW,
        sections_digest=NEW,
        counts=Counts(),
        safety_backup=SafetyBackup(kind="missing"),
        started=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return Journal(
        request_sha256=OTHER, auto_commit=False, phase=phase, had_config=had_config, settled=settled, result=result
    )


def action(
    record: Journal, *, live: str | None, staged: bool = False, replaced: bool = False, has_config: bool | None = None
) -> RecoveryAction:
    exists = live is not None if has_config is None else has_config
    return recovery_action(record, staged=staged, replaced=replaced, has_config=exists, live=live)


@pytest.mark.parametrize("live", [OLD, NEW, OTHER, None])
def test_staged_file_means_the_rename_did_not_happen(live: str | None) -> None:
    assert action(journal("prepared"), staged=True, live=live) is RecoveryAction.DropRestore


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        (NEW, RecoveryAction.Applied),
        (OLD, RecoveryAction.DropRestore),
        (OTHER, RecoveryAction.Unknown),
        (None, RecoveryAction.Unknown),
    ],
)
def test_without_staged_file_the_digest_decides_or_nothing_changes(live: str | None, expected: RecoveryAction) -> None:
    assert action(journal("prepared"), live=live) is expected


@pytest.mark.parametrize("phase", ["prepared", "rolling_back"])
def test_two_unknown_digests_are_never_equal(phase: Phase) -> None:
    """The previous config was unreadable or above the size limit, and the live config cannot be read now."""
    before = journal(phase)
    unknown = before.model_copy(update={"result": before.result.model_copy(update={"previous_sha256": None})})
    for replaced, has_config in product([True, False], repeat=2):
        found = action(unknown, replaced=replaced, has_config=has_config, live=None)
        assert found is RecoveryAction.Unknown


@pytest.mark.parametrize("live", [OLD, NEW, OTHER, None])
@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        ("applied", RecoveryAction.Nothing),
        ("committed", RecoveryAction.Archive),
        ("rolled_back", RecoveryAction.Archive),
    ],
)
def test_recorded_phase_holds_whatever_the_config_is(phase: Phase, expected: RecoveryAction, live: str | None) -> None:
    assert action(journal(phase), live=live) is expected


@pytest.mark.parametrize(
    ("had_config", "staged", "replaced", "live", "expected"),
    [
        (True, True, False, NEW, RecoveryAction.StillApplied),
        (True, True, True, NEW, RecoveryAction.StillApplied),
        (True, True, True, None, RecoveryAction.StillApplied),
        (True, False, True, OLD, RecoveryAction.RolledBack),
        (True, False, False, OLD, RecoveryAction.RolledBack),
        (True, False, True, NEW, RecoveryAction.StillApplied),
        (True, False, True, OTHER, RecoveryAction.Unknown),
        (True, False, False, OTHER, RecoveryAction.Unknown),
        (True, False, True, None, RecoveryAction.Unknown),
        (False, False, False, NEW, RecoveryAction.StillApplied),
        (False, False, True, None, RecoveryAction.RolledBack),
        (False, False, True, OTHER, RecoveryAction.Unknown),
    ],
)
def test_interrupted_rollback_is_undone_finished_or_reported(
    had_config: bool, staged: bool, replaced: bool, live: str | None, expected: RecoveryAction
) -> None:
    rolling_back = journal("rolling_back", had_config=had_config)
    assert action(rolling_back, staged=staged, replaced=replaced, live=live) is expected


def test_no_config_is_not_the_same_as_an_unreadable_one() -> None:
    rolling_back = journal("rolling_back", had_config=False)
    assert action(rolling_back, replaced=True, has_config=True, live=None) is RecoveryAction.Unknown


@pytest.mark.parametrize(
    ("phase", "settled", "live", "expected"),
    [
        ("applied", True, NEW, ReplayAction.Result),
        ("applied", True, OTHER, ReplayAction.Result),
        ("applied", False, NEW, ReplayAction.WaitUntilStable),
        ("applied", False, OTHER, ReplayAction.Reapply),
        ("committed", False, OTHER, ReplayAction.Result),
        ("rolled_back", False, OLD, ReplayAction.Result),
        ("prepared", False, NEW, ReplayAction.Unknown),
    ],
)
def test_repeated_request_gets_a_result_only_after_success(
    phase: Phase, settled: bool, live: str, expected: ReplayAction
) -> None:
    assert replay_action(journal(phase, settled=settled), live) is expected
