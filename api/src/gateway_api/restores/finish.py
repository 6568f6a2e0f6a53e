"""Ends a restore: commit or rollback."""

from __future__ import annotations

from gateway_api.contract import ErrorCode, RestoreResult, RestoreState
from gateway_api.errors import ApiError
from gateway_api.gateway_config.live import replace_problem
from gateway_api.gateway_config.replace import wait_until_settled
from gateway_api.operation_context import OperationContext
from gateway_api.restores import records
from gateway_api.restores.journal import Journal
from gateway_api.restores.steps import _abort_rollback, _after_rename, finish
from gateway_api.storage.content import Blob


def _already_finished(journal: Journal, wanted: RestoreState) -> RestoreResult:
    if journal.result.state is not wanted:
        raise ApiError(ErrorCode.RestoreEnded, f"the restore is {journal.result.state.value} already")
    return journal.result.model_copy(update={"replayed": True})


def commit(context: OperationContext, request_id: str) -> RestoreResult:
    """The restored config stays; the kept one is given up. Raises ``RestoreNotFound``, ``RestoreEnded`` after a
    rollback, ``RestoreStateUnknown``."""
    journal = records.find(context.config_state, context.backup_state, request_id)
    if journal.phase in ("committed", "rolled_back"):
        return _already_finished(journal, RestoreState.committed)
    if journal.phase != "applied":
        raise ApiError(ErrorCode.RestoreStateUnknown)
    return finish(context, journal, RestoreState.committed).result


def rollback(context: OperationContext, request_id: str, *, force: bool) -> RestoreResult:
    """Puts a fresh copy of the kept config back. Raises ``RestoreNotFound``, ``RestoreEnded`` after a commit,
    ``ConfigChanged`` unless ``force``, ``RestoreStateUnknown`` when the kept config is gone."""
    journal = records.find(context.config_state, context.backup_state, request_id)
    if journal.phase in ("committed", "rolled_back"):
        return _already_finished(journal, RestoreState.rolled_back)
    if journal.phase == "prepared" and not force:
        raise ApiError(ErrorCode.RestoreStateUnknown)
    if (why := replace_problem(context.settings.config_file)) is not None:
        raise ApiError(ErrorCode.ConfigNotReplaceable, why)
    live = context.config.digest()
    if live != journal.result.restored_sha256 and not force:
        raise ApiError(ErrorCode.ConfigChanged)
    slot, state = context.slot, context.config_state
    kept: Blob | None = None
    if journal.had_config:
        kept = slot.read(journal.kept)
        if kept is None:
            raise ApiError(ErrorCode.RestoreStateUnknown, "the kept previous config is gone")
        slot.stage(journal.staged, kept, mode=journal.mode, gid=None)
    try:
        rolling = records.save_journal(state, journal.moved_to("rolling_back"))
        if kept is None:
            slot.remove_live(journal.replaced)
        else:
            if slot.has_config:
                slot.keep_previous(journal.replaced, content=None)
            slot.activate(journal.staged)
    except ApiError as error:
        if error.code is not ErrorCode.DurabilityUnknown:
            _abort_rollback(context, journal)
        raise
    with _after_rename():
        if kept is not None:
            _settle_rollback(context, journal, kept)
        return finish(context, rolling, RestoreState.rolled_back).result


def _settle_rollback(context: OperationContext, journal: Journal, kept: Blob) -> None:
    try:
        # What was kept may be larger than a config may be: that is why it was restored over.
        settle = context.settings.settle_seconds
        unchanged = wait_until_settled(context.config, settle, at_least=kept.size) == kept.sha256
    except ApiError as error:
        if error.code is not ErrorCode.ConfigChangedDuringRestore:
            raise
        unchanged = False
    if not unchanged:
        records.save_journal(context.config_state, journal.model_copy(update={"phase": "applied"}))
        raise ApiError(ErrorCode.ConfigChangedDuringRestore, "the gateway wrote its config over the rolled-back one")
