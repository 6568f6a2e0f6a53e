"""Deletes one backup by its id. `repository.deletion` does the durable steps."""

from __future__ import annotations

from gateway_api.contract import DeleteResult
from gateway_api.operation_context import OperationContext
from gateway_api.repository.deletion import delete


def delete_by_id(context: OperationContext, backup_id: str) -> DeleteResult:
    """Deletes the backup. Succeeds with ``existed=False`` if there is no such backup, so a retry is safe."""
    located = context.index.locate(context.volume.base_fd, backup_id)
    if located is None:
        return DeleteResult(backup_id=backup_id, existed=False)
    return DeleteResult(backup_id=backup_id, existed=delete(context.volume, located))
