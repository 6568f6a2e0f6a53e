"""The steps that apply, commit, rollback and recovery share.

Each function ends a restore or undoes part of one. If a step fails here, recovery repeats it. Recovery runs before
the next operation and decides from the journal and from the files that exist.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from gateway_api import logs
from gateway_api.contract import ErrorCode, RestoreState, SafetyBackup
from gateway_api.errors import ApiError, config_volume_error
from gateway_api.operation_context import OperationContext
from gateway_api.restores import records
from gateway_api.restores.copies import prove_copy
from gateway_api.restores.journal import Journal, Phase
from gateway_api.restores.previous import describe_copy, release
from gateway_api.storage.layout import JOURNAL_FILE


def refuse_if_pending(journal: Journal | None) -> None:
    """Raises ``RestorePending`` for a restore that its caller has neither committed nor rolled back."""
    if journal is not None and not journal.auto_commit and journal.phase not in ("committed", "rolled_back"):
        raise ApiError(ErrorCode.RestorePending, f"restore {journal.request_id} is neither committed nor rolled back")


@contextmanager
def after_rename() -> Iterator[None]:
    """Turns errors after the rename into ``DurabilityUnknown``.

    The config has been replaced, so the caller must not conclude that nothing changed. Recovery determines the state.
    """
    try:
        yield
    except ApiError as error:
        if error.code is ErrorCode.ConfigChangedDuringRestore:
            raise
        raise ApiError(ErrorCode.DurabilityUnknown) from None


def record_admin_keys(context: OperationContext, digests: tuple[str, ...] | None) -> None:
    """Stores the digests of the admin keys of the config that has become live; None for a config without a summary.

    From now on the keys of the config before are refused, also if the gateway damages the new one before anything
    reads it. Raises the error of a failing config volume.
    """
    if digests is None:
        return
    try:
        context.config.on_activated(digests)
    except OSError as error:
        raise config_volume_error(error) from None


def abort(context: OperationContext, journal: Journal, *, drop_journal: bool) -> None:
    """Undoes the steps of a restore before its rename. Recovery removes what cannot be removed now.

    Without ``drop_journal`` only the staged file is removed: the journal and the kept config belong to an earlier
    attempt, which remains applied.
    """
    try:
        if drop_journal:
            # The journal goes first. A crash right after this leaves files without a journal; recovery removes them.
            # In the other order, a `prepared` journal without its staged file would look as if the rename had happened.
            context.config_state.remove(JOURNAL_FILE)
            # A crash right after this leaves the staged file, which recovery removes as well.
            release(context, journal.kept_file, journal.copy_of_previous)
        # A crash right after this changes nothing: the undo is complete.
        context.config_replacer.discard(journal.staged_file)
    except (OSError, ApiError):
        return


def abort_rollback(context: OperationContext, journal: Journal) -> None:
    """Undoes the steps of a rollback before its rename. ``journal`` is in the phase to return to."""
    try:
        # A crash right after this leaves the staged file beside an `applied` journal; recovery removes it.
        # While `rolling_back` is recorded the staged file must remain: without it the rename counts as done.
        records.save_journal(context.config_state, journal)
        # A crash right after this changes nothing: the undo is complete.
        context.config_replacer.discard(journal.staged_file)
        release(context, journal.replaced_file, restored_sha256=journal.result.restored_sha256)
    except (OSError, ApiError):
        return


def finish(context: OperationContext, journal: Journal, state: RestoreState) -> Journal:
    """Ends the restore: journal, permanent record, then removal of the files that a rollback would need.

    The write of the journal phase is the point of no return. The journal lies on the config volume, so a full backup
    volume cannot prevent the end of a restore. The only copy of a config stays, see `previous.py`. Safe to repeat.
    Raises the error of a failing config volume.
    """
    phase: Phase = "committed" if state is RestoreState.committed else "rolled_back"
    if journal.phase != phase:
        saved = _current_copy(context, journal, state)
        ended = journal.moved_to(phase, finished=context.clock(), safety_backup=saved)
        # Point of no return. A crash right after this is continued by recovery, which calls `finish` again.
        journal = records.save_journal(context.config_state, ended)
    try:
        # A crash right after this leaves the record in both places; recovery writes the same record again.
        records.archive(context.config_state, context.backup_state, journal)
        # While the journal exists, because it names the copies. A crash right after this: recovery repeats `finish`.
        context.config_replacer.discard(journal.staged_file)
        kept = [
            name
            for name, copy in ((journal.kept_file, journal.copy_of_previous), (journal.replaced_file, None))
            if not release(context, name, copy, restored_sha256=journal.result.restored_sha256)
        ]
        if kept:
            logs.event("previous_config_kept", logging.WARNING, files=kept)
        # Last. A crash right before this is continued by recovery; right after it, nothing is left to do.
        context.config_state.remove(JOURNAL_FILE)
    except OSError as error:
        raise config_volume_error(error) from None
    return journal


def _current_copy(context: OperationContext, journal: Journal, state: RestoreState) -> SafetyBackup:
    """Where the previous config is when the restore ends: the safety backup may have been deleted in between."""
    recorded = journal.result.safety_backup
    if not journal.had_config:
        return recorded
    if state is RestoreState.rolled_back:
        live = str(context.settings.config_file)
        return recorded.model_copy(update={"path": live}) if recorded.kind == "kept" else recorded
    copy = prove_copy(context, journal.copy_of_previous, journal.result.previous_sha256)
    if copy is None and not context.config_replacer.exists(journal.kept_file):
        return recorded
    return describe_copy(context, journal.kept_file, copy)
