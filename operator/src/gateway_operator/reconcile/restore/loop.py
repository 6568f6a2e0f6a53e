"""The loop of a run of a GatewayRestore, for all modes: decide, execute the action, read the object again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway_operator.domain.model.actions import AddFinalizer, Done, Finish, RecheckSoon, RemoveFinalizer, Wait, Write
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.ports import ConflictError, MissingError, Ports
from gateway_operator.reconcile.status_writer import NO_PROGRESS_DELAY, Log, update_status

ActionT = TypeVar("ActionT")


async def run_actions(
    ports: Ports,
    body: Json | None,
    decide: Callable[[Restore], Awaitable[ActionT]],
    act: Callable[[Restore, ActionT], Awaitable[None]],
    log: Log,
) -> float | None:
    """Execute actions until the restore is finished, deleted or has to wait. Returns the seconds to wait, or None.

    ``decide`` observes and decides. ``act`` makes the call of an action that is not one of those below, and keeps its
    answer for the next decision. ``body`` is the object as it was read.
    """
    while body is not None:
        restore = Restore.parse(body)
        action = await decide(restore)
        try:
            match action:
                case Done():
                    return None
                case Wait():
                    # The status first: it tells a user what the restore waits for. Then requeue, because no watch
                    # event announces a change of the gateway.
                    await _write(ports, restore, action, log)
                    return action.seconds
                case RecheckSoon():
                    # No requeue: the count of consecutive healthy observations lives in this run.
                    await ports.clock.sleep(action.seconds)
                case Write() | Finish():
                    # After the end the loop decides again: a finalizer is removed only when the end is durable. In the
                    # other order, a crash would leave an unfinished restore that nothing holds.
                    if await _write(ports, restore, action, log) is restore:
                        # Nothing was written, so the same decision would follow. Requeue instead of a busy loop.
                        return NO_PROGRESS_DELAY
                case AddFinalizer():
                    await ports.cluster.set_finalizer(restore.meta, present=True)
                case RemoveFinalizer():
                    # The event first: afterwards the object may no longer exist.
                    if action.event is not None:
                        await ports.cluster.event(restore.meta.ref, action.event, ports.clock.now())
                    await ports.cluster.set_finalizer(restore.meta, present=False)
                case _:
                    # The phase that permits this call is in the status already: after a crash the next run repeats
                    # the call, and the admin API recognises the request id.
                    await act(restore, action)
        except (ConflictError, MissingError):
            # Another writer changed or deleted the object. Read and decide again.
            pass
        body = await ports.cluster.read(restore.meta.ref)
    return None


async def _write(ports: Ports, restore: Restore, action: Write | Finish | Wait, log: Log) -> Restore:
    return await update_status(ports, Restore.parse, restore, action.status, action.event, log)
