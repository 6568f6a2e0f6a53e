"""What the handlers share. They only feed the index and the work queues; every reconcile runs in its queue."""

from __future__ import annotations

from dataclasses import dataclass

from gateway_operator.domain.index.backup_index import BackupIndex
from gateway_operator.domain.model.identifiers import NamespacedName
from gateway_operator.domain.model.resources import Backup, Import, Restore
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import Ports
from gateway_operator.reconcile.workqueue import WorkQueue


@dataclass
class HandlerDependencies:
    """What the handlers work with; made once, at the start."""

    ports: Ports
    backups: WorkQueue[Backup]
    restores: WorkQueue[Restore]
    imports: WorkQueue[Import]
    schedules: WorkQueue[GatewayBackupSchedule]

    def add_schedule_of(self, backup: Backup) -> None:
        """Reconcile the schedule of a backup that has changed, if it has one: it is named as the backup's group."""
        self.schedules.add(NamespacedName(backup.meta.ref.namespace, backup.group))

    @property
    def backup_index(self) -> BackupIndex:
        """The GatewayBackups that the watch has shown."""
        if self.ports.backup_index is None:
            raise AssertionError("the operator's ports come with an index")
        return self.ports.backup_index

    async def stop(self) -> None:
        """Stop all queues."""
        for queue in (self.backups, self.restores, self.imports, self.schedules):
            await queue.stop()
