"""Restore, reset, commit, rollback and recovery: the config is the old one or the new one, and the journal knows which.

Every function here runs with both locks held, in a thread. The order of the durable steps is the guarantee:
stage the new config, journal `prepared`, keep the previous one, rename, journal `applied`, let it settle.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from . import restore_records as records
from . import safety
from .config_file import Live, why_not_replaceable
from .config_slot import wait_until_settled
from .content import Content
from .context import Context
from .contract import ErrorCode, ResetRequest, RestoreRequest, RestoreResult, RestoreState
from .errors import ApiError, config_volume_error
from .idempotency import request_digest
from .journal import JOURNAL, Journal, Phase, Replay, Verdict, recover, replay
from .restore_source import Source, refuse_new_issues, source_of


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
    saved = safety.save(context, live, request_id, request.safety_backup)
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


def refuse_if_pending(journal: Journal | None) -> None:
    """Raises ``RestorePending`` for a restore that its caller has neither committed nor rolled back."""
    if journal is not None and not journal.bare and journal.phase not in ("committed", "rolled_back"):
        raise ApiError(ErrorCode.RestorePending, f"restore {journal.request_id} is neither committed nor rolled back")


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


@contextmanager
def _renamed_already() -> Iterator[None]:
    """After the rename no failure may say that nothing changed; recovery finds out what holds."""
    try:
        yield
    except ApiError as error:
        if error.code is ErrorCode.ConfigChangedDuringRestore:
            raise
        raise ApiError(ErrorCode.DurabilityUnknown) from None


def _forget(context: Context, journal: Journal, *, restore_too: bool) -> None:
    """Undoes what a restore began before its rename. What cannot be removed now is dropped by recovery."""
    try:
        if restore_too:
            context.config_state.remove(JOURNAL)
            context.slot.drop(journal.kept)
        context.slot.drop(journal.staged)
    except (OSError, ApiError):
        return


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


def end(context: Context, journal: Journal, state: RestoreState) -> Journal:
    """Writes down that the restore ended, keeps the record for ever, and gives up what was kept for a rollback.

    The journal itself is the point of no return, so an end needs no room on the backup volume.
    """
    phase: Phase = "committed" if state is RestoreState.committed else "rolled_back"
    if journal.phase != phase:
        ended = journal.moved_to(phase, finished=context.clock())
        journal = records.save_journal(context.config_state, ended)
    try:
        records.archive(context.config_state, context.backup_state, journal)
        context.config_state.remove(JOURNAL)
        context.slot.drop(journal.kept, journal.staged)
        but = journal.replaced if state is RestoreState.rolled_back else ""
        context.slot.drop_matching("replaced-", but=but)
    except OSError as error:
        raise config_volume_error(error) from None
    return journal


def _already(journal: Journal, wanted: RestoreState) -> RestoreResult:
    if journal.result.state is not wanted:
        raise ApiError(ErrorCode.RestoreEnded, f"the restore is {journal.result.state.value} already")
    return journal.result.model_copy(update={"replayed": True})


def commit(context: Context, request_id: str) -> RestoreResult:
    """The restored config stays; the kept one is given up. Raises ``RestoreNotFound``, ``RestoreEnded`` after a
    rollback, ``RestoreStateUnknown``."""
    journal = records.find(context.config_state, context.backup_state, request_id)
    if journal.phase in ("committed", "rolled_back"):
        return _already(journal, RestoreState.committed)
    if journal.phase != "applied":
        raise ApiError(ErrorCode.RestoreStateUnknown)
    return end(context, journal, RestoreState.committed).result


def rollback(context: Context, request_id: str, *, force: bool) -> RestoreResult:
    """Puts a fresh copy of the kept config back. Raises ``RestoreNotFound``, ``RestoreEnded`` after a commit,
    ``ConfigChanged`` unless ``force``, ``RestoreStateUnknown`` when the kept config is gone."""
    journal = records.find(context.config_state, context.backup_state, request_id)
    if journal.phase in ("committed", "rolled_back"):
        return _already(journal, RestoreState.rolled_back)
    if journal.phase == "prepared" and not force:
        raise ApiError(ErrorCode.RestoreStateUnknown)
    if (why := why_not_replaceable(context.settings.config_file)) is not None:
        raise ApiError(ErrorCode.ConfigNotReplaceable, why)
    live = context.config.digest()
    if live != journal.result.restored_sha256 and not force:
        raise ApiError(ErrorCode.ConfigChanged)
    slot, state = context.slot, context.config_state
    kept: Content | None = None
    if journal.had_config:
        kept = slot.read(journal.kept)
        if kept is None:
            raise ApiError(ErrorCode.RestoreStateUnknown, "the kept previous config is gone")
        slot.stage(journal.staged, kept, mode=journal.mode, gid=None)
    try:
        rolling = records.save_journal(state, journal.moved_to("rolling_back"))
        if kept is None:
            slot.take_away(journal.replaced)
        else:
            if slot.has_config:
                slot.keep(journal.replaced, content=None)
            slot.put(journal.staged)
    except ApiError as error:
        if error.code is not ErrorCode.DurabilityUnknown:
            _unroll(context, journal)
        raise
    with _renamed_already():
        if kept is not None:
            _settle_rollback(context, journal, kept)
        return end(context, rolling, RestoreState.rolled_back).result


def _unroll(context: Context, journal: Journal) -> None:
    try:
        records.save_journal(context.config_state, journal)
        context.slot.drop(journal.staged, journal.replaced)
    except (OSError, ApiError):
        return


def _settle_rollback(context: Context, journal: Journal, kept: Content) -> None:
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
