"""Restore, reset, commit, rollback and recovery: the config is the old one or the new one, and the journal knows which.

Every function here runs with both locks held, in a thread. The order of the durable steps is the guarantee:
stage the new config, journal `prepared`, keep the previous one, rename, journal `applied`, let it settle.
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
from gateway_api.restores.steps import _abort, _after_rename, finish, refuse_if_pending
from gateway_api.storage.layout import JOURNAL_FILE, KEPT_CONFIG_PREFIX


@dataclass(frozen=True, slots=True)
class ReplaceRequest:
    """Another config in the live one's place: a restore's or a reset's. ``source`` finds, reads and judges it."""

    operation: Literal["restore", "reset"]
    request: RestoreRequest | ResetRequest
    allow_issues: bool
    source: Callable[[], StoredFile]


def restore(context: OperationContext, request: RestoreRequest) -> RestoreResult:
    """Restores what ``request`` names, once. Raises every code the contract gives this call."""
    wanted = ReplaceRequest("restore", request, request.allow_issues, lambda: restore_source(context, request))
    return replace_config(context, wanted)


def replace_config(context: OperationContext, wanted: ReplaceRequest) -> RestoreResult:
    """The whole transaction, once for each request id. Raises every code the contract gives a restore."""
    request = wanted.request
    request_id = request.request_id or f"r-{secrets.token_hex(16)}"
    body_sha256 = request_digest(wanted.operation, request)
    journal = _load(context, supersede=request.supersede)
    known = journal if journal is not None and journal.request_id == request_id else None
    if known is None and request.request_id is not None:
        known = records.find_finished(context.config_state, context.backup_state, request_id)
    again: Journal | None = None
    if known is not None:
        if known.request_sha256 != body_sha256:
            raise ApiError(ErrorCode.RequestIdReused)
        match replay_action(known, context.config.digest()):
            case ReplayAction.Result:
                return known.result.model_copy(update={"replayed": True})
            case ReplayAction.Unknown:
                raise ApiError(ErrorCode.RestoreStateUnknown)
            case ReplayAction.WaitUntilStable:
                return _wait_until_stable(context, known)
            case ReplayAction.Reapply:
                again = known
    if (why := replace_problem(context.settings.config_file)) is not None:
        raise ApiError(ErrorCode.ConfigNotReplaceable, why)
    if again is None and not request.supersede:
        refuse_if_pending(journal)
    source = wanted.source()
    live = context.config.read()
    refuse_new_issues(source, live, allow_issues=wanted.allow_issues)
    if again is not None:
        return _apply(context, again, source, live, first=False)
    saved = safety_backup.create_safety_backup(context, live, request_id, request.safety_backup)
    if journal is not None:
        finish(context, journal, RestoreState.committed)
    result = RestoreResult(
        request_id=request_id,
        operation=wanted.operation,
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
    fresh = Journal(
        request_sha256=body_sha256,
        bare=request.request_id is None,
        phase="prepared",
        had_config=live.kind != "missing",
        mode=live.mode & 0o770,
        result=result,
    )
    return _apply(context, fresh, source, live, first=True)


def _load(context: OperationContext, *, supersede: bool) -> Journal | None:
    try:
        return records.load_journal(context.config_state)
    except ApiError:
        if not supersede:
            raise
        context.slot.quarantine(JOURNAL_FILE, KEPT_CONFIG_PREFIX)
        return None


def _apply(
    context: OperationContext, journal: Journal, source: StoredFile, live: ConfigRead, *, first: bool
) -> RestoreResult:
    """The durable steps. ``first`` is false when the gateway wrote over the restored config before it settled: then
    what was kept stays what it was."""
    slot = context.slot
    slot.stage(journal.staged, source.content, mode=journal.mode, gid=live.gid)
    try:
        if first:
            journal = records.save_journal(context.config_state, journal)
            if journal.had_config:
                slot.keep_previous(journal.kept, content=live.content)
        elif journal.result.restored_sha256 != source.summary.sha256:
            # A reset that makes a new key each time it is applied.
            result = journal.result.model_copy(update={"restored_sha256": source.summary.sha256})
            journal = records.save_journal(context.config_state, journal.model_copy(update={"result": result}))
        slot.activate(journal.staged)
    except ApiError as error:
        if error.code is not ErrorCode.DurabilityUnknown:
            _abort(context, journal, restore_too=first)
        raise
    with _after_rename():
        journal = records.save_journal(context.config_state, journal.moved_to("applied"))
    return _wait_until_stable(context, journal)


def _wait_until_stable(context: OperationContext, journal: Journal) -> RestoreResult:
    with _after_rename():
        if wait_until_settled(context.config, context.settings.settle_seconds) != journal.result.restored_sha256:
            raise ApiError(
                ErrorCode.ConfigChangedDuringRestore,
                f"the gateway wrote its config over the one that restore {journal.request_id} had put there",
            )
        journal = records.save_journal(context.config_state, journal.model_copy(update={"settled": True}))
        if journal.bare:
            return finish(context, journal, RestoreState.committed).result
        return journal.result
