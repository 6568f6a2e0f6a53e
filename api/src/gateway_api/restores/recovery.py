"""Continues or undoes the restore that a killed server left."""

from __future__ import annotations

from gateway_api.contract import ErrorCode, RestoreState
from gateway_api.errors import ApiError
from gateway_api.operation_context import Context
from gateway_api.restores import records
from gateway_api.restores.journal import Verdict, recover
from gateway_api.restores.steps import _forget, _unroll, end


def recover_restores(context: Context) -> None:
    """Finishes what a dead server began, as far as the files tell. Reports the rest by leaving it ``prepared``."""
    records.move_waiting(context.config_state, context.backup_state)
    try:
        journal = records.load_journal(context.config_state)
    except ApiError as error:
        if error.code is ErrorCode.RestoreStateUnknown:
            return
        raise
    if journal is None:
        for orphan in ("staged-", "kept-"):
            context.slot.drop_matching(orphan, but="")
        return
    slot, live = context.slot, context.config.digest()
    verdict = recover(journal, staged=slot.exists(journal.staged), replaced=slot.exists(journal.replaced), live=live)
    match verdict:
        case Verdict.DropRestore:
            _forget(context, journal, restore_too=True)
        case Verdict.Applied:
            records.save_journal(context.config_state, journal.moved_to("applied"))
        case Verdict.StillApplied:
            _unroll(context, journal.moved_to("applied"))
        case Verdict.RolledBack:
            end(context, journal, RestoreState.rolled_back)
        case Verdict.Archive:
            end(context, journal, journal.result.state)
        case Verdict.Nothing:
            if journal.bare and live == journal.result.restored_sha256:
                end(context, journal, RestoreState.committed)
            else:
                slot.drop(journal.staged)
        case Verdict.Unknown:
            pass
