"""The single steps of a restore that apply, commit, rollback and recovery share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway_api.contract import ErrorCode, RestoreState
from gateway_api.errors import ApiError, config_volume_error
from gateway_api.operation_context import OperationContext
from gateway_api.restores import records
from gateway_api.restores.journal import Journal, Phase
from gateway_api.storage.layout import JOURNAL_FILE, REPLACED_CONFIG_PREFIX


def refuse_if_pending(journal: Journal | None) -> None:
    """Raises ``RestorePending`` for a restore that its caller has neither committed nor rolled back."""
    if journal is not None and not journal.bare and journal.phase not in ("committed", "rolled_back"):
        raise ApiError(ErrorCode.RestorePending, f"restore {journal.request_id} is neither committed nor rolled back")


@contextmanager
def _after_rename() -> Iterator[None]:
    """After the rename no failure may say that nothing changed; recovery finds out what holds."""
    try:
        yield
    except ApiError as error:
        if error.code is ErrorCode.ConfigChangedDuringRestore:
            raise
        raise ApiError(ErrorCode.DurabilityUnknown) from None


def _abort(context: OperationContext, journal: Journal, *, restore_too: bool) -> None:
    """Undoes what a restore began before its rename. What cannot be removed now is dropped by recovery."""
    try:
        if restore_too:
            context.config_state.remove(JOURNAL_FILE)
            context.slot.discard(journal.kept)
        context.slot.discard(journal.staged)
    except (OSError, ApiError):
        return


def finish(context: OperationContext, journal: Journal, state: RestoreState) -> Journal:
    """Writes down that the restore ended, keeps the record for ever, and gives up what was kept for a rollback.

    The journal itself is the point of no return, so an end needs no room on the backup volume.
    """
    phase: Phase = "committed" if state is RestoreState.committed else "rolled_back"
    if journal.phase != phase:
        ended = journal.moved_to(phase, finished=context.clock())
        journal = records.save_journal(context.config_state, ended)
    try:
        records.archive(context.config_state, context.backup_state, journal)
        context.config_state.remove(JOURNAL_FILE)
        context.slot.discard(journal.kept, journal.staged)
        but = journal.replaced if state is RestoreState.rolled_back else ""
        context.slot.discard_matching(REPLACED_CONFIG_PREFIX, but=but)
    except OSError as error:
        raise config_volume_error(error) from None
    return journal


def _abort_rollback(context: OperationContext, journal: Journal) -> None:
    try:
        records.save_journal(context.config_state, journal)
        context.slot.discard(journal.staged, journal.replaced)
    except (OSError, ApiError):
        return
