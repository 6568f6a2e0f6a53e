"""Reconciles a GatewayRestore: a run of a restore or dry run here, one of ``mode: Drill`` in ``reconcile.drill``.

The observation is read again for each step: gateway, health, the admin API's journal of the restore, and the rollout.
In the phases that follow the replaced config closely, the run sleeps and observes again instead of requeueing. Each
call to the admin API is made under the gateway's lock and is safe to repeat, because the journal names its request id.
"""

from __future__ import annotations

from typing import Final

from gateway_operator.domain.model.actions import Restart, RestoreAction
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore import decide as decisions
from gateway_operator.ports import Ports
from gateway_operator.reconcile.drill.run import run_drill
from gateway_operator.reconcile.gateway_lock import GatewayLocks
from gateway_operator.reconcile.restore.calls import act
from gateway_operator.reconcile.restore.context import RestoreContext
from gateway_operator.reconcile.restore.loop import run_actions
from gateway_operator.reconcile.restore.observe import observe
from gateway_operator.reconcile.status_writer import Log

_RESTART_DELAY: Final = 1.0


async def reconcile_restore(ports: Ports, locks: GatewayLocks, ref: Ref, log: Log) -> float | None:
    """Reconcile a GatewayRestore. Returns the seconds until the next run; None if there is nothing left to do."""
    body = await ports.cluster.read(ref)
    if body is None:
        return None
    if Restore.parse(body).mode == "Drill":
        return await run_drill(ports, ref, body, log)
    context = RestoreContext(ports, locks, ref, log)

    async def decide(restore: Restore) -> RestoreAction:
        observed = await observe(context, restore)
        # An answer is used once. After a conflict the journal gives the same result.
        context.answer = None
        return decisions.decide(observed, ports.clock.now())

    async def call(restore: Restore, action: RestoreAction) -> None:
        context.answer = await act(context, restore, action)
        if isinstance(action, Restart):
            # If another controller keeps removing the restart marker, the loop must not spin.
            await ports.clock.sleep(_RESTART_DELAY)

    try:
        return await run_actions(ports, body, decide, call, log)
    finally:
        context.end()
