"""Reconciling a GatewayBackup."""

from __future__ import annotations

from gateway_api.contract import BackupRecord, SystemHealthData
from gateway_operator.domain import backup as decisions
from gateway_operator.domain.actions import (
    CallBackup,
    CheckFile,
    FindFile,
    Finish,
    PutLabel,
    ReadBack,
    Stop,
    Wait,
)
from gateway_operator.domain.backup_index import BackupIndex
from gateway_operator.domain.calls import BackupFile, Failure, FileCheck, NotFound
from gateway_operator.domain.names import BACKUP_KIND
from gateway_operator.domain.objects import Backup, GatewayRef, Ref
from gateway_operator.ports import AdminTarget, ConflictError, MissingError, Ports
from gateway_operator.reconcile.gateways import Turn, Turns, View, backup_id_of, tried
from gateway_operator.reconcile.writing import NOTHING_NEW, Log, write


async def reconcile_backup(
    ports: Ports, turns: Turns, ref: Ref, log: Log, gateway: GatewayRef | None = None
) -> float | None:
    """Bring a GatewayBackup forward. Gives the seconds until it wants to be looked at again; None if never.

    ``gateway`` is its spec's, which never changes: who has it at hand spares a read.
    """
    if gateway is None:
        body = await ports.cluster.read(ref)
        if body is None:
            return None
        gateway = Backup.parse(body).gateway
    turn = turns.of(ref.namespace, gateway)
    async with turn:
        run = _BackupRun(ports, ref, turn, log)
        try:
            return await run.go()
        finally:
            if run.went_badly:
                turn.forget()


class _BackupRun:
    """One run. What its calls answered lives here, for one run; all else is in the status."""

    def __init__(self, ports: Ports, ref: Ref, turn: Turn, log: Log) -> None:
        self._ports = ports
        self._ref = ref
        self._turn = turn
        self._log = log
        self._view: View | None = None
        self._health: SystemHealthData | Failure | None = None
        self._answer: BackupFile | NotFound | Failure | None = None
        self._stored: BackupRecord | NotFound | Failure | None = None
        self._checked: FileCheck | NotFound | Failure | None = None
        self._index = ports.backup_index

    @property
    def went_badly(self) -> bool:
        """Whether it looked at the gateway, and what it saw did not make a backup and give its record."""
        return self._view is not None and not isinstance(self._stored, BackupRecord)

    async def go(self) -> float | None:
        """Step by step until there is nothing to do, or something to wait for."""
        backup: Backup | None = None
        while True:
            if backup is None:
                body = await self._ports.cluster.read(self._ref)
                if body is None:
                    return None
                backup = Backup.parse(body)
            action = decisions.decide(await self._observe(backup), self._ports.clock.now())
            try:
                match action:
                    case Stop():
                        return None
                    case Finish():
                        after = await write(self._ports, Backup.parse, backup, action.status, action.note, self._log)
                        if self._ports.backup_index is not None:  # before the watch: the next one is compared with it
                            self._ports.backup_index.upsert(after)
                        return None
                    case Wait():
                        await write(self._ports, Backup.parse, backup, action.status, action.note, self._log)
                        return action.seconds
                    case ReadBack():
                        self._stored = await tried(self._ports.admin_api.read_backup(self._target(), action.backup_id))
                    case FindFile():
                        backup = await write(self._ports, Backup.parse, backup, action.status, None, self._log)
                        if self._ports.backup_index is not None:
                            self._ports.backup_index.upsert(backup)
                        self._answer = await tried(self._ports.admin_api.find_file(self._target(), action.path))
                    case CheckFile():
                        call = self._ports.admin_api.check_file(self._target(), action.backup_id, action.path)
                        self._checked = await tried(call)
                    case PutLabel():
                        body = await self._ports.cluster.put_label(backup.meta, action.key, action.value)
                        backup = Backup.parse(body)
                    case CallBackup():
                        backup = await write(self._ports, Backup.parse, backup, action.status, None, self._log)
                        self._answer = await tried(self._ports.admin_api.backup(self._target(), action))
                    case _:
                        after = await write(self._ports, Backup.parse, backup, action.status, action.note, self._log)
                        if after is backup:
                            return NOTHING_NEW
                        backup = after
            except MissingError:
                return None
            except ConflictError:  # somebody wrote in between: look at what is there now
                backup = None

    async def _observe(self, backup: Backup) -> decisions.Observed:
        if not decisions.needs_gateway(backup, self._ports.clock.now()):
            return decisions.Observed(backup)
        if self._view is None:
            self._view = await self._turn.look(self._ports)
            if self._view.target is not None and backup.phase != "Verifying":
                self._health = await tried(self._ports.admin_api.health(self._view.target))
        return decisions.Observed(
            backup=backup,
            gateway=self._view.gateway,
            health=self._health,
            backup_id=backup_id_of(self._ports, self._health, self._ref),
            answer=self._answer,
            stored=self._stored,
            checked=self._checked,
            index=await self._backup_index(backup),
        )

    async def _backup_index(self, backup: Backup) -> BackupIndex:
        """The other backups, where they matter: from the watch, or listed once, after the claim was written."""
        if self._index is None and (backup.phase == "Verifying" or (backup.existing and backup.phase == "Running")):
            listed = await self._ports.cluster.list_ours(BACKUP_KIND, self._ref.namespace)
            self._index = BackupIndex(Backup.parse(body) for body in listed)
        return self._index if self._index is not None else BackupIndex()

    def _target(self) -> AdminTarget:
        # A decision asks for a call only where it saw an endpoint, and an endpoint comes with its key.
        if self._view is None or self._view.target is None:
            raise AssertionError("a call was decided on without a gateway")
        return self._view.target
