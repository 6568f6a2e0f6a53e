"""Deletes a backup by its id."""

from __future__ import annotations

from gateway_api.contract import DeleteResult
from gateway_api.operation_context import OperationContext
from gateway_api.repository.deletion import delete


def delete_by_id(context: OperationContext, identity: str) -> DeleteResult:
    """Deletes the backup; one that is gone already is a success as well."""
    located = context.inventory.locate(context.volume.base_fd, identity)
    if located is None:
        return DeleteResult(backup_id=identity, existed=False)
    return DeleteResult(backup_id=identity, existed=delete(context.volume, located))
