"""Ends a restore: commit keeps the restored config, rollback puts the previous config back.

A rollback is a second replacement of the config with its own crash points. Its order is:
1. Check the kept config and stage a copy of it. Journal `rolling_back`.
2. Keep the restored config and rename the staged file. Store the digests of its admin keys.
3. Wait until the gateway leaves the file alone. Journal `rolled_back`.
"""

from __future__ import annotations

from typing import Final

from gateway_api.contract import ErrorCode, RestoreResult, RestoreState
from gateway_api.errors import ApiError
from gateway_api.gateway_config.config_path import replace_problem
from gateway_api.gateway_config.schema import InvalidConfig
from gateway_api.operation_context import OperationContext
from gateway_api.restores import records
from gateway_api.restores.copies import prove_copy, read_copy
from gateway_api.restores.journal import Journal
from gateway_api.restores.previous import require_room
from gateway_api.restores.steps import abort_rollback, after_rename, finish, record_admin_keys
from gateway_api.storage.content import Blob

ATTEMPTS: Final = 3
"""How often a rollback keeps the replaced config before it gives up."""


def _replay_finished(journal: Journal, requested: RestoreState) -> RestoreResult:
    if journal.result.state is not requested:
        raise ApiError(ErrorCode.RestoreEnded, f"the restore is {journal.result.state.value} already")
    return journal.result.model_copy(update={"replayed": True})


def commit(context: OperationContext, request_id: str) -> RestoreResult:
    """Keeps the restored config. The kept previous one is removed if a backup holds it.

    Raises ``RestoreNotFound``, ``RestoreEnded`` after a rollback, ``RestoreStateUnknown``.
    """
    journal = records.find(context.config_state, context.backup_state, request_id)
    if journal.phase in ("committed", "rolled_back"):
        return _replay_finished(journal, RestoreState.committed)
    if journal.phase != "applied":
        raise ApiError(ErrorCode.RestoreStateUnknown)
    return finish(context, journal, RestoreState.committed).result


def rollback(context: OperationContext, request_id: str, *, force: bool) -> RestoreResult:
    """Makes a copy of the previous config the live one, or removes the config if there was none before the restore.

    Raises ``RestoreNotFound``, ``RestoreEnded`` after a commit, ``RollbackImpossible`` without an intact copy. Unless
    ``force``, raises ``RestoreStateUnknown``, and ``ConfigChanged`` if the live config is not what the restore wrote.
    """
    journal = records.find(context.config_state, context.backup_state, request_id)
    if journal.phase in ("committed", "rolled_back"):
        return _replay_finished(journal, RestoreState.rolled_back)
    if journal.phase == "prepared" and not force:
        raise ApiError(ErrorCode.RestoreStateUnknown)
    if (problem := replace_problem(context.settings.config_file)) is not None:
        raise ApiError(ErrorCode.ConfigNotReplaceable, problem)
    changed = context.config_replacer.live_digest() != journal.result.restored_sha256
    if changed and not force and not _has_restored_sections(context, journal):
        raise ApiError(ErrorCode.ConfigChanged)
    previous = _intact_previous(context, journal) if journal.had_config else None
    if changed and previous is None:
        # Only then one more file stays: otherwise the kept config is live again and its file is removed.
        require_room(context)
    return _replace(context, journal.model_copy(update={"rolled_back_at": context.clock()}), previous)


def _has_restored_sections(context: OperationContext, journal: Journal) -> bool:
    """Whether the gateway has only formatted the restored config in another way."""
    summary = context.config.read_cached(sections=True).summary
    return summary is not None and summary.sections_digest == journal.result.sections_digest


def _intact_previous(context: OperationContext, journal: Journal) -> Blob:
    """The previous config, from the kept file or from its safety backup. Raises ``RollbackImpossible``."""
    expected = journal.result.previous_sha256
    kept = context.config_replacer.read(journal.kept_file)
    # The kept file may be the gateway's own open file, and a write to it may have been cut short.
    if kept is not None and kept.sha256 == expected:
        return kept
    copy = prove_copy(context, journal.copy_of_previous, expected)
    content = None if copy is None else read_copy(context, copy)
    if content is not None and content.sha256 == expected:
        return content
    if copy is None:
        raise ApiError(ErrorCode.RollbackImpossible)
    raise ApiError(
        ErrorCode.RollbackImpossible,
        f"the kept config is damaged and its backup {copy.path} is encrypted; nothing was changed. "
        "Restore that backup with your age identity",
    )


def _replace(context: OperationContext, journal: Journal, previous: Blob | None) -> RestoreResult:
    """The durable steps of a rollback. ``previous`` is None if there was no config before the restore."""
    replacer = context.config_replacer
    keys = None if previous is None else _admin_keys(context, previous)
    if previous is not None:
        # A copy is staged, so that the kept file still exists if the gateway overwrites the rolled-back config.
        # A crash right after this leaves the staged file beside an `applied` journal; recovery removes it.
        replacer.stage(journal.staged_file, previous, journal.access)
    try:
        # A crash right after this: the staged file (or the live config) still exists, so recovery undoes the rollback.
        rolling = journal.moved_to("rolling_back").model_copy(update={"admin_keys": keys})
        records.save_journal(context.config_state, rolling)
        if previous is None:
            # The rename that removes the config. After a crash right after this there is no config and the replaced
            # file exists, so recovery completes the rollback.
            replacer.remove_live(journal.replaced_file)
        else:
            # Hard link to the replaced config, which the gateway may have changed. A crash right after this: the
            # staged file still exists, so recovery undoes the rollback and removes the link.
            _keep_replaced(context, journal)
            # The rename. After a crash right after this the staged file is absent and the config is the previous one,
            # so recovery completes the rollback.
            replacer.activate(journal.staged_file)
    except ApiError as error:
        # The rename may have happened if only its durability is unknown: then recovery decides.
        if error.code is not ErrorCode.DurabilityUnknown:
            abort_rollback(context, journal)
        raise
    with after_rename():
        # A crash right before or after this: recovery stores the keys of the journal.
        record_admin_keys(context, keys)
        if previous is not None:
            _settle_rollback(context, journal, previous)
        # From here the rollback has succeeded. `finish` documents what a crash after each of its steps means.
        return finish(context, rolling, RestoreState.rolled_back).result


def _admin_keys(context: OperationContext, config: Blob) -> tuple[str, ...] | None:
    """The digests of the admin keys of a config, None if it is not valid or cannot be parsed now."""
    try:
        return context.config.parser.summarize(config, sections=False).admin_key_digests
    except (InvalidConfig, ApiError, OSError):
        return None


def _keep_replaced(context: OperationContext, journal: Journal) -> None:
    """Keeps the live config, also if the gateway replaces it meanwhile. Raises ``ConfigUnstable``."""
    replacer = context.config_replacer
    for _ in range(ATTEMPTS):
        replacer.keep_previous(journal.replaced_file)
        if not replacer.has_config or replacer.is_live(journal.replaced_file):
            return
    raise ApiError(ErrorCode.ConfigUnstable)


def _settle_rollback(context: OperationContext, journal: Journal, previous: Blob) -> None:
    """Waits until the gateway leaves the rolled-back config alone; raises ``ConfigChangedDuringRestore`` if not."""
    try:
        settled = context.config_replacer.wait_until_settled(context.settings.settle_seconds)
        unchanged = settled == previous.sha256
    except ApiError as error:
        if error.code is not ErrorCode.ConfigChangedDuringRestore:
            raise
        unchanged = False
    if not unchanged:
        # The restore counts as applied again, so that the caller can repeat the rollback.
        # A crash right before this: recovery reports an unknown state. Right after this: nothing is left to do.
        records.save_journal(context.config_state, journal.moved_to("applied"))
        raise ApiError(ErrorCode.ConfigChangedDuringRestore, "the gateway wrote its config over the rolled-back one")
