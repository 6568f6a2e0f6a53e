"""The decisions after a crash, as a table: what the files tell, and what is then done."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway_api.contract import Counts, RestoreResult, RestoreState, SafetyBackup
from gateway_api.restores.journal import Journal, Phase, Replay, Verdict, recover, replay

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
        safety_backup=SafetyBackup(kind="none"),
        started=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return Journal(request_sha256=OTHER, bare=False, phase=phase, had_config=had_config, settled=settled, result=result)


@pytest.mark.parametrize("live", [OLD, NEW, OTHER, None])
def test_a_staged_file_means_the_rename_never_happened(live: str | None) -> None:
    assert recover(journal("prepared"), staged=True, replaced=False, live=live) is Verdict.DropRestore


@pytest.mark.parametrize(
    ("live", "verdict"),
    [(NEW, Verdict.Applied), (OLD, Verdict.DropRestore), (OTHER, Verdict.Unknown), (None, Verdict.Unknown)],
)
def test_without_it_the_digest_tells_or_nobody_guesses(live: str | None, verdict: Verdict) -> None:
    assert recover(journal("prepared"), staged=False, replaced=False, live=live) is verdict


@pytest.mark.parametrize("live", [OLD, NEW, OTHER, None])
@pytest.mark.parametrize(
    ("phase", "verdict"),
    [("applied", Verdict.Nothing), ("committed", Verdict.Archive), ("rolled_back", Verdict.Archive)],
)
def test_what_was_written_down_stands(phase: Phase, verdict: Verdict, live: str | None) -> None:
    assert recover(journal(phase), staged=False, replaced=False, live=live) is verdict


@pytest.mark.parametrize(
    ("had_config", "staged", "replaced", "live", "verdict"),
    [
        (True, True, False, NEW, Verdict.StillApplied),
        (True, True, True, NEW, Verdict.StillApplied),
        (True, False, True, OLD, Verdict.RolledBack),
        (True, False, True, OTHER, Verdict.RolledBack),
        (True, False, False, OLD, Verdict.RolledBack),
        (True, False, False, OTHER, Verdict.StillApplied),
        (False, False, False, NEW, Verdict.StillApplied),
        (False, False, True, None, Verdict.RolledBack),
        (False, False, True, OTHER, Verdict.StillApplied),
    ],
)
def test_a_rollback_cut_short_happened_or_did_not(
    had_config: bool, staged: bool, replaced: bool, live: str | None, verdict: Verdict
) -> None:
    begun = journal("rolling_back", had_config=had_config)
    assert recover(begun, staged=staged, replaced=replaced, live=live) is verdict


@pytest.mark.parametrize(
    ("phase", "settled", "live", "expected"),
    [
        ("applied", True, NEW, Replay.Result),
        ("applied", True, OTHER, Replay.Result),
        ("applied", False, NEW, Replay.Settle),
        ("applied", False, OTHER, Replay.Again),
        ("committed", False, OTHER, Replay.Result),
        ("rolled_back", False, OLD, Replay.Result),
        ("prepared", False, NEW, Replay.Unknown),
    ],
)
def test_only_a_success_is_replayed(phase: Phase, settled: bool, live: str, expected: Replay) -> None:
    assert replay(journal(phase, settled=settled), live) is expected
