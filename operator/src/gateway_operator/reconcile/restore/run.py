"""A run of a GatewayRestore that restores its gateway, or of a dry run: observe, decide, act, until it has to wait.

The observation is read again for each step: gateway, health, the admin API's journal of the restore, and the rollout.
In the phases that follow the replaced config closely, the run sleeps and observes again instead of requeueing. Each
call to the admin API is made under the gateway's lock and is safe to repeat, because the journal names its request id.
"""

from __future__ import annotations

from typing import Final

from gateway_operator.domain.model.actions import Restart, RestoreAction
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore import decide as decisions
from gateway_operator.ports import Ports
from gateway_operator.reconcile.gateway_lock import GatewayLocks
from gateway_operator.reconcile.restore.calls import act
from gateway_operator.reconcile.restore.context import RestoreContext
from gateway_operator.reconcile.restore.loop import run_actions
from gateway_operator.reconcile.restore.observe import observe
from gateway_operator.reconcile.status_writer import Log

_RESTART_DELAY: Final = 1.0


async def run_restore(ports: Ports, locks: GatewayLocks, ref: Ref, body: Json, log: Log) -> float | None:
    """Run a restore, from the object as it was read. Returns the seconds until the next run; None if it has ended."""
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
