"""Lists the objects that a retention pass works on: page by page, complete, from the API server's store.

An object that cannot be read is reported there and left out. It must not stop the pass over the other objects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from gateway_operator.domain.index.backup_index import TERMINAL_BACKUP_PHASES, BackupSummary
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.import_resource import Import
from gateway_operator.domain.model.names import BACKUP_KIND, IMPORT_KIND, RESTORE_KIND, SCHEDULE_KIND
from gateway_operator.domain.model.resources import Backup, Json, Meta
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.status import TERMINAL_RESTORE_PHASES
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import Ports
from gateway_operator.reconcile.backup_import import TERMINAL_IMPORT_PHASES
from gateway_operator.reconcile.status_writer import Log

T = TypeVar("T")


@dataclass
class Listing:
    """The objects of one or all namespaces. ``complete``: all lists were read without an error."""

    began: datetime
    """The operator's clock before the first list."""
    complete: bool = False
    backups: list[BackupSummary] = field(default_factory=list)
    restores: list[Restore] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    schedules: list[GatewayBackupSchedule] = field(default_factory=list)
    skew: timedelta | None = None
    """The API server's clock minus the operator's clock; None if no answer had a date."""
    unreadable: dict[Ref, str] = field(default_factory=dict)
    """The objects that could not be parsed, with the error."""
    incomplete_namespaces: set[str] = field(default_factory=set)
    """Namespaces with an unreadable restore, which may use any backup in it."""

    @property
    def unfinished(self) -> list[Ref]:
        """The objects that a watch must have registered in a work queue."""
        backups = [
            Ref(BACKUP_KIND, one.set_id.namespace, one.name, one.uid)
            for one in self.backups
            if one.phase not in TERMINAL_BACKUP_PHASES and not one.is_deleting
        ]
        restores = [one.meta.ref for one in self.restores if one.phase not in TERMINAL_RESTORE_PHASES]
        imports = [one.meta.ref for one in self.imports if one.phase not in TERMINAL_IMPORT_PHASES]
        return [*backups, *restores, *imports, *(one.meta.ref for one in self.schedules)]

    @property
    def uids(self) -> dict[str, set[str]]:
        """The uids of all listed objects by kind, with those that could not be parsed."""
        uids = {
            BACKUP_KIND: {one.uid for one in self.backups},
            RESTORE_KIND: {one.uid for one in self.restores},
            SCHEDULE_KIND: {one.meta.ref.uid for one in self.schedules},
        }
        for ref in self.unreadable:
            uids.setdefault(ref.kind, set()).add(ref.uid)
        return uids

    def is_complete_in(self, namespace: str) -> bool:
        """Whether deletions in a namespace may rely on this listing."""
        return self.complete and namespace not in self.incomplete_namespaces


async def list_objects(ports: Ports, namespace: str, log: Log) -> Listing:
    """The objects of a namespace; of all namespaces if it is empty. An error if the schedules cannot be listed."""
    listing = Listing(ports.clock.now())
    listing.schedules = await _list(ports, SCHEDULE_KIND, namespace, GatewayBackupSchedule.parse, listing)
    try:
        # Restores after backups: a restore that is created in between protects a backup that is already listed.
        listing.backups = await _list(ports, BACKUP_KIND, namespace, _summary, listing)
        listing.restores = await _list(ports, RESTORE_KIND, namespace, Restore.parse, listing)
        listing.imports = await _list(ports, IMPORT_KIND, namespace, Import.parse, listing)
        listing.complete = True
    except Exception as error:
        # Nothing may be deleted on the basis of a partial list: a missing restore or backup could protect another.
        log.warning(
            "The listing of %s is incomplete, so retention deletes nothing there: %s",
            f"namespace {namespace}" if namespace else "the cluster",
            error,
        )
    return listing


def _summary(body: Json) -> BackupSummary:
    return BackupSummary.from_backup(Backup.parse(body))


async def _list(ports: Ports, kind: str, namespace: str, parse: Callable[[Json], T], listing: Listing) -> list[T]:
    """All objects of a kind, parsed page by page: ten thousand whole objects are never in memory at once."""
    objects: list[T] = []
    more = ""
    while True:
        page = await ports.cluster.page(kind, namespace, more)
        for body in page.items:
            try:
                objects.append(parse(body))
            except Exception as error:  # one object that cannot be parsed must not stop the others
                _note_unreadable(kind, body, error, listing)
        if page.server_time is not None:
            listing.skew = page.server_time - ports.clock.now()
        more = page.more
        if not more:
            return objects


def _note_unreadable(kind: str, body: Json, error: Exception, listing: Listing) -> None:
    metadata = body.get("metadata") or {}
    ref = Meta.parse({"metadata": {name: metadata.get(name) for name in ("namespace", "name", "uid")}}, kind).ref
    listing.unreadable[ref] = f"{type(error).__name__}: {error}"
    if kind == RESTORE_KIND:
        listing.incomplete_namespaces.add(ref.namespace)
