"""Ends a restore: commit keeps the restored config, rollback puts the previous config back.

A rollback is a second replacement of the config with its own crash points. Its order is: stage a copy of the kept
config, journal `rolling_back`, keep the restored config, rename, wait until the gateway leaves the file alone,
journal `rolled_back`.
"""

from __future__ import annotations

from gateway_api.contract import ErrorCode, RestoreResult, RestoreState
from gateway_api.errors import ApiError
from gateway_api.gateway_config.live import replace_problem
from gateway_api.gateway_config.replace import wait_until_settled
from gateway_api.operation_context import OperationContext
from gateway_api.restores import records
from gateway_api.restores.journal import Journal
from gateway_api.restores.steps import abort_rollback, after_rename, finish
from gateway_api.storage.content import Blob


def _replay_finished(journal: Journal, requested: RestoreState) -> RestoreResult:
    if journal.result.state is not requested:
        raise ApiError(ErrorCode.RestoreEnded, f"the restore is {journal.result.state.value} already")
    return journal.result.model_copy(update={"replayed": True})


def commit(context: OperationContext, request_id: str) -> RestoreResult:
    """Keeps the restored config and deletes the kept previous one.

    Raises ``RestoreNotFound``, ``RestoreEnded`` after a rollback, ``RestoreStateUnknown``.
    """
    journal = records.find(context.config_state, context.backup_state, request_id)
    if journal.phase in ("committed", "rolled_back"):
        return _replay_finished(journal, RestoreState.committed)
    if journal.phase != "applied":
        raise ApiError(ErrorCode.RestoreStateUnknown)
    return finish(context, journal, RestoreState.committed).result


def rollback(context: OperationContext, request_id: str, *, force: bool) -> RestoreResult:
    """Makes a copy of the kept config the live one, or removes the config if there was none before the restore.

    Raises ``RestoreNotFound``, ``RestoreEnded`` after a commit, ``ConfigChanged`` unless ``force``,
    ``RestoreStateUnknown`` when the kept config is missing.
    """
    journal = records.find(context.config_state, context.backup_state, request_id)
    if journal.phase in ("committed", "rolled_back"):
        return _replay_finished(journal, RestoreState.rolled_back)
    if journal.phase == "prepared" and not force:
        raise ApiError(ErrorCode.RestoreStateUnknown)
    if (problem := replace_problem(context.settings.config_file)) is not None:
        raise ApiError(ErrorCode.ConfigNotReplaceable, problem)
    live = context.config.digest()
    if live != journal.result.restored_sha256 and not force:
        raise ApiError(ErrorCode.ConfigChanged)
    replacer = context.config_replacer
    kept: Blob | None = None
    if journal.had_config:
        kept = replacer.read(journal.kept_file)
        if kept is None:
            raise ApiError(ErrorCode.RestoreStateUnknown, "the kept previous config is missing")
        # A copy is staged, so that the kept file still exists if the gateway overwrites the rolled-back config.
        # A crash right after this leaves the staged file beside an `applied` journal; recovery removes it.
        replacer.stage(journal.staged_file, kept, mode=journal.mode, gid=None)
    try:
        # A crash right after this: the staged file (or the live config) still exists, so recovery undoes the rollback.
        rolling = records.save_journal(context.config_state, journal.moved_to("rolling_back"))
        if kept is None:
            # The rename that removes the config. After a crash right after this there is no config and the replaced
            # file exists, so recovery completes the rollback.
            replacer.remove_live(journal.replaced_file)
        else:
            if replacer.has_config:
                # Hard link to the restored config. A crash right after this: the staged file still exists, so
                # recovery undoes the rollback and removes the link.
                replacer.keep_previous(journal.replaced_file, content=None)
            # The rename. After a crash right after this the staged file is absent, so recovery completes the rollback.
            replacer.activate(journal.staged_file)
    except ApiError as error:
        # The rename may have happened if only its durability is unknown: then recovery decides.
        if error.code is not ErrorCode.DurabilityUnknown:
            abort_rollback(context, journal)
        raise
    with after_rename():
        if kept is not None:
            _settle_rollback(context, journal, kept)
        # From here the rollback has succeeded. `finish` documents what a crash after each of its steps means.
        return finish(context, rolling, RestoreState.rolled_back).result


def _settle_rollback(context: OperationContext, journal: Journal, kept: Blob) -> None:
    """Waits until the gateway leaves the rolled-back config alone; raises ``ConfigChangedDuringRestore`` if not."""
    try:
        # The kept config may exceed the size limit: that may be the reason why it was replaced.
        settle = context.settings.settle_seconds
        unchanged = wait_until_settled(context.config, settle, at_least=kept.size) == kept.sha256
    except ApiError as error:
        if error.code is not ErrorCode.ConfigChangedDuringRestore:
            raise
        unchanged = False
    if not unchanged:
        # The restore counts as applied again, so that the caller can repeat the rollback.
        # A crash right before this: recovery completes the rollback. Right after this: nothing is left to do.
        records.save_journal(context.config_state, journal.model_copy(update={"phase": "applied"}))
        raise ApiError(ErrorCode.ConfigChangedDuringRestore, "the gateway wrote its config over the rolled-back one")
