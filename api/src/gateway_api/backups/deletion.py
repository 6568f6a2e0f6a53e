"""Deletes one backup by its id. `repository.deletion` does the durable steps."""

from __future__ import annotations

from gateway_api.contract import DeleteResult, ErrorCode
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.operation_context import OperationContext
from gateway_api.repository import store
from gateway_api.repository.data_files import is_present
from gateway_api.repository.deletion import delete


def delete_by_id(context: OperationContext, backup_id: str) -> DeleteResult:
    """Deletes the backup. Succeeds with ``existed=False`` if nothing is there, so a retry is safe.

    Only what lies at the path of the manifest, perhaps gzipped, is deleted. Raises ``BackupChanged`` if other bytes are
    there, or if the backup was moved or put back by hand. Raises ``BackupUnusable`` if it cannot be read, so that
    nobody knows what it is. Raises the errors of the volume.
    """
    volume = context.volume
    try:
        tombstone = store.read_tombstone(volume, backup_id)
    except OSError as error:
        raise backup_volume_error(error) from None
    located = context.index.locate(volume.base_fd, backup_id)
    if located is not None and not located.is_at_own_path and not is_present(volume.base_fd, located):
        # A moved manifest without its data file.
        located = None
    if tombstone is not None and tombstone.replaced_by is None:
        # The deletion was completed. A repeated call must not touch a copy that a person has kept since.
        if located is not None and located.is_at_own_path and is_present(volume.base_fd, located):
            raise ApiError(
                ErrorCode.BackupChanged, "the backup was deleted and then put back by hand; delete it by hand"
            )
        return DeleteResult(backup_id=backup_id, existed=False)
    if located is None:
        return DeleteResult(backup_id=backup_id, existed=False)
    if not located.is_at_own_path:
        if tombstone is not None:
            # The backup was replaced at its own path. This is a copy that a person has kept.
            return DeleteResult(backup_id=backup_id, existed=False)
        raise ApiError(ErrorCode.BackupChanged, f"the backup was moved by hand to {located.path}; nothing was deleted")
    return DeleteResult(backup_id=backup_id, existed=delete(volume, located, context.clock()))
