"""Reads the GatewayBackups from which the source of a restore or of a drill is resolved."""

from __future__ import annotations

from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import BACKUP_KIND
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.ports import Ports


async def read_backups(ports: Ports, restore: Restore) -> list[Backup]:
    """The backups from which to choose; none outside Validating, or if the source is resolved or is no backup."""
    namespace = restore.meta.ref.namespace
    if restore.phase != "Validating" or restore.source or not restore.names_backup:
        return []
    if restore.backup_name is not None:
        return await read_backup(ports, namespace, restore.backup_name)
    return [Backup.parse(body) for body in await ports.cluster.list_ours(BACKUP_KIND, namespace)]


async def read_backup(ports: Ports, namespace: str, name: str | None) -> list[Backup]:
    """The backup of this name, if it exists; none without a name."""
    body = await ports.cluster.read(Ref(BACKUP_KIND, namespace, name, "")) if name else None
    return [] if body is None else [Backup.parse(body)]
