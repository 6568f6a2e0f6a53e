"""What is written down about a restore, and what follows from it after a crash: all decisions, no system calls.

The new config is staged, durable, before the journal says ``prepared``. The staged file becomes the config by a
rename, so it is there exactly as long as the rename has not happened: that, and the digests, tell the state.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from gateway_api.contract import RestoreResult, RestoreState
from gateway_api.storage.layout import kept_config_name, replaced_config_name, staged_config_name

Phase = Literal["prepared", "applied", "rolling_back", "committed", "rolled_back"]


class Journal(BaseModel):
    """The record of the latest restore. ``bare``: the caller gave no request_id, so it commits itself.

    ``had_config`` is false when there was no config before; then there is no kept file, and a rollback removes the
    config. ``settled``: the gateway has let the new config stand. ``result`` is what the caller is told.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    version: int = 1
    request_sha256: str
    bare: bool
    phase: Phase
    had_config: bool
    settled: bool = False
    mode: int = 0o600
    result: RestoreResult

    @property
    def request_id(self) -> str:
        """The id the restore goes by."""
        return self.result.request_id

    @property
    def staged(self) -> str:
        """Name of the file that is to become the config."""
        return staged_config_name(self.request_id)

    @property
    def kept(self) -> str:
        """Name of the kept previous config."""
        return kept_config_name(self.request_id)

    @property
    def replaced(self) -> str:
        """Name of what a rollback replaced."""
        return replaced_config_name(self.request_id)

    def moved_to(self, phase: Phase, **changes: object) -> Journal:
        """The journal in another phase; its result shows the state that goes with it."""
        state = RestoreState.applied if phase == "rolling_back" else RestoreState(phase)
        result = self.result.model_copy(update={"state": state, **changes})
        return self.model_copy(update={"phase": phase, "result": result})


class RecoveryAction(Enum):
    """What recovery does with a journal."""

    Nothing = "nothing"
    DropRestore = "drop the restore: it never happened"
    Applied = "the restore was applied"
    Unknown = "report, touch nothing"
    StillApplied = "the rollback never happened"
    RolledBack = "the rollback happened"
    Archive = "finish the ending"


def recovery_action(journal: Journal, *, staged: bool, replaced: bool, live: str | None) -> RecoveryAction:
    """Which state holds. ``staged``, ``replaced``: those files exist; ``live``: the config's digest, None = missing."""
    result = journal.result
    match journal.phase:
        case "committed" | "rolled_back":
            return RecoveryAction.Archive
        case "applied":
            return RecoveryAction.Nothing
        case "prepared":
            if staged:
                return RecoveryAction.DropRestore
            if live == result.restored_sha256:
                return RecoveryAction.Applied
            if live == result.previous_sha256:
                return RecoveryAction.DropRestore
            return RecoveryAction.Unknown
        case "rolling_back":
            if not journal.had_config:
                return RecoveryAction.RolledBack if replaced and live is None else RecoveryAction.StillApplied
            if staged:
                return RecoveryAction.StillApplied
            return (
                RecoveryAction.RolledBack if replaced or live == result.previous_sha256 else RecoveryAction.StillApplied
            )


class ReplayAction(Enum):
    """What a repeated restore request gets."""

    Result = "the stored result"
    Reapply = "apply once more: the gateway wrote over it before it had settled"
    WaitUntilStable = "only wait for it to settle"
    Unknown = "RestoreStateUnknown"


def replay_action(journal: Journal, live: str | None) -> ReplayAction:
    """For the same request id and body, after recovery."""
    if journal.phase == "prepared":
        return ReplayAction.Unknown
    if journal.phase != "applied" or journal.settled:
        return ReplayAction.Result
    return ReplayAction.WaitUntilStable if live == journal.result.restored_sha256 else ReplayAction.Reapply
