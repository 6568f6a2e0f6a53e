"""The commands ``kubectl gateway restore commit`` and ``restore rollback``: they set ``spec.end`` and can wait."""

from __future__ import annotations

import argparse
from typing import Final

from gateway_operator.cli.end_request import end_problem, has_ended_so, question
from gateway_operator.cli.session import FailedError, Session, confirm
from gateway_operator.cli.wait import ObjectWaiter
from gateway_operator.domain.model.names import RESTORE_KIND
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.commands import COMMIT, ROLLBACK
from gateway_operator.domain.restore.status import is_terminal
from gateway_operator.ports import MissingError

_RESULTS: Final = {COMMIT: "committed", ROLLBACK: "rolled back"}


async def commit(session: Session, arguments: argparse.Namespace) -> None:
    """``restore commit``: keeps the restored config."""
    await _end(session, arguments, COMMIT)


async def rollback(session: Session, arguments: argparse.Namespace) -> None:
    """``restore rollback``: puts the previous config back."""
    await _end(session, arguments, ROLLBACK)


async def _end(session: Session, arguments: argparse.Namespace, action: str) -> None:
    try:
        body = await session.get(RESTORE_KIND, arguments.name)
    except MissingError:
        message = f"GatewayRestore {arguments.name} not found in namespace {session.namespace}"
        raise FailedError(message) from None
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
