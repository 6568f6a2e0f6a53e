"""Observes a drill: the gateway, the backup, the drill's pod and NetworkPolicy, and the admin API in the pod."""

from __future__ import annotations

from gateway_api.contract import RestoreResult, RestoreState, SystemHealthData
from gateway_operator.domain.drill.actions import DrillObservation
from gateway_operator.domain.drill.pod_state import belongs_to
from gateway_operator.domain.drill.status import drill_of, outcome_of, request_id_of
from gateway_operator.domain.gateway.workload import endpoint, pod_ready
from gateway_operator.domain.model.admin_api import Failure, NotFound
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.status import is_terminal
from gateway_operator.ports import AdminTarget, ForbiddenError
from gateway_operator.reconcile.drill.context import DrillContext
from gateway_operator.reconcile.gateway_lookup import ResolvedGateway, call_or_failure, resolve_gateway
from gateway_operator.reconcile.restore.age_identity import identity_problem
from gateway_operator.reconcile.restore.source import read_backup, read_backups


async def observe(run: DrillContext, restore: Restore) -> DrillObservation:
    """Read what the next decision needs. The gateway stays in ``run`` for the calls."""
    if is_terminal(restore):
        return DrillObservation(restore, answer=run.answer)
    if outcome_of(restore):
        return DrillObservation(
            restore,
            backups=await read_backup(run.ports, run.ref.namespace, restore.source.get("backupName")),
            has_policy=await _has_policy(run),
            pod=await run.ports.cluster.pod(run.ref.namespace, run.name),
            answer=run.answer,
        )
    resolved = run.resolved = await resolve_gateway(run.ports, run.ref.namespace, restore.gateway)
    run.live = resolved.target or run.live
    if restore.phase == "Drilling":
        return await _observe_drill(run, restore, resolved)
    return DrillObservation(
        restore,
        gateway=resolved.gateway,
        health=await _live_health(run, resolved),
        workload=resolved.workload,
        backups=await read_backups(run.ports, restore),
        identity_problem=await identity_problem(run.ports, restore, resolved.target),
        answer=run.answer,
    )


async def _live_health(run: DrillContext, resolved: ResolvedGateway) -> SystemHealthData | Failure | None:
    if resolved.target is None:
        return None
    health = await call_or_failure(run.ports.admin_api.health(resolved.target))
    if isinstance(health, SystemHealthData):
        run.config_path = health.config_path
    return health


async def _observe_drill(run: DrillContext, restore: Restore, resolved: ResolvedGateway) -> DrillObservation:
    pod = await run.ports.cluster.pod(run.ref.namespace, run.name)
    if pod is None:
        return DrillObservation(
            restore,
            gateway=resolved.gateway,
            health=await _live_health(run, resolved),
            workload=resolved.workload,
            has_policy=await _has_policy(run),
            answer=run.answer,
        )
    address = _address(run, restore, resolved, pod)
    run.pod_target = None if isinstance(address, str) else address
    journal, drilled = await _read_pod(run, restore, pod, address)
    return DrillObservation(
        restore,
        gateway=resolved.gateway,
        workload=resolved.workload,
        pod=pod,
        address=address if isinstance(address, str) else address.endpoint,
        journal=journal,
        drilled=drilled,
        answer=run.answer,
    )


def _address(run: DrillContext, restore: Restore, resolved: ResolvedGateway, pod: Json) -> AdminTarget | str:
    """The drill pod's admin API, or why it cannot be called. The pod is the recorded one, read just now."""
    recorded = drill_of(restore).get("podUID") == pod["metadata"]["uid"] and belongs_to(pod, run.ref.uid)
    if not recorded or resolved.workload is None or run.live is None:
        return "the pod or the gateway is not known yet"
    # The same keys, CA and server name as the gateway: the pod mounts the Secrets of the template.
    address = endpoint(resolved.workload, pod)
    return address if isinstance(address, str) else AdminTarget(address, run.live.keys, run.live.ca)


async def _read_pod(
    run: DrillContext, restore: Restore, pod: Json, address: AdminTarget | str
) -> tuple[RestoreResult | NotFound | Failure | None, SystemHealthData | Failure | None]:
    if isinstance(address, str):
        return None, None
    admin_api = run.ports.admin_api
    journal = await call_or_failure(admin_api.read_restore(address, request_id_of(restore)))
    committed = isinstance(journal, RestoreResult) and journal.state is RestoreState.committed
    if not committed or not pod_ready(pod):
        return journal, None
    return journal, await call_or_failure(admin_api.health(address))


async def _has_policy(run: DrillContext) -> bool:
    try:
        policy = await run.objects.policy(run.ref.namespace, run.name)
    except ForbiddenError:
        # The permission to create it is missing as well: the attempt reports it.
        return False
    return policy is not None and belongs_to(policy, run.ref.uid)
