"""Observes a restore: its gateway, the admin API, the backups, the safety backup and the rollout.

Each phase reads only what its decision needs.
"""

from __future__ import annotations

from typing import Any

from gateway_api.contract import RestoreResult, SystemHealthData
from gateway_operator.domain.gateway.admission import RESTORES_POLICY, InstalledPolicy
from gateway_operator.domain.gateway.rollout import (
    RestartRecord,
    restart_obstacle,
    rollout,
    still_starting,
)
from gateway_operator.domain.gateway.volumes import config_is_persistent
from gateway_operator.domain.gateway.workload import Endpoint, Workload
from gateway_operator.domain.model.admin_api import Failure, NotFound
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import BACKUP_KIND, RESTORE_KIND, safety_backup_name
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore import decide as decisions
from gateway_operator.domain.restore.after_apply import health_problem, marker
from gateway_operator.domain.restore.commands import pending_request
from gateway_operator.domain.restore.status import RestoreObservation, is_running, is_terminal
from gateway_operator.ports import AdminTarget
from gateway_operator.reconcile.gateway_lookup import ResolvedGateway, call_or_failure, resolve_gateway
from gateway_operator.reconcile.replicas import replica_problem
from gateway_operator.reconcile.restore.age_identity import identity_problem
from gateway_operator.reconcile.restore.context import RestoreContext
from gateway_operator.reconcile.restore.source import read_backups

_PHASES_THAT_READ_ROLLOUT = ("Restarting", "RollingBack")


async def observe(run: RestoreContext, restore: Restore) -> RestoreObservation:
    """Read what the next decision needs. The gateway that was found stays in ``run``."""
    if not decisions.needs_gateway(restore, run.ports.clock.now()):
        return RestoreObservation(restore)
    if restore.awaits_approval:
        return RestoreObservation(restore, policy=await _policy(run), answer=run.answer)
    resolved = run.resolved = await resolve_gateway(run.ports, run.ref.namespace, restore.gateway)
    health, journal = await _read_admin_api(run, restore, resolved.target)
    _count_healthy(run, restore, resolved, health)
    running, owner = await _other_restores(run, pending_request(health), restore)
    return RestoreObservation(
        restore=restore,
        gateway=resolved.gateway,
        key_version=resolved.key_version,
        reloads_config=resolved.workload.reloads_config if resolved.workload is not None else False,
        health=health,
        persistent=_persistent(resolved, health),
        journal=journal,
        backups=await read_backups(run.ports, restore),
        safety=await _safety(run, restore),
        rollout=rollout(resolved.workload, marker(restore), resolved.owned, RestartRecord.parse(restore.status))
        if resolved.workload is not None and restore.phase in _PHASES_THAT_READ_ROLLOUT
        else None,
        starting=still_starting(resolved.owned),
        restart_obstacle=restart_obstacle(resolved.workload, resolved.owned, run.ports.clock.now())
        if resolved.workload is not None and restore.phase == "Validating"
        else None,
        volumes_problem=await replica_problem(run.ports, resolved) if restore.phase == "Validating" else None,
        healthy_streak=run.streak,
        pending_owner=None if owner is None else owner.meta.ref.name,
        pending_owner_runs=owner is not None and not is_terminal(owner),
        running_restore=running,
        identity_problem=await identity_problem(run.ports, restore, resolved.target),
        **await _approval(run, restore, resolved.workload),
        answer=run.answer,
    )


async def _approval(run: RestoreContext, restore: Restore, workload: Workload | None) -> dict[str, Any]:
    """The fields about the approval: what the workload requires, and the policy that would protect it."""
    if workload is None or restore.phase != "Validating" or not (workload.requires_approval or restore.approval):
        return {}
    policy = await _policy(run)
    return {"approval_required": True, "approval_timeout": workload.approval_timeout, "policy": policy}


async def _policy(run: RestoreContext) -> InstalledPolicy | None:
    """The policy for restores; None if the chart did not install it."""
    prefix = run.ports.policies
    return await run.ports.cluster.admission_policy(f"{prefix}-{RESTORES_POLICY}") if prefix else None


async def _read_admin_api(
    run: RestoreContext, restore: Restore, target: AdminTarget | None
) -> tuple[SystemHealthData | Failure | None, RestoreResult | NotFound | Failure | None]:
    """The health and the journal of this restore. The journal is None before the restore has a request id."""
    if target is None:
        return None, None
    health = await call_or_failure(run.ports.admin_api.health(target))
    if not restore.request_id or isinstance(health, Failure):
        return health, health if isinstance(health, Failure) and restore.request_id else None
    return health, await call_or_failure(run.ports.admin_api.read_restore(target, restore.request_id))


def _count_healthy(
    run: RestoreContext, restore: Restore, resolved: ResolvedGateway, health: SystemHealthData | Failure | None
) -> None:
    healthy = restore.phase == "HealthCheck" and health_problem(restore, resolved.gateway, health) is None
    run.streak = run.streak + 1 if healthy else 0


async def _safety(run: RestoreContext, restore: Restore) -> Backup | None:
    if restore.phase != "SafetyBackup" or not restore.safety_backup_uid:
        return None
    name = safety_backup_name(run.ref.name, run.ref.uid)
    run.lock_of(restore).safety_backups.add(name)
    # By the recorded uid: an object of this name that someone else created is never used.
    body = await run.ports.cluster.read(Ref(BACKUP_KIND, run.ref.namespace, name, restore.safety_backup_uid))
    return None if body is None else Backup.parse(body)


async def _other_restores(
    run: RestoreContext, request_id: str | None, restore: Restore
) -> tuple[str | None, Restore | None]:
    """The name of another running restore of the gateway, and the restore that is open at the gateway.

    A restore begins only after this found no other. The claim in the lock covers the time until its status says so.
    """
    if restore.mode != "Apply" or restore.phase not in ("Validating", "Restoring"):
        return None, None
    open_elsewhere = request_id not in (None, restore.request_id)
    if restore.phase == "Restoring" and not open_elsewhere:
        return None, None
    lock = run.lock_of(restore)
    if restore.phase == "Validating" and lock.entering_restore is None:
        lock.entering_restore = run.ref
    bodies = await run.ports.cluster.list_ours(RESTORE_KIND, run.ref.namespace)
    others = [one for one in map(Restore.parse, bodies) if one.uid != restore.uid and one.gateway == restore.gateway]
    running = next((one.meta.ref.name for one in others if is_running(one)), None)
    entering = lock.entering_restore
    if running is None and entering is not None and entering != run.ref:
        running = entering.name
    owner = next((one for one in others if open_elsewhere and one.request_id == request_id), None)
    return running, owner


def _persistent(resolved: ResolvedGateway, health: SystemHealthData | Failure | None) -> bool | None:
    if resolved.pod is None or not isinstance(health, SystemHealthData) or not isinstance(resolved.gateway, Endpoint):
        return None
    return config_is_persistent(resolved.pod, resolved.gateway.container, health.config_path)
