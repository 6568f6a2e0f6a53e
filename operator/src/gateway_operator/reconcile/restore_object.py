"""Reconciles a GatewayRestore: the mode decides whether it is a run of ``reconcile.restore`` or ``reconcile.drill``."""

from __future__ import annotations

from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.ports import Ports
from gateway_operator.reconcile.drill.run import run_drill
from gateway_operator.reconcile.gateway_lock import GatewayLocks
from gateway_operator.reconcile.restore.run import run_restore
from gateway_operator.reconcile.status_writer import Log


async def reconcile_restore(ports: Ports, locks: GatewayLocks, ref: Ref, log: Log) -> float | None:
    """Reconcile a GatewayRestore. Returns the seconds until the next run; None if there is nothing left to do."""
    body = await ports.cluster.read(ref)
    if body is None:
        return None
    if Restore.parse(body).mode == "Drill":
        return await run_drill(ports, ref, body, log)
    return await run_restore(ports, locks, ref, body, log)
