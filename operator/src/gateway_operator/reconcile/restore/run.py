"""Reconciles a GatewayRestore: observe, decide, act, until it is finished or has to wait.

The observation is read again for each step: gateway, health, the admin API's journal of the restore, and the rollout.
In the phases that follow the replaced config closely, the run sleeps and observes again instead of requeueing. Each
call to the admin API is made under the gateway's lock and is safe to repeat, because the journal names its request id.
"""

from __future__ import annotations

from gateway_operator.domain.model.actions import (
    AddFinalizer,
    Done,
    Finish,
    KubernetesEvent,
    RecheckSoon,
    RemoveFinalizer,
    Restart,
    Wait,
    Write,
)
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore import decide as decisions
from gateway_operator.ports import ConflictError, MissingError, Ports
from gateway_operator.reconcile.drill.run import reconcile_drill
from gateway_operator.reconcile.gateway_lock import GatewayLocks
from gateway_operator.reconcile.restore.calls import act
from gateway_operator.reconcile.restore.context import RunContext
from gateway_operator.reconcile.restore.observe import observe
from gateway_operator.reconcile.status_writer import NO_PROGRESS_DELAY, Log, update_status

_RESTART_DELAY = 1.0


async def reconcile_restore(ports: Ports, locks: GatewayLocks, ref: Ref, log: Log) -> float | None:
    """Reconcile a GatewayRestore. Returns the seconds until the next run; None if there is nothing left to do."""
    run = RunContext(ports, locks, ref, log)
    try:
        return await _reconcile(run)
    finally:
        run.end()


async def _reconcile(run: RunContext) -> float | None:
    ports, ref = run.ports, run.ref
    while True:
        body = await ports.cluster.read(ref)
        if body is None:
            return None
        restore = Restore.parse(body)
        if restore.mode == "Drill":
            return await reconcile_drill(ports, ref, run.log)
        action = decisions.decide(await observe(run, restore), ports.clock.now())
        try:
            match action:
                case Done():
                    return None
                case Finish():
                    # Then decide again: the finalizer is removed after the end is durable. In the other order, a crash
                    # would leave an unfinished restore that nothing holds.
                    run.answer = None
                    if await _write(run, restore, action) is restore:
                        return NO_PROGRESS_DELAY
                case AddFinalizer():
                    await ports.cluster.set_finalizer(restore.meta, present=True)
                case RemoveFinalizer():
                    # The event first: afterwards the object may no longer exist.
                    if action.event is not None:
                        await ports.cluster.event(ref, action.event, ports.clock.now())
                    await ports.cluster.set_finalizer(restore.meta, present=False)
                case Wait():
                    # The status first: it tells a user what the restore waits for. Then requeue, because no watch
                    # event announces a change of the gateway.
                    await _write(run, restore, action)
                    return action.seconds
                case RecheckSoon():
                    # No requeue: the count of consecutive healthy observations lives in this run.
                    await ports.clock.sleep(action.seconds)
                case Write():
                    # The decision has used the last answer. After a conflict the journal gives the same result.
                    run.answer = None
                    # Nothing was written, so the same decision would follow. Requeue instead of a busy loop.
                    if await _write(run, restore, action) is restore:
                        return NO_PROGRESS_DELAY
                case _:
                    # The phase that permits this call is in the status already: after a crash the next run repeats
                    # the call, and the admin API recognises the request id.
                    run.answer = await act(run, restore, action)
                    # If another controller keeps removing the restart marker, this loop must not spin.
                    if isinstance(action, Restart):
                        await ports.clock.sleep(_RESTART_DELAY)
        except MissingError:
            return None
        except ConflictError:
            # Another writer changed the object. Read and decide again.
            continue


async def _write(run: RunContext, restore: Restore, action: Write | Finish | Wait) -> Restore:
    event: KubernetesEvent | None = action.event
    return await update_status(run.ports, Restore.parse, restore, action.status, event, run.log)
