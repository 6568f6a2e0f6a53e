"""Continues or undoes the restore that a killed server left."""

from __future__ import annotations

from gateway_api.contract import ErrorCode, RestoreState
from gateway_api.errors import ApiError
from gateway_api.operation_context import OperationContext
from gateway_api.restores import records
from gateway_api.restores.journal import RecoveryAction, recovery_action
from gateway_api.restores.steps import _abort, _abort_rollback, finish
from gateway_api.storage.layout import KEPT_CONFIG_PREFIX, STAGED_CONFIG_PREFIX


def recover_restores(context: OperationContext) -> None:
    """Finishes what a dead server began, as far as the files tell. Reports the rest by leaving it ``prepared``."""
    records.flush_deferred(context.config_state, context.backup_state)
    try:
        journal = records.load_journal(context.config_state)
    except ApiError as error:
        if error.code is ErrorCode.RestoreStateUnknown:
            return
        raise
    if journal is None:
        for orphan in (STAGED_CONFIG_PREFIX, KEPT_CONFIG_PREFIX):
            context.slot.discard_matching(orphan, but="")
        return
    slot, live = context.slot, context.config.digest()
    verdict = recovery_action(
        journal, staged=slot.exists(journal.staged), replaced=slot.exists(journal.replaced), live=live
    )
    match verdict:
        case RecoveryAction.DropRestore:
            _abort(context, journal, restore_too=True)
        case RecoveryAction.Applied:
            records.save_journal(context.config_state, journal.moved_to("applied"))
        case RecoveryAction.StillApplied:
            _abort_rollback(context, journal.moved_to("applied"))
        case RecoveryAction.RolledBack:
            finish(context, journal, RestoreState.rolled_back)
        case RecoveryAction.Archive:
            finish(context, journal, journal.result.state)
        case RecoveryAction.Nothing:
            if journal.bare and live == journal.result.restored_sha256:
                finish(context, journal, RestoreState.committed)
            else:
                slot.discard(journal.staged)
        case RecoveryAction.Unknown:
            pass
