"""What the backup endpoints do, between the wire models and the store."""

from __future__ import annotations

import secrets

from gateway_api.contract import BackupRequest, BackupResult, ErrorCode, backup_id_for
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.idempotency import request_digest
from gateway_api.operation_context import OperationContext, backup_ids
from gateway_api.repository import store
from gateway_api.repository.manifest import LocatedBackup, record_of
from gateway_api.repository.store import NewBackup
from gateway_api.storage.paths import parse_absolute, parse_relative


def create(context: OperationContext, request: BackupRequest) -> BackupResult:
    """Makes the backup, or gives the result of the same request again. Raises every code the contract gives it."""
    if request.output_file is not None:
        parts = parse_absolute(request.output_file, context.settings.backup_dir)
    else:
        parts = parse_relative(request.path or "")
    gateway_id, volume_id = backup_ids(context)
    body_sha256 = request_digest("backup", request)
    identity = secrets.token_hex(16) if request.request_id is None else backup_id_for(volume_id, request.request_id)
    if request.request_id is not None and (done := _existing_result(context, parts, identity, body_sha256)) is not None:
        return done
    recipients = context.protection.recipients_for(parts[-1])
    live = context.config.read()
    if live.kind != "valid":
        raise live.error()
    new = NewBackup(
        backup_id=identity,
        parts=parts,
        replace=request.output_file is not None or request.overwrite,
        created=context.clock(),
        gateway_id=gateway_id,
        volume_id=volume_id,
        request_id=request.request_id,
        request_sha256=body_sha256,
        gateway_version=context.settings.gateway_version,
        requested_by=context.requested_by,
        audit_head=context.audit_head,
        metadata=tuple(request.metadata.items()),
    )
    record = record_of(store.create(context.volume, new, live, recipients=recipients, sign=context.sign))
    return BackupResult.model_validate(record.model_dump())


def _existing_result(
    context: OperationContext, parts: tuple[str, ...], identity: str, body_sha256: str
) -> BackupResult | None:
    volume = context.volume
    located = context.inventory.locate(volume.base_fd, identity, new=True)
    try:
        if (
            located is None
            and (beside := store.read_manifest_beside(volume, parts)) is not None
            and beside.id == identity
        ):
            # Where the request would put it is looked at whatever the index says: a listing may have failed.
            located = LocatedBackup(beside, parts)
        if located is None:
            store.refuse_unfinished(volume, identity)
        known = located.manifest if located is not None else store.tombstone_of(volume, identity)
        there = located is not None and store.has_data(volume, located)
    except OSError as error:
        raise backup_volume_error(error) from None
    if known is None:
        return None
    if known.request_sha256 != body_sha256:
        raise ApiError(ErrorCode.RequestIdReused)
    if located is None or not there:
        raise ApiError(ErrorCode.Deleted)
    return BackupResult.model_validate({**record_of(located).model_dump(), "replayed": True})
