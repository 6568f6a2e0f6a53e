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
from gateway_api.gateway_config.live import Live, why_not_replaceable
from gateway_api.gateway_config.replace import wait_until_settled
from gateway_api.idempotency import request_digest
from gateway_api.operation_context import Context
from gateway_api.repository.reader import Source
from gateway_api.restores import records, safety_backup
from gateway_api.restores.journal import Journal, Replay, replay
from gateway_api.restores.source import refuse_new_issues, source_of
from gateway_api.restores.steps import _forget, _renamed_already, end, refuse_if_pending
from gateway_api.storage.layout import JOURNAL


@dataclass(frozen=True, slots=True)
class Wanted:
    """Another config in the live one's place: a restore's or a reset's. ``source`` finds, reads and judges it."""

    operation: Literal["restore", "reset"]
    request: RestoreRequest | ResetRequest
    allow_issues: bool
    source: Callable[[], Source]


def restore(context: Context, request: RestoreRequest) -> RestoreResult:
    """Restores what ``request`` names, once. Raises every code the contract gives this call."""
    wanted = Wanted("restore", request, request.allow_issues, lambda: source_of(context, request))
    return replace_config(context, wanted)


def replace_config(context: Context, wanted: Wanted) -> RestoreResult:
    """The whole transaction, once for each request id. Raises every code the contract gives a restore."""
    request = wanted.request
    request_id = request.request_id or f"r-{secrets.token_hex(16)}"
    body_sha256 = request_digest(wanted.operation, request)
    journal = _load(context, supersede=request.supersede)
    known = journal if journal is not None and journal.request_id == request_id else None
    if known is None and request.request_id is not None:
        known = records.find_ended(context.config_state, context.backup_state, request_id)
    again: Journal | None = None
    if known is not None:
        if known.request_sha256 != body_sha256:
            raise ApiError(ErrorCode.RequestIdReused)
        match replay(known, context.config.digest()):
            case Replay.Result:
                return known.result.model_copy(update={"replayed": True})
            case Replay.Unknown:
                raise ApiError(ErrorCode.RestoreStateUnknown)
            case Replay.Settle:
                return _settle(context, known)
            case Replay.Again:
                again = known
    if (why := why_not_replaceable(context.settings.config_file)) is not None:
        raise ApiError(ErrorCode.ConfigNotReplaceable, why)
    if again is None and not request.supersede:
        refuse_if_pending(journal)
    source = wanted.source()
    live = context.config.read()
    refuse_new_issues(source, live, allow_issues=wanted.allow_issues)
    if again is not None:
        return _apply(context, again, source, live, first=False)
    saved = safety_backup.save(context, live, request_id, request.safety_backup)
    if journal is not None:
        end(context, journal, RestoreState.committed)
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


def _load(context: Context, *, supersede: bool) -> Journal | None:
    try:
        return records.load_journal(context.config_state)
    except ApiError:
        if not supersede:
            raise
        context.slot.set_aside(JOURNAL, "kept-")
        return None


def _apply(context: Context, journal: Journal, source: Source, live: Live, *, first: bool) -> RestoreResult:
    """The durable steps. ``first`` is false when the gateway wrote over the restored config before it settled: then
    what was kept stays what it was."""
    slot = context.slot
    slot.stage(journal.staged, source.content, mode=journal.mode, gid=live.gid)
    try:
        if first:
            journal = records.save_journal(context.config_state, journal)
            if journal.had_config:
                slot.keep(journal.kept, content=live.content)
        elif journal.result.restored_sha256 != source.summary.sha256:
            # A reset that makes a new key each time it is applied.
            result = journal.result.model_copy(update={"restored_sha256": source.summary.sha256})
            journal = records.save_journal(context.config_state, journal.model_copy(update={"result": result}))
        slot.put(journal.staged)
    except ApiError as error:
        if error.code is not ErrorCode.DurabilityUnknown:
            _forget(context, journal, restore_too=first)
        raise
    with _renamed_already():
        journal = records.save_journal(context.config_state, journal.moved_to("applied"))
    return _settle(context, journal)


def _settle(context: Context, journal: Journal) -> RestoreResult:
    with _renamed_already():
        if wait_until_settled(context.config, context.settings.settle_seconds) != journal.result.restored_sha256:
            raise ApiError(
                ErrorCode.ConfigChangedDuringRestore,
                f"the gateway wrote its config over the one that restore {journal.request_id} had put there",
            )
        journal = records.save_journal(context.config_state, journal.model_copy(update={"settled": True}))
        if journal.bare:
            return end(context, journal, RestoreState.committed).result
        return journal.result
