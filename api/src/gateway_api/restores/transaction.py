"""The transaction that replaces the config, for restores and resets.

Every function here runs in a thread with the locks of both volumes held. After a crash at any point the config is
either the old one or the new one, and the journal tells recovery which. The order of the durable steps guarantees
this: stage the new config, journal `prepared`, keep the previous config, rename, journal `applied`, wait until the
gateway leaves the file alone, journal `settled`. The caller then commits or rolls back (`finish.py`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gateway_api.contract import ErrorCode, ResetRequest, RestoreRequest, RestoreResult, RestoreState
from gateway_api.errors import ApiError
from gateway_api.gateway_config.live import ConfigRead, replace_problem
from gateway_api.gateway_config.replace import wait_until_settled
from gateway_api.idempotency import request_digest
from gateway_api.operation_context import OperationContext
from gateway_api.repository.reader import StoredFile
from gateway_api.restores import records, safety_backup
from gateway_api.restores.journal import Journal, ReplayAction, replay_action
from gateway_api.restores.source import refuse_new_issues, restore_source
from gateway_api.restores.steps import abort, after_rename, finish, refuse_if_pending
from gateway_api.storage.layout import JOURNAL_FILE, KEPT_CONFIG_PREFIX


@dataclass(frozen=True, slots=True)
class ReplaceRequest:
    """A request to replace the live config. ``source`` reads and validates the new config when it is called."""

    operation: Literal["restore", "reset"]
    request: RestoreRequest | ResetRequest
    allow_issues: bool
    source: Callable[[], StoredFile]


def restore(context: OperationContext, request: RestoreRequest) -> RestoreResult:
    """Restores the requested backup, once for each request id. Raises every error the contract lists for a restore."""
    replacement = ReplaceRequest("restore", request, request.allow_issues, lambda: restore_source(context, request))
    return replace_config(context, replacement)


def replace_config(context: OperationContext, replacement: ReplaceRequest) -> RestoreResult:
    """Runs the whole transaction, once for each request id. Raises every error the contract lists for a restore."""
    request = replacement.request
    request_id = request.request_id or f"r-{secrets.token_hex(16)}"
    body_sha256 = request_digest(replacement.operation, request)
    journal = _load_journal(context, supersede=request.supersede)
    existing = journal if journal is not None and journal.request_id == request_id else None
    if existing is None and request.request_id is not None:
        existing = records.find_finished(context.config_state, context.backup_state, request_id)
    reapply: Journal | None = None
    if existing is not None:
        if existing.request_sha256 != body_sha256:
            raise ApiError(ErrorCode.RequestIdReused)
        match replay_action(existing, context.config.digest()):
            case ReplayAction.Result:
                return existing.result.model_copy(update={"replayed": True})
            case ReplayAction.Unknown:
                raise ApiError(ErrorCode.RestoreStateUnknown)
            case ReplayAction.WaitUntilStable:
                return _wait_until_stable(context, existing)
            case ReplayAction.Reapply:
                reapply = existing
    if (problem := replace_problem(context.settings.config_file)) is not None:
        raise ApiError(ErrorCode.ConfigNotReplaceable, problem)
    if reapply is None and not request.supersede:
        refuse_if_pending(journal)
    source = replacement.source()
    live = context.config.read()
    refuse_new_issues(source, live, allow_issues=replacement.allow_issues)
    if reapply is not None:
        return _apply(context, reapply, source, live, is_first_attempt=False)
    # The safety backup comes before every change. A crash right after it leaves one more backup and the same config.
    saved = safety_backup.create_safety_backup(context, live, request_id, request.safety_backup)
    if journal is not None:
        # There is one journal, so the previous restore ends before the next one begins. All checks have passed by now.
        # A crash right after this: the previous restore is committed and the new one has not begun.
        finish(context, journal, RestoreState.committed)
    result = RestoreResult(
        request_id=request_id,
        operation=replacement.operation,
        state=RestoreState.prepared,
        source_path=source.path,
        source_backup_id=source.backup_id,
        previous_sha256=live.sha256,
        restored_sha256=source.summary.sha256,
        sections_digest=source.sections_digest,
        counts=source.summary.counts,
        issues=list(source.summary.issues),
        safety_backup=saved,
        signature=source.signature,
        started=context.clock(),
    )
    prepared = Journal(
        request_sha256=body_sha256,
        auto_commit=request.request_id is None,
        phase="prepared",
        had_config=live.kind != "missing",
        mode=live.mode & 0o770,
        result=result,
    )
    return _apply(context, prepared, source, live, is_first_attempt=True)


def _load_journal(context: OperationContext, *, supersede: bool) -> Journal | None:
    """The journal, or None. With ``supersede`` a damaged one and its kept configs are renamed and left for a person."""
    try:
        return records.load_journal(context.config_state)
    except ApiError:
        if not supersede:
            raise
        # Renames each file. A crash between two renames leaves files that recovery treats as before: either the
        # journal is still damaged, or the remaining `kept-` files have no journal and recovery removes them.
        context.config_replacer.quarantine(JOURNAL_FILE, KEPT_CONFIG_PREFIX)
        return None


def _apply(
    context: OperationContext, journal: Journal, source: StoredFile, live: ConfigRead, *, is_first_attempt: bool
) -> RestoreResult:
    """Carries out the durable steps.

    ``is_first_attempt`` is false when the gateway overwrote the restored config before it had settled. The journal is
    then `applied` already, and the config that was kept at the first attempt stays the one for a rollback.
    """
    replacer = context.config_replacer
    # Staged before the journal mentions it. A crash right after this: recovery removes the staged file.
    replacer.stage(journal.staged_file, source.content, mode=journal.mode, gid=live.gid)
    try:
        if is_first_attempt:
            # A crash right after this: the staged file exists, so the rename has not happened. Recovery undoes all.
            journal = records.save_journal(context.config_state, journal)
            if journal.had_config:
                # Before the rename, because afterwards the previous config has no name. A crash right after this is
                # the same as before it: recovery removes the kept file as well.
                replacer.keep_previous(journal.kept_file, content=live.content)
        elif journal.result.restored_sha256 != source.summary.sha256:
            # A reset that rotates the admin key generates another one at each attempt. The digest must be recorded
            # before the rename: recovery compares it with the live config. A crash right after this: the phase is
            # `applied` and the config differs, so a repeated request applies again.
            result = journal.result.model_copy(update={"restored_sha256": source.summary.sha256})
            journal = records.save_journal(context.config_state, journal.model_copy(update={"result": result}))
        # The rename, which makes the staged file the config. A crash right after this: the staged file is absent and
        # the digest of the config is the restored one, so recovery records `applied`.
        replacer.activate(journal.staged_file)
    except ApiError as error:
        # The rename may have happened if only its durability is unknown: then recovery decides.
        if error.code is not ErrorCode.DurabilityUnknown:
            abort(context, journal, drop_journal=is_first_attempt)
        raise
    with after_rename():
        # A crash right after this: a repeated request waits until the config has settled. A restore without a
        # request id is committed by recovery.
        journal = records.save_journal(context.config_state, journal.moved_to("applied"))
    return _wait_until_stable(context, journal)


def _wait_until_stable(context: OperationContext, journal: Journal) -> RestoreResult:
    """Waits until the gateway leaves the restored config alone; raises ``ConfigChangedDuringRestore`` if not."""
    with after_rename():
        if wait_until_settled(context.config, context.settings.settle_seconds) != journal.result.restored_sha256:
            raise ApiError(
                ErrorCode.ConfigChangedDuringRestore,
                f"the gateway overwrote the config that restore {journal.request_id} had applied",
            )
        # A crash right after this: a repeated request gets the stored result.
        journal = records.save_journal(context.config_state, journal.model_copy(update={"settled": True}))
        if journal.auto_commit:
            return finish(context, journal, RestoreState.committed).result
        return journal.result
