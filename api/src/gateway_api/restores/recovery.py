"""Completes or undoes the restore that a killed server left unfinished.

The decision is made by `journal.recovery_action` from the journal, the existing files and the digest of the config.
This module carries it out. Every action is safe to repeat, because recovery itself can be killed.
"""

from __future__ import annotations

from typing import Final

from gateway_api.contract import ErrorCode, RestoreState
from gateway_api.errors import ApiError
from gateway_api.operation_context import OperationContext
from gateway_api.restores import records
from gateway_api.restores.journal import Journal, RecoveryAction, recovery_action
from gateway_api.restores.steps import abort, abort_rollback, finish, record_admin_keys
from gateway_api.storage.layout import STAGED_CONFIG_PREFIX

_RENAMED: Final = frozenset({RecoveryAction.Applied, RecoveryAction.RolledBack, RecoveryAction.Unknown})
"""The actions after which the staged config, which the rename activates, no longer exists."""


def recover_restores(context: OperationContext) -> None:
    """Completes or undoes the latest restore, as far as the files allow a decision.

    A restore whose state cannot be determined stays ``prepared`` and nothing is changed. Raises the error of a config
    volume that fails.
    """
    replacer = context.config_replacer
    records.flush_deferred(context.config_state, context.backup_state)
    try:
        journal = records.load_journal(context.config_state)
    except ApiError as error:
        if error.code is ErrorCode.RestoreStateUnknown:
            # A damaged journal is left for a person. The files that it names must stay with it.
            return
        raise
    if journal is None:
        # Files without a journal: the server was killed before `prepared` or after the journal was removed.
        # Previous configs are no such leftovers: `previous.py` decides about each.
        replacer.discard(*replacer.names_with(STAGED_CONFIG_PREFIX))
        return
    live = replacer.live_digest()
    action = recovery_action(
        journal,
        staged=replacer.exists(journal.staged_file),
        replaced=bool(journal.replaced_file) and replacer.exists(journal.replaced_file),
        has_config=replacer.has_config,
        live=live,
    )
    journal = _record_admin_keys(context, journal, action)
    match action:
        case RecoveryAction.DropRestore:
            abort(context, journal, drop_journal=True)
        case RecoveryAction.Applied:
            # The rename happened, but not the journal write after it. A crash right after this changes nothing.
            records.save_journal(context.config_state, journal.moved_to("applied"))
        case RecoveryAction.StillApplied:
            abort_rollback(context, journal.moved_to("applied"))
        case RecoveryAction.RolledBack:
            finish(context, journal, RestoreState.rolled_back)
        case RecoveryAction.Archive:
            finish(context, journal, journal.result.state)
        case RecoveryAction.Nothing:
            if journal.auto_commit and live == journal.result.restored_sha256:
                # Nobody else will commit a restore without a request id.
                finish(context, journal, RestoreState.committed)
            else:
                # Left by a rollback, or by a repeated apply, that was killed before its rename.
                replacer.discard(journal.staged_file)
        case RecoveryAction.Unknown:
            pass


def _record_admin_keys(context: OperationContext, journal: Journal, action: RecoveryAction) -> Journal:
    """Stores the admin keys of the journal if its rename happened and they are not stored yet.

    Without this a config that was damaged between the rename and its first read would bring the replaced key back.
    """
    if journal.admin_keys is None or action not in _RENAMED:
        return journal
    if action is not RecoveryAction.Unknown:
        record_admin_keys(context, journal.admin_keys)
        return journal
    if context.config.read_cached().summary is None:
        # The live config is neither of the two and not valid. Its keys are those of the last valid one: the renamed.
        record_admin_keys(context, journal.admin_keys)
    # Once only: later another valid config may be the last one. A crash right before this repeats the same.
    return records.save_journal(context.config_state, journal.model_copy(update={"admin_keys": None}))
