"""The commands ``kubectl gateway restore commit`` and ``restore rollback``: they set ``spec.end`` and can wait.

The request is judged here first, so that the person has an answer at once. The operator judges it again.
"""

from __future__ import annotations

import argparse
from typing import Final

from gateway_operator.cli.session import FailedError, Session, confirm
from gateway_operator.cli.wait import ObjectWaiter
from gateway_operator.domain.model.names import RESTORE_KIND
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.commands import COMMIT, ROLLBACK, ways_on
from gateway_operator.domain.restore.status import TERMINAL_RESTORE_PHASES, is_open, is_terminal

_RESULTS: Final = {COMMIT: "committed", ROLLBACK: "rolled back"}
PHASES: Final = {COMMIT: "Completed", ROLLBACK: "RolledBack"}
"""The phase of a restore that has ended as requested."""
_BEFORE_THE_CALL: Final = ("", "Pending", "Validating", "SafetyBackup")


async def commit(session: Session, arguments: argparse.Namespace) -> None:
    """``restore commit``: keeps the restored config."""
    await _end(session, arguments, COMMIT)


async def rollback(session: Session, arguments: argparse.Namespace) -> None:
    """``restore rollback``: puts the previous config back."""
    await _end(session, arguments, ROLLBACK)


async def _end(session: Session, arguments: argparse.Namespace, action: str) -> None:
    body = await session.get(RESTORE_KIND, arguments.name)
    restore = Restore.parse(body)
    if not has_ended_so(restore, action):
        if problem := end_problem(restore, action):
            raise FailedError(problem)
        if not restore.end:
            session.print_target()
            if not arguments.yes:
                confirm(question(restore, action), "It changes which config is live.")
            body = await session.patch(RESTORE_KIND, arguments.name, {"spec": {"end": action}})
        if not arguments.wait:
            session.print_object(RESTORE_KIND, body, f"{action.lower()} requested")
            return
        body = await _wait(session, arguments.name, action, arguments.timeout)
    session.print_object(RESTORE_KIND, body, _RESULTS[action])


async def _wait(session: Session, name: str, action: str, seconds: float) -> Json:
    body = await _EndWaiter(session, RESTORE_KIND, name, seconds).wait()
    restore = Restore.parse(body)
    if not has_ended_so(restore, action):
        raise FailedError(f"GatewayRestore {name} is {restore.phase} ({restore.reason}): {restore.message}")
    return body


class _EndWaiter(ObjectWaiter):
    """Waits until the operator has carried out the end: a restore that was left open is Finished from the beginning."""

    def _is_finished(self, body: Json) -> bool:
        return super()._is_finished(body) and is_terminal(Restore.parse(body))


def has_ended_so(restore: Restore, action: str) -> bool:
    """Whether the restore has the requested end. A restore that is rolled back before it changed anything is Failed."""
    return restore.phase == PHASES[action] or (restore.phase == "Failed" and restore.reason == "RollbackRequested")


def end_problem(restore: Restore, action: str) -> str:
    """Why the restore cannot be ended so; empty if it can."""
    name, phase = f"GatewayRestore {restore.meta.ref.name}", restore.phase or "Pending"
    if restore.mode != "Apply":
        return f"{name} has the mode {restore.mode}: it changes no config."
    if restore.end and (restore.end != action or (is_open(restore) and is_terminal(restore))):
        return f"{name} has spec.end {restore.end} already. {restore.message} {ways_on(restore)}"
    if restore.phase == "Completed":
        return f"{name} is committed and can no longer be rolled back. {_undo(restore)}"
    if restore.phase == "RolledBack":
        return f"{name} is rolled back and can no longer be committed. To restore again, use another name."
    if restore.phase in TERMINAL_RESTORE_PHASES and not is_open(restore):
        return f"{name} is {phase} ({restore.reason}): it changed nothing."
    if action == COMMIT and (restore.phase in _BEFORE_THE_CALL or restore.phase == "Restoring"):
        return f"{name} is {phase}: it has not replaced the config yet, so there is nothing to commit."
    return ""


def _undo(restore: Restore) -> str:
    backup = (restore.status.get("safetyBackup") or {}).get("backupName")
    return f"To undo it, restore its safety backup {backup}." if backup else "To undo it, restore an earlier backup."


def question(restore: Restore, action: str) -> str:
    """The question before the request, with its effect."""
    name, gateway = restore.meta.ref.name, restore.gateway
    if action == COMMIT:
        return f"Commit {name}: keep the live config of {gateway}? It can then no longer be rolled back."
    if restore.phase in _BEFORE_THE_CALL:
        return f"Stop {name} before it changes the config of {gateway}?"
    return (
        f"Roll {name} back: put the previous config of {gateway} back? Changes since the restore are then no longer "
        "live; the gateway keeps them in a backup."
    )
