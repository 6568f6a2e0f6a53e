"""Creates a backup of the live config: resolves the path, recognises a repeated request, and calls the store.

A request with an id has a backup id that depends on the volume and the request id only. A repeated request therefore
finds the backup of the first one, and returns its result instead of a second backup.
"""

from __future__ import annotations

import secrets

from gateway_api.backups.missing import find_missing
from gateway_api.clock import rfc3339
from gateway_api.contract import BackupRequest, BackupResult, ErrorCode, ExistingBackup, backup_id_for
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.idempotency import request_digest
from gateway_api.operation_context import OperationContext, gateway_and_volume_ids
from gateway_api.repository import store
from gateway_api.repository.data_files import check_data_file
from gateway_api.repository.manifest import LocatedBackup, to_backup_record
from gateway_api.repository.manifest_files import read_manifest_beside
from gateway_api.repository.store import NewBackup
from gateway_api.storage.paths import parse_absolute, parse_relative


def create_backup(context: OperationContext, request: BackupRequest) -> BackupResult:
    """Creates the backup, or returns the result of an earlier request with the same id. Raises every contract error."""
    if request.output_file is not None:
        parts = parse_absolute(request.output_file, context.settings.backup_dir)
    else:
        parts = parse_relative(request.path or "")
    gateway_id, volume_id = gateway_and_volume_ids(context)
    body_sha256 = request_digest("backup", request)
    if request.request_id is None:
        backup_id = secrets.token_hex(16)
    else:
        backup_id = backup_id_for(volume_id, request.request_id)
        if (existing := _existing_result(context, parts, backup_id, body_sha256)) is not None:
            return existing
    if request.record_name is not None:
        _refuse_used_name(context, request.record_name, request.request_id)
    recipients = context.crypto.recipients_for(parts[-1])
    live = context.config.read()
    if live.kind != "valid":
        raise live.error()
    new = NewBackup(
        backup_id=backup_id,
        parts=parts,
        replace=request.output_file is not None or request.overwrite,
        keep_managed=request.output_file is not None,
        created=context.clock(),
        gateway_id=gateway_id,
        volume_id=volume_id,
        request_id=request.request_id,
        request_sha256=body_sha256,
        gateway_version=context.settings.gateway_version,
        requested_by=context.requested_by,
        audit_head=context.audit_head,
        audit_lines=context.audit_lines,
        metadata=tuple(request.metadata.items()),
        record_name=request.record_name,
    )
    record = to_backup_record(store.create(context.volume, new, live, recipients=recipients, sign=context.sign))
    return BackupResult.model_validate(record.model_dump())


def _refuse_used_name(context: OperationContext, record_name: str, request_id: str | None) -> None:
    """Raises ``NameUsed`` if another request has made a backup of this record name whose file is still there.

    A manifest without its file does not count: deleting the file by any means frees the name.
    """
    try:
        holders = context.index.backups_of_record(context.volume.base_fd, record_name)
    except OSError as error:
        raise backup_volume_error(error) from None
    for holder in holders:
        manifest = holder.manifest
        # The same request on a copy of the volume has another backup id, but it is not another request.
        if request_id is not None and manifest.request_id == request_id:
            continue
        raise ApiError(
            ErrorCode.NameUsed,
            f"the backup {holder.path} of {rfc3339(manifest.created)} has this record name",
            existing=ExistingBackup(backup_id=manifest.id, path=holder.path, created=manifest.created),
        )


def _existing_result(
    context: OperationContext, parts: tuple[str, ...], backup_id: str, body_sha256: str
) -> BackupResult | None:
    """The result of the earlier request; None if there was none.

    Raises ``RequestIdReused`` for another body, ``Deleted`` if the backup was deleted or replaced since.
    Raises ``BackupChanged`` or ``BackupUnusable`` if its file is not what the first answer described.
    Raises ``VolumeUnavailable`` if it cannot be determined.
    """
    volume = context.volume
    located = context.index.locate(volume.base_fd, backup_id, new=True)
    try:
        if (
            located is None
            and (manifest_beside := read_manifest_beside(volume.base_fd, parts)) is not None
            and manifest_beside.id == backup_id
        ):
            # The index can lack a directory that could not be listed, so the target path is checked as well.
            located = LocatedBackup(manifest_beside, parts)
        if located is None:
            store.require_not_pending(volume, backup_id)
        manifest = located.manifest if located is not None else store.read_tombstone(volume, backup_id)
        if manifest is None:
            manifest = find_missing(volume, backup_id)
    except OSError as error:
        raise backup_volume_error(error) from None
    if manifest is None:
        return None
    if manifest.request_sha256 != body_sha256:
        raise ApiError(ErrorCode.RequestIdReused)
    try:
        # The first result is true only while the file has the recorded digest.
        has_data = located is not None and check_data_file(volume.base_fd, located)
    except FileNotFoundError:
        has_data = False
    except OSError as error:
        raise backup_volume_error(error) from None
    if located is None or not has_data:
        raise ApiError(ErrorCode.Deleted)
    return BackupResult.model_validate({**to_backup_record(located).model_dump(), "replayed": True})
