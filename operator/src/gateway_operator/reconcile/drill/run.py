"""Reconciles a GatewayRestore with ``mode: Drill``: observe, decide, act, until the pod of the drill is deleted.

The live gateway is only read: its health, and the content of the backup. All writes go to the pod of the drill, whose
uid is recorded before the first call. Every step is found again from the objects that exist, so it may be repeated.
"""

from __future__ import annotations

from gateway_operator.domain.drill.decide import decide
from gateway_operator.domain.model.actions import Done, Finish, RecheckSoon, Wait, Write
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.ports import ConflictError, MissingError, Ports
from gateway_operator.reconcile.drill.calls import act, delete_objects
from gateway_operator.reconcile.drill.context import DrillContext
from gateway_operator.reconcile.drill.observe import observe
from gateway_operator.reconcile.status_writer import NO_PROGRESS_DELAY, Log, update_status


async def reconcile_drill(ports: Ports, ref: Ref, log: Log) -> float | None:
    """Reconcile a drill. Returns the seconds until the next run; None if there is nothing left to do."""
    if ports.drill_objects is None:
        raise AssertionError("The ports have no access to the objects of drills.")
    run = DrillContext(ports, ports.drill_objects, ref, log)
    while True:
        body = await ports.cluster.read(ref)
        if body is None:
            # The garbage collector deletes them as well. Here it happens at once, while the run knows of them.
            await delete_objects(run)
            return None
        restore = Restore.parse(body)
        observed = await observe(run, restore)
        action = decide(observed, ports.clock.now())
        run.answer = None
        try:
            match action:
                case Done():
                    return None
                case Finish():
                    await _write(run, restore, action)
                    return None
                case Wait():
                    await _write(run, restore, action)
                    return action.seconds
                case RecheckSoon():
                    await ports.clock.sleep(action.seconds)
                case Write():
                    # Nothing was written, so the same decision would follow. Requeue instead of a busy loop.
                    if await _write(run, restore, action) is restore:
                        return NO_PROGRESS_DELAY
                case _:
                    run.answer = await act(run, restore, observed, action)
        except (ConflictError, MissingError):
            # Another writer changed or deleted the object. Read and decide again.
            continue


async def _write(run: DrillContext, restore: Restore, action: Write | Finish | Wait) -> Restore:
    return await update_status(run.ports, Restore.parse, restore, action.status, action.event, run.log)
