"""A run of a GatewayRestore with ``mode: Drill``: observe, decide, act, until the pod of the drill is deleted.

The live gateway is only read: its health, and the content of the backup. All writes go to the pod of the drill, whose
uid is recorded before the first call. Every step is found again from the objects that exist, so it may be repeated.
"""

from __future__ import annotations

from gateway_operator.domain.drill import decide as decisions
from gateway_operator.domain.drill.actions import DrillAction
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.ports import Ports
from gateway_operator.reconcile.drill.calls import act, delete_objects
from gateway_operator.reconcile.drill.context import DrillContext
from gateway_operator.reconcile.drill.observe import observe
from gateway_operator.reconcile.restore.loop import run_actions
from gateway_operator.reconcile.status_writer import Log


async def run_drill(ports: Ports, ref: Ref, body: Json, log: Log) -> float | None:
    """Run a drill, from the object as it was read. Returns the seconds until the next run; None if it has ended."""
    if ports.drill_objects is None:
        raise AssertionError("The ports have no access to the objects of drills.")
    context = DrillContext(ports, ports.drill_objects, ref, log)

    async def decide(restore: Restore) -> DrillAction:
        observed = await observe(context, restore)
        context.answer = None  # a failure is used once
        return decisions.decide(observed, ports.clock.now())

    async def call(restore: Restore, action: DrillAction) -> None:
        context.answer = await act(context, restore, action)

    seconds = await run_actions(ports, body, decide, call, log)
    if seconds is None:
        # The object has ended or was deleted. The garbage collector deletes the objects of a deleted one as well; here
        # it happens at once.
        await delete_objects(context)
    return seconds
