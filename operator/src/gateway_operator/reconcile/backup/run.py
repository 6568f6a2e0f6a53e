"""Reconciles a GatewayBackup: observe, decide, act, until it is finished or has to wait.

A run holds the lock of its gateway. It reads the GatewayBackup and the workload at the same time. The status Running is
written before the admin API is called. This write is the claim: it names the resourceVersion, so an operator that has
read an older version gets a conflict and makes no call.
"""

from __future__ import annotations

import asyncio

from gateway_api.contract import BackupRecord, SystemHealthData
from gateway_operator.domain.backup import decide as decisions
from gateway_operator.domain.backup.origin import OriginDecision, OriginUnknown
from gateway_operator.domain.gateway.workload import Workload
from gateway_operator.domain.index.backup_index import BackupIndex
from gateway_operator.domain.model.actions import (
    CallBackup,
    CheckFile,
    Done,
    FindFile,
    Finish,
    KubernetesEvent,
    Patch,
    ReadRecord,
    Wait,
)
from gateway_operator.domain.model.admin_api import BackupFile, Failure, FileCheck, NotFound
from gateway_operator.domain.model.identifiers import GatewayRef, Ref
from gateway_operator.domain.model.names import BACKUP_KIND, RESTORE_KIND
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.status import is_running
from gateway_operator.ports import AdminTarget, ConflictError, MissingError, Ports
from gateway_operator.reconcile.backup.origin import read_origin
from gateway_operator.reconcile.gateway_lock import GatewayLock, GatewayLocks, Priority
from gateway_operator.reconcile.gateway_lookup import ResolvedGateway, backup_id_of, call_or_failure
from gateway_operator.reconcile.status_writer import NO_PROGRESS_DELAY, Log, update_status


async def reconcile_backup(
    ports: Ports,
    locks: GatewayLocks,
    ref: Ref,
    log: Log,
    gateway: GatewayRef,
    priority: Priority = Priority.OTHER,
) -> float | None:
    """Reconcile a GatewayBackup. Returns the seconds until the next run; None if there is nothing left to do.

    ``gateway`` is the gateway of its spec, which is immutable.
    """
    lock = locks.get(ref.namespace, gateway)
    # A restore waits for its safety backup, so that one goes first as well.
    async with lock.hold(Priority.RESTORE if ref.name in lock.safety_backups else priority):
        run = _BackupRun(ports, ref, lock, log)
        try:
            seconds = await run.go()
        finally:
            if run.failed:
                lock.invalidate()
    # The event comes after the status: a crash in between loses the event and nothing else. It is posted outside the
    # lock, so that the next backup of this gateway does not wait for it.
    if run.event is not None:
        await ports.cluster.event(ref, run.event, ports.clock.now())
    return seconds


class _BackupRun:
    """One run. It keeps the results of its calls in memory; everything else is in the status."""

    def __init__(self, ports: Ports, ref: Ref, lock: GatewayLock, log: Log) -> None:
        self._ports = ports
        self._ref = ref
        self._lock = lock
        self._log = log
        self._gateway: ResolvedGateway | None = None
        self._health: SystemHealthData | Failure | None = None
        self._answer: BackupFile | NotFound | Failure | None = None
        self._stored: BackupRecord | NotFound | Failure | None = None
        self._checked: FileCheck | NotFound | Failure | None = None
        self._origin: OriginDecision | OriginUnknown | None = None
        self._running_restore: str | None = None
        self._index = ports.backup_index
        self.event: KubernetesEvent | None = None
        """The event to post after the lock is released."""

    @property
    def failed(self) -> bool:
        """Whether the run needed the gateway and could not call it, or a call failed."""
        if self._gateway is None:
            return False
        answers = (self._health, self._answer, self._stored, self._checked)
        return self._gateway.target is None or any(isinstance(one, Failure) for one in answers)

    async def go(self) -> float | None:
        """Execute actions until the backup is finished or has to wait."""
        body, begun = await asyncio.gather(self._ports.cluster.read(self._ref), self._lock.begin(self._ports))
        while body is not None:
            try:
                return await self._run(Backup.parse(body), begun)
            except MissingError:
                return None
            except ConflictError:
                # Another writer was faster. Read and decide again; results of calls that were made are still valid.
                body = await self._ports.cluster.read(self._ref)
        return None

    async def _run(self, backup: Backup, begun: Workload | ResolvedGateway) -> float | None:
        while True:
            action = decisions.decide(await self._observe(backup, begun), self._ports.clock.now())
            match action:
                case Done():
                    return None
                case Finish():
                    written = await self._write(backup, action.status)
                    self.event = action.event
                    # Do not wait for the watch event: the next backup in the queue is compared with this one.
                    if self._ports.backup_index is not None:
                        self._ports.backup_index.upsert(written)
                    return None
                case Wait():
                    # The status first: it tells a user what the backup waits for. Then requeue, because no watch
                    # event announces that the gateway can be called again.
                    await self._write(backup, action.status)
                    self.event = action.event
                    return action.seconds
                case ReadRecord():
                    call = self._ports.admin_api.read_backup(self._target(), action.backup_id)
                    self._stored = await call_or_failure(call)
                case FindFile():
                    # The claim comes first: of two backups that adopt one path, each then finds the other's claim. The
                    # index gets it before the call and not with the watch event, which may come after the next run.
                    backup = await self._write(backup, action.status)
                    if self._ports.backup_index is not None:
                        self._ports.backup_index.upsert(backup)
                    self._answer = await call_or_failure(self._ports.admin_api.find_file(self._target(), action.path))
                case CheckFile():
                    check = self._ports.admin_api.check_file(self._target(), action.backup_id, action.path)
                    self._checked = await call_or_failure(check)
                case CallBackup():
                    # The claim comes first. After a crash the next run repeats this request with the same path and id:
                    # the admin API then returns the backup that the first request made.
                    backup = await self._write(backup, action.status)
                    self._answer = await call_or_failure(self._ports.admin_api.backup(self._target(), action))
                case _:
                    written = await self._write(backup, action.status)
                    # Nothing was written, so the same decision would follow. Requeue instead of a busy loop.
                    if written is backup:
                        return NO_PROGRESS_DELAY
                    backup = written

    async def _write(self, backup: Backup, status: Patch) -> Backup:
        written = await update_status(self._ports, Backup.parse, backup, status, None, self._log)
        refusal = self._origin.refusal if isinstance(self._origin, OriginDecision) else ""
        if refusal and written.has_origin and not backup.has_origin:
            # After the status: the event reports a decision that is durable.
            event = KubernetesEvent(str(Reason.OriginNotConfirmed), refusal, warning=True)
            await self._ports.cluster.event(self._ref, event, self._ports.clock.now())
        return written

    async def _observe(self, backup: Backup, begun: Workload | ResolvedGateway) -> decisions.BackupObservation:
        if not decisions.needs_gateway(backup, self._ports.clock.now()):
            return decisions.BackupObservation(backup)
        if self._gateway is None:
            resolved, _ = await asyncio.gather(self._lock.resolve(self._ports, begun), self._read_origin(backup))
            self._gateway = resolved
            if resolved.target is not None and backup.phase != "Verifying":
                self._health = await call_or_failure(self._ports.admin_api.health(resolved.target))
                self._running_restore = await self._find_running_restore(self._health)
        return decisions.BackupObservation(
            backup=backup,
            gateway=self._gateway.gateway,
            health=self._health,
            backup_id=backup_id_of(self._ports, self._health, self._ref),
            answer=self._answer,
            stored=self._stored,
            checked=self._checked,
            index=await self._backup_index(),
            origin=self._origin,
            running_restore=self._running_restore,
        )

    async def _find_running_restore(self, health: SystemHealthData | Failure) -> str | None:
        """The name of the running GatewayRestore that is open at the gateway; None also if that one has ended."""
        pending = health.pending_restore if isinstance(health, SystemHealthData) else None
        if pending is None:
            return None
        bodies = await self._ports.cluster.list_ours(RESTORE_KIND, self._ref.namespace)
        restores = [one for one in map(Restore.parse, bodies) if one.request_id == pending.request_id]
        return next((one.meta.ref.name for one in restores if is_running(one)), None)

    async def _read_origin(self, backup: Backup) -> None:
        if not backup.has_origin:
            self._origin = await read_origin(self._ports, backup)

    async def _backup_index(self) -> BackupIndex:
        """The other backups, for decisions that compare with them: the watch's index, or else one list per run.

        Without the watch's index they are listed after a call has given a file: a decision compares only then.
        """
        has_file = any(isinstance(one, BackupFile | FileCheck) for one in (self._answer, self._stored, self._checked))
        if self._index is None and has_file:
            listed = await self._ports.cluster.list_ours(BACKUP_KIND, self._ref.namespace)
            self._index = BackupIndex(Backup.parse(body) for body in listed)
        return self._index if self._index is not None else BackupIndex()

    def _target(self) -> AdminTarget:
        # A decision requests a call only if the observation has an endpoint, and an endpoint comes with its key.
        if self._gateway is None or self._gateway.target is None:
            raise AssertionError("The decision requests a call, but no gateway was resolved.")
        return self._gateway.target
