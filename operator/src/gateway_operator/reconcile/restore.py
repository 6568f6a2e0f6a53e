"""Reconciling a GatewayRestore: the same look again and again, as long as it is being watched closely."""

from __future__ import annotations

from gateway_api.contract import RestoreResult, SystemHealthData
from gateway_operator.domain.gateway.grants import role_binding_line
from gateway_operator.domain.gateway.rollout import config_is_persistent, rollout, still_starting
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
    RESTORE_LABEL,
    RESTORE_UID,
    SAFETY_GROUP,
    label_value,
    safety_backup_name,
)
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup, Restore
from gateway_operator.domain.restore import decide as decisions
from gateway_operator.domain.restore.after_apply import health_problem, marker
from gateway_operator.domain.restore.pending_restore import pending_request
from gateway_operator.domain.restore.status import RestoreObservation
from gateway_operator.ports import AdminTarget, ConflictError, ForbiddenError, Identity, MissingError, Ports
from gateway_operator.reconcile.age_identity import as_failure, read_identity
from gateway_operator.reconcile.gateway_lock import GatewayLocks
from gateway_operator.reconcile.gateway_lookup import ResolvedGateway, call_or_failure, resolve_gateway
from gateway_operator.reconcile.status_writer import NO_PROGRESS_DELAY, Log, write

_LOOKS_AT_BACKUPS = ("Validating",)
_LOOKS_AT_ROLLOUT = ("Restarting", "RollingBack")


async def reconcile_restore(ports: Ports, locks: GatewayLocks, ref: Ref, log: Log) -> float | None:
    """Bring a GatewayRestore forward. Gives the seconds until it wants to be looked at again; None if never."""
    return await _RestoreRun(ports, locks, ref, log).go()


class _RestoreRun:
    """One run: the answer of the last call, and how often in a row the gateway was healthy."""

    def __init__(self, ports: Ports, locks: GatewayLocks, ref: Ref, log: Log) -> None:
        self._ports = ports
        self._locks = locks
        self._ref = ref
        self._log = log
        self._answer: RestoreResult | Failure | None = None
        self._streak = 0
        self._resolved: ResolvedGateway | None = None

    async def go(self) -> float | None:
        """Step by step until there is nothing to do, or something to wait for."""
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
                        await self._write(restore, action)
                        return action.seconds
                    case RecheckSoon():
                        await self._ports.clock.sleep(action.seconds)
                    case Write():
                        self._answer = None
                        if await self._write(restore, action) is restore:
                            return NO_PROGRESS_DELAY
                    case _:
                        await self._act(restore, action)
                        if isinstance(action, Restart):  # never faster than this, should something undo it
                            await self._ports.clock.sleep(1)
            except MissingError:
                return None
            except ConflictError:  # somebody wrote in between: look at what is there now
                continue

    async def _write(self, restore: Restore, action: Write | Finish | Wait) -> Restore:
        note: KubernetesEvent | None = action.note
        return await write(self._ports, Restore.parse, restore, action.status, note, self._log)

    async def _act(self, restore: Restore, action: RestoreAction) -> None:
        api = self._ports.admin_api
        async with self._locks.get(self._ref.namespace, restore.gateway):
            match action:
                case CreateSafetyBackup():
                    self._answer = await self._create_safety(restore, action.name)
                case CallRestore():
                    self._answer = await self._restore(restore, action)
                case CallCommit():
                    self._answer = await call_or_failure(api.commit(self._target(), action.request_id))
                case CallRollback():
                    self._answer = await call_or_failure(api.rollback(self._target(), action.request_id))
                case Restart():
                    self._answer = await self._restart(restore, action.marker)
                case _:
                    raise AssertionError(f"{action} is no act")

    def _target(self) -> AdminTarget:
        if self._resolved is None or self._resolved.target is None:
            raise AssertionError("a call was decided on without a gateway")
        return self._resolved.target

    async def _restore(self, restore: Restore, call: CallRestore) -> RestoreResult | Failure:
        target, identity = self._target(), None
        if call.identity is not None:
            found = await read_identity(self._ports, self._ref.namespace, restore.gateway, call.identity, target)
            if isinstance(found, Identity):
                identity = found
            elif not call.identity_optional:
                return as_failure(found)
        return await call_or_failure(self._ports.admin_api.restore(target, call, identity))

    async def _identity_problem(self, restore: Restore, target: AdminTarget | None) -> GatewayProblem | None:
        """Before anything is begun; what is read here is let go at once, and read again for the call."""
        wanted = restore.needed_identity
        if restore.phase not in _LOOKS_AT_BACKUPS or wanted is None or target is None:
            return None
        found = await read_identity(self._ports, self._ref.namespace, restore.gateway, wanted, target)
        return found if isinstance(found, GatewayProblem) else None

    async def _restart(self, restore: Restore, mark: str) -> Failure | None:
        if self._resolved is None or self._resolved.workload is None:
            raise AssertionError("a restart was decided on without a workload")
        try:
            await self._ports.cluster.restart(self._resolved.workload, mark)
        except ForbiddenError as error:
            line = role_binding_line(self._ref.namespace, restore.gateway.name, self._ports.operator)
            return Failure(Reason.NotAuthorized, f"{error}. To grant it: {line}", retryable=True)
        return None

    async def _create_safety(self, restore: Restore, name: str) -> Failure | None:
        body = {
            "metadata": {
                "name": name,
                "namespace": self._ref.namespace,
                "labels": {RESTORE_LABEL: label_value(self._ref.name)},
                "annotations": {RESTORE_UID: self._ref.uid},
            },
            "spec": {
                "gatewayRef": restore.spec["gatewayRef"],
                "group": SAFETY_GROUP,
                "timeoutSeconds": max(10, min(restore.timeout, 600)),
                "startingDeadlineSeconds": max(1, min(restore.starting_deadline, 300)),
                "description": f"The config that GatewayRestore {self._ref.name} replaced.",
            },
        }
        try:
            await self._ports.cluster.create_ours(BACKUP_KIND, self._ref.namespace, body)
        except ConflictError:
            # A crash after the same create; or, against all odds, another's of this name.
            if await self._safety(restore) is None:
                said = f"GatewayBackup {name} exists and is not this restore's."
                return Failure(Reason.SafetyBackupFailed, said, retryable=False)
            return None
        except ForbiddenError as error:
            return Failure(Reason.NotAuthorized, str(error), retryable=True)
        return None

    async def _observe(self, restore: Restore) -> RestoreObservation:
        if not decisions.needs_gateway(restore, self._ports.clock.now()):
            return RestoreObservation(restore)
        resolved = self._resolved = await resolve_gateway(self._ports, self._ref.namespace, restore.gateway)
        health, journal = await self._ask(restore, resolved.target)
        self._count(restore, resolved, health)
        volume = resolved.workload is not None
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
            if volume and resolved.workload is not None and restore.phase in _LOOKS_AT_ROLLOUT
            else None,
            starting=still_starting(resolved.owned),
            healthy_streak=self._streak,
            pending_owner=await self._owner_of(pending, restore),
            identity=await self._identity_problem(restore, resolved.target),
            answer=self._answer,
        )

    async def _ask(
        self, restore: Restore, target: AdminTarget | None
    ) -> tuple[SystemHealthData | Failure | None, RestoreResult | NotFound | Failure | None]:
        if target is None:
            return None, None
        health = await call_or_failure(self._ports.admin_api.health(target))
        if not restore.request_id or isinstance(health, Failure):
            return health, health if isinstance(health, Failure) and restore.request_id else None
        return health, await call_or_failure(self._ports.admin_api.read_restore(target, restore.request_id))

    def _count(self, restore: Restore, resolved: ResolvedGateway, health: SystemHealthData | Failure | None) -> None:
        healthy = restore.phase == "HealthCheck" and health_problem(restore, resolved.gateway, health) is None
        self._streak = self._streak + 1 if healthy else 0

    async def _backups(self, restore: Restore) -> list[Backup]:
        if restore.phase not in _LOOKS_AT_BACKUPS or restore.source or restore.path is not None:
            return []
        if restore.backup_name is not None:
            body = await self._ports.cluster.read(Ref(BACKUP_KIND, self._ref.namespace, restore.backup_name, ""))
            return [] if body is None else [Backup.parse(body)]
        return [Backup.parse(body) for body in await self._ports.cluster.list_ours(BACKUP_KIND, self._ref.namespace)]

    async def _safety(self, restore: Restore) -> Backup | None:
        if restore.phase != "SafetyBackup" or restore.safety_backup == "Skip":
            return None
        name = safety_backup_name(self._ref.name, self._ref.uid)
        body = await self._ports.cluster.read(Ref(BACKUP_KIND, self._ref.namespace, name, ""))
        backup = None if body is None else Backup.parse(body)
        return backup if backup and backup.meta.annotations.get(RESTORE_UID) == self._ref.uid else None

    async def _owner_of(self, request_id: str | None, restore: Restore) -> str | None:
        """The GatewayRestore that left a restore unfinished, for the message that says how to end it."""
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
