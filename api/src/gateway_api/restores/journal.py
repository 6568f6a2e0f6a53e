"""The journal of a restore, and the decisions that follow from it after a crash. Pure: no system calls.

The new config is staged durably before the journal says `prepared`. A rename then makes the staged file the
config, so the staged file exists exactly as long as the rename has not happened. Its existence and the digest of the
live config therefore determine the state after a crash.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from gateway_api.contract import RestoreResult, RestoreState
from gateway_api.storage.access import FileAccess
from gateway_api.storage.layout import previous_config_name, staged_config_name

Phase = Literal["prepared", "applied", "rolling_back", "committed", "rolled_back"]


class ConfigCopy(BaseModel):
    """A file on the backup volume that holds a config. ``path`` is relative to the backup directory.

    ``content_sha256`` is the digest of the config. ``stored_*`` describe the file, which may be compressed and
    encrypted; the size is in bytes. ``backup_id`` is None for a raw copy without a manifest.
    """

    model_config = ConfigDict(frozen=True)
    path: str
    backup_id: str | None
    content_sha256: str
    stored_sha256: str
    stored_bytes: int


class Journal(BaseModel):
    """The record of the latest restore, stored as JSON in the config directory's state directory.

    ``auto_commit``: the caller gave no request_id and cannot commit, so the restore commits itself. ``had_config`` is
    false when there was no config before: then there is no kept file, and a rollback removes the config.
    ``settled``: the gateway has left the new config unchanged for the settle time.
    ``access`` is the access of the previous config. ``copy_of_previous`` is the safety backup, None if there is none.
    ``admin_keys`` are the digests of the admin keys of the config that the next rename activates. They are None if that
    config is not valid, and after the rename as soon as they are stored for the authentication.
    ``source_sha256`` is the digest of the restored file as it was stored, None for a reset. ``rolled_back_at`` is the
    time at which the latest rollback began. ``previous_keys`` are SHA-256 digests of the previous config's admin keys,
    which stay accepted until the restore ends (`auth.py`). ``result`` is returned to the caller.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    version: int = 1
    request_sha256: str
    auto_commit: bool
    phase: Phase
    had_config: bool
    settled: bool = False
    access: FileAccess = FileAccess()
    copy_of_previous: ConfigCopy | None = None
    admin_keys: tuple[str, ...] | None = None
    source_sha256: str | None = None
    rolled_back_at: datetime | None = None
    previous_keys: tuple[str, ...] = ()
    result: RestoreResult

    @property
    def request_id(self) -> str:
        return self.result.request_id

    @property
    def staged_file(self) -> str:
        """Name of the file that becomes the config by a rename."""
        return staged_config_name(self.request_id)

    @property
    def kept_file(self) -> str:
        """Name of the previous config, kept for a rollback."""
        return previous_config_name(self.result.started)

    @property
    def replaced_file(self) -> str:
        """Name of the config that a rollback replaces. Empty before the first rollback begins."""
        return "" if self.rolled_back_at is None else previous_config_name(self.rolled_back_at)

    def moved_to(self, phase: Phase, **changes: object) -> Journal:
        """The journal in another phase, with the matching state and ``changes`` in its result. Without admin keys."""
        state = RestoreState.applied if phase == "rolling_back" else RestoreState(phase)
        result = self.result.model_copy(update={"state": state, **changes})
        keys = () if phase in ("committed", "rolled_back") else self.previous_keys
        changed = {"phase": phase, "result": result, "admin_keys": None, "previous_keys": keys}
        return self.model_copy(update=changed)


class RecoveryAction(Enum):
    """The action of recovery on an unfinished restore."""

    Nothing = "nothing to recover"
    DropRestore = "the rename did not happen: undo the restore"
    Applied = "the rename happened: record it"
    Unknown = "undecidable: change nothing"
    StillApplied = "the rollback did not happen: return to applied"
    RolledBack = "the rollback happened: finish it"
    Archive = "committed or rolled back: finish again"


def recovery_action(
    journal: Journal, *, staged: bool, replaced: bool, has_config: bool, live: str | None
) -> RecoveryAction:
    """Decides how to recover an unfinished restore.

    ``staged``, ``replaced`` and ``has_config``: whether these files exist.
    ``live``: digest of the config, None if it is missing or unreadable. Two unknown digests are never equal.
    """
    result = journal.result
    match journal.phase:
        case "committed" | "rolled_back":
            return RecoveryAction.Archive
        case "applied":
            return RecoveryAction.Nothing
        case "prepared":
            if staged:
                return RecoveryAction.DropRestore
            if _same(live, result.restored_sha256):
                return RecoveryAction.Applied
            if _same(live, result.previous_sha256):
                return RecoveryAction.DropRestore
            # The gateway has written a third config: it may be based on the old one or on the new one.
            return RecoveryAction.Unknown
        case "rolling_back":
            if staged or not (replaced or journal.had_config):
                return RecoveryAction.StillApplied
            if not journal.had_config:
                # The rename moves the config to the replaced file; no file is staged.
                return RecoveryAction.Unknown if has_config else RecoveryAction.RolledBack
            if _same(live, result.previous_sha256):
                return RecoveryAction.RolledBack
            return RecoveryAction.StillApplied if _same(live, result.restored_sha256) else RecoveryAction.Unknown


def _same(one: str | None, other: str | None) -> bool:
    return one is not None and one == other


class ReplayAction(Enum):
    """The response to a restore request whose request id was used before."""

    Result = "return the stored result"
    Reapply = "apply again: the gateway overwrote the config before it had settled"
    WaitUntilStable = "wait until the config has settled, then return the result"
    Unknown = "fail with RestoreStateUnknown"


def replay_action(journal: Journal, live: str | None) -> ReplayAction:
    """Decides the response to a repeated request with the same id and body. Valid only after recovery.

    ``live``: digest of the config, None if missing or unreadable.
    """
    if journal.phase == "prepared":
        return ReplayAction.Unknown
    if journal.phase != "applied" or journal.settled:
        return ReplayAction.Result
    return ReplayAction.WaitUntilStable if live == journal.result.restored_sha256 else ReplayAction.Reapply
