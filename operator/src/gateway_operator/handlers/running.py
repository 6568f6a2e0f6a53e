"""What the handlers share. They only feed the index and the work queues; every reconcile runs in its queue."""

from __future__ import annotations

from dataclasses import dataclass

from gateway_operator.domain.known import KnownBackups
from gateway_operator.domain.objects import Backup, Import, Restore
from gateway_operator.domain.scheduled import Members, Schedule, Set
from gateway_operator.ports import Ports
from gateway_operator.reconcile.workqueue import WorkQueue


@dataclass
class HandlerDependencies:
    """What the handlers work with; made once, at the start."""

    ports: Ports
    members: Members
    backups: WorkQueue[Backup]
    restores: WorkQueue[Restore]
    imports: WorkQueue[Import]
    schedules: WorkQueue[Schedule]

    def add_schedule_of(self, backup_set: Set | None) -> None:
        """A backup of that set has changed: reconcile its schedule, if it has one."""
        if backup_set is not None:
            self.schedules.add((backup_set[0], backup_set[2]))

    @property
    def known(self) -> KnownBackups:
        """The GatewayBackups that the watch has shown."""
        if self.ports.known is None:
            raise AssertionError("the operator's ports come with an index")
        return self.ports.known

    async def stop(self) -> None:
        """Stop all queues."""
        for queue in (self.backups, self.restores, self.imports, self.schedules):
            await queue.stop()
