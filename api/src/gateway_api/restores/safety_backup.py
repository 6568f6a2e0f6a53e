"""Backs up the live config to the backup volume before a restore replaces it.

The safety backup adds to the kept previous config, which lies on the config volume and is deleted when the restore
ends. A valid config becomes a normal backup; an invalid one is stored as a raw copy without a manifest.
"""

from __future__ import annotations

from typing import Literal

from gateway_api.codec.compression import format_for_name
from gateway_api.codec.encode import encode
from gateway_api.contract import ErrorCode, SafetyBackup
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.gateway_config.live import ConfigRead
from gateway_api.idempotency import canonical_digest
from gateway_api.operation_context import OperationContext
from gateway_api.repository import store
from gateway_api.repository.staging import write_and_read_back
from gateway_api.repository.store import NewBackup
from gateway_api.storage.atomic_write import link_exclusive, sync_directory, unlink_if_exists
from gateway_api.storage.content import Blob
from gateway_api.storage.layout import GATEWAY_ID_FILE, SAFETY_FOLDER, VOLUME_ID_FILE
from gateway_api.storage.paths import lstat_if_exists, make_parents, open_parent

SURVIVABLE = frozenset({ErrorCode.VolumeFull, ErrorCode.VolumeUnavailable, ErrorCode.SigningKeyUnusable})


def create_safety_backup(
    context: OperationContext, live: ConfigRead, request_id: str, requested: bool | Literal["required"]
) -> SafetyBackup:
    """Saves ``live``, or reports ``kind="kept"`` when only the kept previous config protects the caller.

    A full or failing backup volume does not prevent the restore, unless ``requested`` is ``required``. Raises every
    error of :func:`store.create`, and the error of an unreadable config that ``required`` cannot save.
    """
    if requested is False:
        return SafetyBackup(kind="none")
    if live.kind == "missing":
        return SafetyBackup(kind="missing")
    try:
        if live.kind == "valid":
            return _back_up_valid(context, live, request_id)
        if live.content is not None:
            return _copy_invalid(context, live.content, request_id)
        raise live.error() if requested == "required" else ApiError(ErrorCode.VolumeUnavailable)
    except ApiError as error:
        if requested == "required" or error.code not in SURVIVABLE:
            raise
        return SafetyBackup(kind="kept")


def _name_stem(context: OperationContext, request_id: str) -> str:
    return f"{context.clock():%Y%m%dT%H%M%SZ}-{request_id[:12]}"


def _back_up_valid(context: OperationContext, live: ConfigRead, request_id: str) -> SafetyBackup:
    volume = context.volume
    try:
        volume_id, gateway_id = (
            volume.read_or_create_id(VOLUME_ID_FILE),
            context.config_state.read_or_create_id(GATEWAY_ID_FILE),
        )
    except OSError as error:
        raise backup_volume_error(error) from None
    # The id depends on the volume, the request and the config only: a repeated request reuses its safety backup.
    backup_id = canonical_digest(["safety", volume_id, request_id, live.sha256])[:32]
    located = context.index.locate(volume.base_fd, backup_id, new=True)
    if located is None or not store.data_file_exists(volume, located):
        name = f"{_name_stem(context, request_id)}-{backup_id[:8]}.json.zst"
        parts = (SAFETY_FOLDER, context.protection.name_for(name))
        new = NewBackup(
            backup_id=backup_id,
            parts=parts,
            replace=True,
            created=context.clock(),
            gateway_id=gateway_id,
            volume_id=volume_id,
            gateway_version=context.settings.gateway_version,
            requested_by=context.requested_by,
            audit_head=context.audit_head,
        )
        recipients = context.protection.recipients_for(parts[-1])
        located = store.create(volume, new, live, recipients=recipients, sign=context.sign)
    return SafetyBackup(kind="backup", path=located.path, backup_id=backup_id)


def _copy_invalid(context: OperationContext, content: Blob, request_id: str) -> SafetyBackup:
    volume = context.volume
    parts = (
        SAFETY_FOLDER,
        context.protection.name_for(f"{_name_stem(context, request_id)}-{content.sha256[:8]}.json.invalid"),
    )
    recipients = context.protection.recipients_for(parts[-1])
    try:
        stored = encode(content, format_for_name(parts[-1]), recipients)
        make_parents(volume.base_fd, parts)
        with open_parent(volume.base_fd, parts) as parent:
            if lstat_if_exists(parent, parts[-1]) is None:
                # A crash right after this leaves a temporary file, which recovery removes.
                temporary = write_and_read_back(parent, stored)
                try:
                    # A crash right after this leaves a complete copy; a repeated request writes another one under a
                    # name of its own time.
                    link_exclusive(parent, temporary, parts[-1])
                except (OSError, ApiError):
                    unlink_if_exists(parent, temporary)
                    raise
                sync_directory(parent)
    except OSError as error:
        raise backup_volume_error(error) from None
    return SafetyBackup(kind="raw", path="/".join(parts))
