"""The dependencies that all handlers share: ports, backup index and one work queue for each kind.

A handler only updates the index and adds objects to a queue. Each reconcile runs in its queue.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from gateway_operator.domain.index.backup_index import BackupIndex
from gateway_operator.domain.metrics.restores import RestoreIndex
from gateway_operator.domain.model.identifiers import NamespacedName
from gateway_operator.domain.model.import_resource import Import
from gateway_operator.domain.model.names import BACKUP_KIND, IMPORT_KIND, RESTORE_KIND, SCHEDULE_KIND
from gateway_operator.domain.model.resources import Backup, Json
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.leadership import Leadership
from gateway_operator.ports import Ports
from gateway_operator.reconcile.notifications.notifier import Notifier
from gateway_operator.reconcile.workqueue import WorkQueue

_log: Final = logging.getLogger("gateway_operator.handlers")

ResourceT = TypeVar("ResourceT")


def parse_or_defaults(parse: Callable[[Json], ResourceT], body: Json) -> ResourceT:
    """Parse an object; one that cannot be parsed has the default spec and no status.

    A handler must never raise, because the object would then be in no queue and end nowhere. The reconcile of such an
    object parses it again, fails, and reports that.
    """
    try:
        return parse(body)
    except Exception:
        _log.exception("An object cannot be parsed: %s", (body.get("metadata") or {}).get("name"))
        return parse({"metadata": body.get("metadata")})


@dataclass
class HandlerDependencies:
    """The dependencies of the handlers, created once at startup and kept in kopf's memo."""

    ports: Ports
    backups: WorkQueue[Backup]
    restores: WorkQueue[Restore]
    imports: WorkQueue[Import]
    schedules: WorkQueue[GatewayBackupSchedule]
    leadership: Leadership
    restore_index: RestoreIndex = field(default_factory=RestoreIndex)
    """A row of each GatewayRestore, for the metrics."""
    notifier: Notifier | None = None
    """None without notifications."""

    @property
    def queues(self) -> dict[str, WorkQueue[Any]]:
        """The work queue of each kind."""
        return {
            BACKUP_KIND: self.backups,
            RESTORE_KIND: self.restores,
            IMPORT_KIND: self.imports,
            SCHEDULE_KIND: self.schedules,
        }

    def notify(self, resource: Backup | Restore | GatewayBackupSchedule, *, deleted: bool) -> None:
        """Let the notifier see a changed object. It does not block."""
        if self.notifier is not None:
            self.notifier.observe(resource, deleted=deleted)

    def add_schedule_of(self, backup: Backup) -> None:
        """Add the schedule of a changed backup to its queue. If there is none of that name, the queue ignores it."""
        self.schedules.add(NamespacedName(backup.meta.ref.namespace, backup.schedule or backup.group))

    @property
    def backup_index(self) -> BackupIndex:
        """The index of all GatewayBackups, filled by the watch."""
        if self.ports.backup_index is None:
            raise AssertionError("The handlers need ports with a backup index.")
        return self.ports.backup_index
