"""Sets and removes the condition FilePresent=False of Completed backups, by the listing of their volume.

A file that the listing lacks is confirmed by a read of its record before the condition is written: the condition makes
a backup count for nothing, also for restores. FilePresent=True is never written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic
from typing import Final

from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.index.file_state import FileState
from gateway_operator.domain.model import conditions
from gateway_operator.domain.model.actions import KubernetesEvent
from gateway_operator.domain.model.admin_api import NotFound
from gateway_operator.domain.model.identifiers import NamespacedGateway, Ref
from gateway_operator.domain.model.names import BACKUP_KIND
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.retention.volume import VolumeListing, file_state
from gateway_operator.ports import AdminTarget, ConflictError, MissingError, Ports
from gateway_operator.reconcile.gateway_lookup import resolve_gateway
from gateway_operator.reconcile.status_writer import Log

_MAX_READS: Final = 100
"""Reads of records for one gateway in a pass. The others are read in the next passes."""
_MAX_READ_SECONDS: Final = 20.0
"""The time after which no other read begins: a gateway that stops answering must not delay the others for long."""


class FilePresence:
    """The comparison of one gateway's backups with its volume, in one pass."""

    def __init__(self, ports: Ports, gateway: NamespacedGateway, listing: VolumeListing | None, log: Log) -> None:
        self._ports = ports
        self._gateway = gateway
        self._listing = listing
        self._log = log
        self._target: AdminTarget | None = None
        self._reads = 0
        self._read_until: float | None = None
        self.listing_is_old = False
        """Whether the admin API has the record of a file that the listing lacks."""

    async def judge(self, rows: Sequence[BackupSummary]) -> list[BackupSummary]:
        """The rows with the state of their files. Conditions are written where the state has changed."""
        return [await self._judge(row) for row in rows]

    async def _judge(self, row: BackupSummary) -> BackupSummary:
        state = FileState.unknown
        try:
            state = file_state(row, self._listing)
            if state is FileState.missing and not row.is_deleting:
                state = await self._confirm(row)
                if state is FileState.absent:
                    return await self._write(row, state)
            elif row.file_absent_since is not None and state in (FileState.present, FileState.unproven):
                return await self._write(row, state)
        except (ConflictError, MissingError):  # the next pass judges the new version
            state = FileState.unknown
        except Exception as error:  # an unexpected answer about one file must not stop the pass over the others
            self._log.warning("The file of GatewayBackup %s cannot be checked: %s", row.name, error)
        return row if state is row.file else replace(row, file=state)

    async def _confirm(self, row: BackupSummary) -> FileState:
        """``absent`` if the admin API has no record either; ``unknown`` if it has one: the listing is then old."""
        if self._read_until is None:
            self._read_until = monotonic() + _MAX_READ_SECONDS
        if self._reads >= _MAX_READS or monotonic() >= self._read_until:
            return FileState.missing
        self._reads += 1
        if self._target is None:
            resolved = await resolve_gateway(self._ports, self._gateway.namespace, self._gateway.gateway)
            if resolved.target is None:
                return FileState.missing
            self._target = resolved.target
        if row.backup_id:
            absent = isinstance(await self._ports.admin_api.read_backup(self._target, row.backup_id), NotFound)
        else:
            absent = isinstance(await self._ports.admin_api.find_file(self._target, row.path), NotFound)
        self.listing_is_old = self.listing_is_old or not absent
        return FileState.absent if absent else FileState.unknown

    async def _write(self, row: BackupSummary, state: FileState) -> BackupSummary:
        """Write or remove the condition, on top of the version that was judged."""
        ref = Ref(BACKUP_KIND, row.set_id.namespace, row.name, row.uid)
        body = await self._ports.cluster.read(ref)
        if body is None:
            raise MissingError("it was deleted")
        backup, now = Backup.parse(body), self._ports.clock.now()
        if backup.meta.resource_version != row.resource_version:
            raise ConflictError("it was changed since it was listed")
        others = conditions.without_condition(backup.conditions, conditions.FILE_PRESENT)
        if state is FileState.absent:
            reason = Reason.FileMissing
            message = f"{row.path} is not on volume {row.volume_id}."
            changed = conditions.with_condition(
                others, conditions.FILE_PRESENT, False, reason, message, backup.meta.generation, now
            )
        else:
            reason, message, changed = Reason.FileBack, f"{row.path} is on volume {row.volume_id} again.", others
        written = await self._ports.cluster.write_status(backup.meta, {"conditions": changed})
        # The event after the status: a crash in between loses the event, and the condition is still correct.
        event = KubernetesEvent(str(reason), message, warning=state is FileState.absent)
        self._log.info("GatewayBackup %s/%s: %s", ref.namespace, ref.name, message)
        await self._ports.cluster.event(ref, event, now)
        return replace(BackupSummary.from_backup(Backup.parse(written)), file=state)
