"""What the backup endpoints do, between the wire models and the store."""

from __future__ import annotations

import os
import secrets

from . import store
from .context import Context
from .contract import BackupRecord, BackupRequest, BackupResult, DeleteResult, ErrorCode, backup_id_for
from .deletion import delete
from .durable import close
from .errors import ApiError, backup_volume_error
from .idempotency import request_digest
from .inventory import Inventory
from .manifest import Located, record_of
from .mutations import identities
from .notes import noted
from .safe_path import open_file, open_parent, parse_absolute, parse_relative
from .settings import AdminSettings
from .state_folder import StateFolder
from .store import NewBackup


def make(context: Context, request: BackupRequest) -> BackupResult:
    """Makes the backup, or gives the result of the same request again. Raises every code the contract gives it."""
    if request.output_file is not None:
        parts = parse_absolute(request.output_file, context.settings.backup_dir)
    else:
        parts = parse_relative(request.path or "")
    gateway_id, volume_id = identities(context)
    body_sha256 = request_digest("backup", request)
    identity = secrets.token_hex(16) if request.request_id is None else backup_id_for(volume_id, request.request_id)
    if request.request_id is not None and (done := _already(context, parts, identity, body_sha256)) is not None:
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


def _already(context: Context, parts: tuple[str, ...], identity: str, body_sha256: str) -> BackupResult | None:
    volume = context.volume
    located = context.inventory.resolve(volume.base_fd, identity, new=True)
    try:
        if located is None and (beside := store.beside(volume, parts)) is not None and beside.id == identity:
            # Where the request would put it is looked at whatever the index says: a listing may have failed.
            located = Located(beside, parts)
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


def remove(context: Context, identity: str) -> DeleteResult:
    """Deletes the backup; one that is gone already is a success as well."""
    located = context.inventory.resolve(context.volume.base_fd, identity)
    if located is None:
        return DeleteResult(backup_id=identity, existed=False)
    return DeleteResult(backup_id=identity, existed=delete(context.volume, located))


def show(settings: AdminSettings, inventory: Inventory, identity: str) -> BackupRecord:
    """The record of one backup whose file is there. Takes no lock. Raises ``BackupNotFound``, ``VolumeUnavailable``."""
    try:
        with StateFolder(settings.backup_dir, create=False) as state:
            inventory.refresh(state.base_fd)
            located = inventory.resolve(state.base_fd, identity)
            if located is None:
                raise ApiError(ErrorCode.BackupNotFound)
            return _standing(state, inventory, located)
    except FileNotFoundError:
        if settings.backup_dir.is_dir():
            raise ApiError(ErrorCode.BackupNotFound) from None
        raise ApiError(ErrorCode.VolumeUnavailable) from None
    except OSError as error:
        raise backup_volume_error(error) from None


def _standing(state: StateFolder, inventory: Inventory, located: Located) -> BackupRecord:
    name = located.parts[-1]
    with open_parent(state.base_fd, located.parts) as parent:
        try:
            fd = open_file(parent, name)
        except (FileNotFoundError, ApiError):
            raise ApiError(ErrorCode.BackupNotFound) from None
        try:
            size = os.fstat(fd).st_size
        finally:
            close(fd)
        record = noted(record_of(located), inventory.notes.of(parent, name, located.manifest.id))
    return record if size == record.stored_bytes else record.model_copy(update={"level": None, "proof": None})
