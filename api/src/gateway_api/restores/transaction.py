"""The transaction that replaces the config, for restores and resets.

Every function here runs in a thread with the locks of both volumes held. This module checks the request, answers a
repeated one from its record, and makes the safety backup. `apply.py` carries out the durable steps. The caller then
commits or rolls back (`finish.py`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gateway_api.contract import ErrorCode, ResetRequest, RestoreRequest, RestoreResult, RestoreState, SafetyBackup
from gateway_api.errors import ApiError, config_volume_error
from gateway_api.gateway_config.config_path import replace_problem
from gateway_api.idempotency import request_digest
from gateway_api.operation_context import OperationContext
from gateway_api.repository.reader import StoredFile
from gateway_api.restores import records
from gateway_api.restores.apply import apply, confirm, reapply, with_previous
from gateway_api.restores.journal import Journal, ReplayAction, replay_action
from gateway_api.restores.previous import require_room
from gateway_api.restores.source import refuse_new_issues, require_same_source, restore_source
from gateway_api.restores.steps import finish, refuse_if_pending
from gateway_api.storage.access import FileAccess
from gateway_api.storage.layout import JOURNAL_FILE, LAST_KEY_FILE


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
    journal = _load_journal(context, supersede=request.supersede)
    existing = journal if journal is not None and journal.request_id == request_id else None
    if existing is None and request.request_id is not None:
        existing = records.find_finished(
            context.config_state, context.backup_state, request_id, volume_has_records=context.volume_has_records
        )
    if existing is not None:
        if existing.request_sha256 != request_digest(replacement.operation, request):
            raise ApiError(ErrorCode.RequestIdReused)
        return _repeat(context, replacement, existing)
    _require_replaceable(context)
    if not request.supersede:
        refuse_if_pending(journal)
    source = replacement.source()
    live = context.config.read()
    refuse_new_issues(source, live, allow_issues=replacement.allow_issues)
    require_room(context)
    prepared = _new_journal(context, replacement, request_id, source, journal)
    # The safety backup comes before every change. A crash right after it leaves one more backup and the same config.
    prepared = with_previous(context, prepared, live, request.safety_backup)
    if journal is not None:
        # There is one journal, so the previous restore ends before the next one begins. All checks have passed by now.
        # A crash right after this: the previous restore is committed and the new one has not begun.
        finish(context, journal, RestoreState.committed)
    return apply(context, prepared, source, request.safety_backup)


def _new_journal(
    context: OperationContext,
    replacement: ReplaceRequest,
    request_id: str,
    source: StoredFile,
    superseded: Journal | None,
) -> Journal:
    """The journal of a restore that has changed nothing yet. It does not describe the previous config."""
    request = replacement.request
    result = RestoreResult(
        request_id=request_id,
        operation=replacement.operation,
        state=RestoreState.prepared,
        source_path=source.path,
        source_backup_id=source.backup_id,
        restored_sha256=source.summary.sha256,
        sections_digest=source.sections_digest,
        counts=source.summary.counts,
        issues=list(source.summary.issues),
        safety_backup=SafetyBackup(kind="missing"),
        signature=source.signature,
        started=context.clock(),
    )
    return Journal(
        request_sha256=request_digest(replacement.operation, request),
        auto_commit=request.request_id is None,
        phase="prepared",
        had_config=False,
        access=FileAccess(),
        admin_keys=source.summary.admin_key_digests,
        source_sha256=source.stored_sha256,
        # A restore without a request id ends itself, so a replaced key stops working at once.
        previous_keys=() if request.request_id is None else _accepted_keys(context, superseded),
        result=result,
    )


def _accepted_keys(context: OperationContext, superseded: Journal | None) -> tuple[str, ...]:
    """The digests of the keys that the caller may have: those of the live or last valid config.

    Also those before a restore that this one supersedes. Raises the error of a failing config volume.
    """
    try:
        recorded = (context.config_state.read(LAST_KEY_FILE) or b"").decode("ascii", "replace").split()
    except OSError as error:
        raise config_volume_error(error) from None
    return tuple(dict.fromkeys((*recorded, *(superseded.previous_keys if superseded is not None else ()))))


def _require_replaceable(context: OperationContext) -> None:
    if (problem := replace_problem(context.settings.config_file)) is not None:
        raise ApiError(ErrorCode.ConfigNotReplaceable, problem)


def _repeat(context: OperationContext, replacement: ReplaceRequest, existing: Journal) -> RestoreResult:
    """The answer to a request whose id was used before with the same body."""
    action = replay_action(existing, context.config_replacer.live_digest())
    if action is ReplayAction.Unknown:
        raise ApiError(ErrorCode.RestoreStateUnknown)
    request = replacement.request
    if isinstance(request, RestoreRequest):
        # Otherwise the answer would be about a file that the caller no longer means.
        require_same_source(context, request, existing)
    if action is ReplayAction.Result:
        return existing.result.model_copy(update={"replayed": True})
    if action is ReplayAction.WaitUntilStable:
        return confirm(context, existing, request.safety_backup)
    _require_replaceable(context)
    source = replacement.source()
    if isinstance(request, RestoreRequest) and source.summary.sha256 != existing.result.restored_sha256:
        raise ApiError(ErrorCode.DigestMismatch)
    refuse_new_issues(source, context.config.read(), allow_issues=replacement.allow_issues)
    return reapply(context, existing, source, request.safety_backup)


def _load_journal(context: OperationContext, *, supersede: bool) -> Journal | None:
    """The journal, or None. With ``supersede`` a damaged one is renamed and left for a person."""
    try:
        return records.load_journal(context.config_state)
    except ApiError:
        if not supersede:
            raise
        # The previous configs stay. From now on no journal needs them, so recovery backs them up.
        context.config_replacer.quarantine(JOURNAL_FILE)
        return None
