"""Reconciles a GatewayRestore: observe, decide, act, until it is finished or has to wait.

The observation is read again for each step: gateway, health, the admin API's journal of the restore, and the rollout.
In the phases that follow the replaced config closely, the run sleeps and observes again instead of requeueing. Each
call to the admin API is made under the gateway's lock and is safe to repeat, because the journal names its request id.
"""

from __future__ import annotations

from gateway_api.contract import RestoreResult, SystemHealthData
from gateway_operator.domain.gateway.grants import restart_grant_line
from gateway_operator.domain.gateway.rollout import config_is_persistent, restart_obstacle, rollout, still_starting
from gateway_operator.domain.gateway.workload import Endpoint
from gateway_operator.domain.model.actions import (
    CallCommit,
    CallRestore,
    CallRollback,
    CreateSafetyBackup,
    Done,
    Finish,
    KubernetesEvent,
    RecheckSoon,
    Restart,
    RestoreAction,
    Wait,
    Write,
)
from gateway_operator.domain.model.admin_api import Failure, NotFound
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import (
    BACKUP_KIND,
    RESTORE_KIND,
    safety_backup_name,
)
from gateway_operator.domain.model.problem import GatewayProblem, unexpected_failure
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup, Json, Restore
from gateway_operator.domain.restore import decide as decisions
from gateway_operator.domain.restore.after_apply import health_problem, marker
from gateway_operator.domain.restore.pending_restore import pending_request
from gateway_operator.domain.restore.safety import is_usable_safety_backup, safety_backup_body
from gateway_operator.domain.restore.status import RestoreObservation
from gateway_operator.ports import AdminTarget, ConflictError, ForbiddenError, Identity, MissingError, Ports
from gateway_operator.reconcile.age_identity import as_failure, read_identity
from gateway_operator.reconcile.gateway_lock import GatewayLock, GatewayLocks, Priority
from gateway_operator.reconcile.gateway_lookup import ResolvedGateway, call_or_failure, resolve_gateway
from gateway_operator.reconcile.status_writer import NO_PROGRESS_DELAY, Log, update_status

_PHASES_THAT_READ_BACKUPS = ("Validating",)
_PHASES_THAT_READ_ROLLOUT = ("Restarting", "RollingBack")
_RESTART_DELAY = 1.0


async def reconcile_restore(ports: Ports, locks: GatewayLocks, ref: Ref, log: Log) -> float | None:
    """Reconcile a GatewayRestore. Returns the seconds until the next run; None if there is nothing left to do."""
    return await _RestoreRun(ports, locks, ref, log).go()


class _RestoreRun:
    """One run. It keeps the answer of the last call and the number of consecutive healthy observations."""

    def __init__(self, ports: Ports, locks: GatewayLocks, ref: Ref, log: Log) -> None:
        self._ports = ports
        self._locks = locks
        self._lock: GatewayLock | None = None
        self._ref = ref
        self._log = log
        self._answer: RestoreResult | Failure | None = None
        self._streak = 0
        self._resolved: ResolvedGateway | None = None

    async def go(self) -> float | None:
        """Execute actions until the restore is finished or has to wait."""
        while True:
            body = await self._ports.cluster.read(self._ref)
            if body is None:
                return None
            restore = Restore.parse(body)
            action = decisions.decide(await self._observe(restore), self._ports.clock.now())
            try:
                match action:
                    case Done():
                        return None
                    case Finish():
                        await self._write(restore, action)
                        return None
                    case Wait():
                        # The status first: it tells a user what the restore waits for. Then requeue, because no watch
                        # event announces a change of the gateway.
                        await self._write(restore, action)
                        return action.seconds
                    case RecheckSoon():
                        # No requeue: the count of consecutive healthy observations lives in this run.
                        await self._ports.clock.sleep(action.seconds)
                    case Write():
                        # The decision has used the last answer. After a conflict the journal gives the same result.
                        self._answer = None
                        # Nothing was written, so the same decision would follow. Requeue instead of a busy loop.
                        if await self._write(restore, action) is restore:
                            return NO_PROGRESS_DELAY
                    case _:
                        # The phase that permits this call is in the status already: after a crash the next run repeats
                        # the call, and the admin API recognises the request id.
                        await self._act(restore, action)
                        # If another controller keeps removing the restart marker, this loop must not spin.
                        if isinstance(action, Restart):
                            await self._ports.clock.sleep(_RESTART_DELAY)
            except MissingError:
                return None
            except ConflictError:
                # Another writer changed the object. Read and decide again.
                continue

    async def _write(self, restore: Restore, action: Write | Finish | Wait) -> Restore:
        event: KubernetesEvent | None = action.event
        return await update_status(self._ports, Restore.parse, restore, action.status, event, self._log)

    async def _act(self, restore: Restore, action: RestoreAction) -> None:
        api = self._ports.admin_api
        async with self._lock_of(restore).hold(Priority.RESTORE):
            match action:
                case CreateSafetyBackup():
                    self._answer = await self._create_safety(restore, action.name)
                case CallRestore():
                    self._answer = await self._restore(restore, action)
                case CallCommit():
                    self._answer = await call_or_failure(api.commit(self._target(), action.request_id))
                case CallRollback():
                    self._answer = await call_or_failure(
                        api.rollback(self._target(), action.request_id, force=action.force)
                    )
                case Restart():
                    self._answer = await self._restart(restore, action.marker)
                case _:
                    raise AssertionError(f"The action {action} is not a call.")

    def _lock_of(self, restore: Restore) -> GatewayLock:
        """The lock of the gateway. This run keeps it, so that it knows the safety backup until the end of the run."""
        if self._lock is None:
            self._lock = self._locks.get(self._ref.namespace, restore.gateway)
        return self._lock

    def _target(self) -> AdminTarget:
        if self._resolved is None or self._resolved.target is None:
            raise AssertionError("The decision requests a call, but no gateway was resolved.")
        return self._resolved.target

    async def _restore(self, restore: Restore, call: CallRestore) -> RestoreResult | Failure:
        target, identity = self._target(), None
        if call.identity is not None:
            result = await read_identity(self._ports, self._ref.namespace, restore.gateway, call.identity, target)
            if isinstance(result, Identity):
                identity = result
            elif not call.identity_optional:
                return as_failure(result)
        return await call_or_failure(self._ports.admin_api.restore(target, call, identity))

    async def _identity_problem(self, restore: Restore, target: AdminTarget | None) -> GatewayProblem | None:
        """Check that the identity can be read, before the restore changes anything.

        The identity itself is discarded here, and read again for the call.
        """
        identity_ref = restore.needed_identity
        if restore.phase not in _PHASES_THAT_READ_BACKUPS or identity_ref is None or target is None:
            return None
        result = await read_identity(self._ports, self._ref.namespace, restore.gateway, identity_ref, target)
        return result if isinstance(result, GatewayProblem) else None

    async def _restart(self, restore: Restore, mark: str) -> Failure | None:
        if self._resolved is None or self._resolved.workload is None:
            raise AssertionError("The decision restarts the workload, but no workload was resolved.")
        try:
            await self._ports.cluster.restart(self._resolved.workload, mark)
        except ForbiddenError as error:
            line = restart_grant_line(self._ref.namespace, restore.gateway, self._ports.operator)
            return Failure(Reason.NotAuthorized, f"{error}. To grant it: {line}", retryable=True)
        except MissingError:
            return Failure(Reason.GatewayNotFound, f"{restore.gateway} no longer exists.", retryable=True)
        except Exception as error:
            # A value, and not an exception: the decision judges the time limit of the restart.
            self._log.exception("The restart failed with an unexpected error.")
            return unexpected_failure(error)
        return None

    async def _create_safety(self, restore: Restore, name: str) -> Failure | None:
        body = safety_backup_body(restore)
        # Before the backup exists: it goes ahead of all backups that wait for this gateway.
        self._lock_of(restore).safety_backups.add(name)
        try:
            created: Json | None = await self._ports.cluster.create_ours(BACKUP_KIND, self._ref.namespace, body)
        except ConflictError:
            # An earlier run created it and crashed before its status write. Any other object of this name is an error.
            created = await self._ports.cluster.read(Ref(BACKUP_KIND, self._ref.namespace, name, ""))
            if created is not None and not is_usable_safety_backup(restore, created):
                message = f"GatewayBackup {name} exists and is not the one that this restore creates: delete it."
                return Failure(Reason.SafetyBackupFailed, message, retryable=False)
        except ForbiddenError as error:
            return Failure(Reason.NotAuthorized, str(error), retryable=True)
        except Exception as error:
            self._log.exception("The creation of the safety backup failed with an unexpected error.")
            return unexpected_failure(error)
        if created is not None:
            # Durable before the restore relies on it. The backup waits for this record: with it, its origin is Restore.
            status = {"safetyBackupUID": str(created["metadata"]["uid"])}
            await update_status(self._ports, Restore.parse, restore, status, None, self._log)
        return None

    async def _observe(self, restore: Restore) -> RestoreObservation:
        if not decisions.needs_gateway(restore, self._ports.clock.now()):
            return RestoreObservation(restore)
        resolved = self._resolved = await resolve_gateway(self._ports, self._ref.namespace, restore.gateway)
        health, journal = await self._read_admin_api(restore, resolved.target)
        self._count_healthy(restore, resolved, health)
        pending = pending_request(health)
        return RestoreObservation(
            restore=restore,
            gateway=resolved.gateway,
            reloads_config=resolved.workload.reloads_config if resolved.workload is not None else False,
            health=health,
            persistent=_persistent(resolved, health),
            journal=journal,
            backups=await self._backups(restore),
            safety=await self._safety(restore),
            rollout=rollout(resolved.workload, marker(restore), resolved.owned)
            if resolved.workload is not None and restore.phase in _PHASES_THAT_READ_ROLLOUT
            else None,
            starting=still_starting(resolved.owned),
            restart_obstacle=restart_obstacle(resolved.workload, resolved.owned, self._ports.clock.now())
            if resolved.workload is not None and restore.phase == "Validating"
            else None,
            healthy_streak=self._streak,
            pending_owner=await self._pending_owner(pending, restore),
            identity_problem=await self._identity_problem(restore, resolved.target),
            answer=self._answer,
        )

    async def _read_admin_api(
        self, restore: Restore, target: AdminTarget | None
    ) -> tuple[SystemHealthData | Failure | None, RestoreResult | NotFound | Failure | None]:
        """The health and the journal of this restore. The journal is None before the restore has a request id."""
        if target is None:
            return None, None
        health = await call_or_failure(self._ports.admin_api.health(target))
        if not restore.request_id or isinstance(health, Failure):
            return health, health if isinstance(health, Failure) and restore.request_id else None
        return health, await call_or_failure(self._ports.admin_api.read_restore(target, restore.request_id))

    def _count_healthy(
        self, restore: Restore, resolved: ResolvedGateway, health: SystemHealthData | Failure | None
    ) -> None:
        healthy = restore.phase == "HealthCheck" and health_problem(restore, resolved.gateway, health) is None
        self._streak = self._streak + 1 if healthy else 0

    async def _backups(self, restore: Restore) -> list[Backup]:
        if restore.phase not in _PHASES_THAT_READ_BACKUPS or restore.source or restore.path is not None:
            return []
        if restore.backup_name is not None:
            body = await self._ports.cluster.read(Ref(BACKUP_KIND, self._ref.namespace, restore.backup_name, ""))
            return [] if body is None else [Backup.parse(body)]
        return [Backup.parse(body) for body in await self._ports.cluster.list_ours(BACKUP_KIND, self._ref.namespace)]

    async def _safety(self, restore: Restore) -> Backup | None:
        if restore.phase != "SafetyBackup" or not restore.safety_backup_uid:
            return None
        name = safety_backup_name(self._ref.name, self._ref.uid)
        self._lock_of(restore).safety_backups.add(name)
        # By the recorded uid: an object of this name that someone else created is never used.
        body = await self._ports.cluster.read(Ref(BACKUP_KIND, self._ref.namespace, name, restore.safety_backup_uid))
        return None if body is None else Backup.parse(body)

    async def _pending_owner(self, request_id: str | None, restore: Restore) -> str | None:
        """The name of the GatewayRestore that left a restore unfinished at the gateway, for the message about it."""
        if request_id is None or request_id == restore.request_id or restore.phase not in ("Validating", "Restoring"):
            return None
        for body in await self._ports.cluster.list_ours(RESTORE_KIND, self._ref.namespace):
            other = Restore.parse(body)
            if other.request_id == request_id:
                return other.meta.ref.name
        return None


def _persistent(resolved: ResolvedGateway, health: SystemHealthData | Failure | None) -> bool | None:
    if resolved.pod is None or not isinstance(health, SystemHealthData) or not isinstance(resolved.gateway, Endpoint):
        return None
    return config_is_persistent(resolved.pod, resolved.gateway.container, health.config_path)
