"""Backs up a config that a restore replaces: before the restore, or later from the kept previous config.

A valid config becomes a normal backup; any other one is stored as a raw copy without a manifest. Both are proven when
they are written, so the result may be recorded as a copy of the config.
"""

from __future__ import annotations

import logging
import os
from datetime import datetime
from typing import Literal

from gateway_api import logs
from gateway_api.codec.compression import format_for_name
from gateway_api.codec.encode import encode
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.gateway_config.live import ConfigRead
from gateway_api.idempotency import canonical_digest
from gateway_api.operation_context import OperationContext, gateway_and_volume_ids
from gateway_api.repository import store
from gateway_api.repository.data_files import is_intact, write_and_read_back
from gateway_api.repository.store import NewBackup
from gateway_api.restores.copies import copy_of, find_copy
from gateway_api.restores.journal import ConfigCopy
from gateway_api.storage.atomic_write import unlink_if_exists
from gateway_api.storage.content import Blob
from gateway_api.storage.file_system import sync_directory
from gateway_api.storage.free_space import require_space
from gateway_api.storage.layout import SAFETY_FOLDER
from gateway_api.storage.paths import make_parents, open_parent


def create_safety_backup(
    context: OperationContext, live: ConfigRead, request_id: str, requested: bool | Literal["required"]
) -> ConfigCopy | None:
    """Saves ``live``; None if there is no config, or if only the kept previous config protects the caller.

    No failure of the backup prevents the restore, unless ``requested`` is ``required``: then the error is raised. If no
    backup is requested or possible, an earlier backup of the same config counts.
    """
    if live.kind == "missing":
        return None
    if requested is not False:
        try:
            now = context.clock()
            stem = f"{now:%Y%m%dT%H%M%SZ}-{request_id[:12]}-{(live.sha256 or '')[:8]}"
            return back_up(context, live, stem=stem, origin=request_id, created=now)
        except ApiError as error:
            if requested == "required":
                raise
            logs.event("safety_backup_failed", logging.WARNING, code=error.code.value)
    return find_copy(context, live.sha256)


def back_up(context: OperationContext, config: ConfigRead, *, stem: str, origin: str, created: datetime) -> ConfigCopy:
    """Writes a backup or a raw copy of the config to the safety folder.

    ``stem`` is the file's name without suffixes. The same ``origin`` and config give the same backup, so a repeated
    call writes no second one. ``created`` is the time at which the config was live.
    Raises every error of :func:`store.create`, and the config's own error if its bytes are unknown.
    """
    if config.content is None:
        raise config.error()
    if config.kind == "valid":
        return _back_up_valid(context, config, stem, origin, created)
    return _copy_raw(context, config.content, stem)


def _back_up_valid(
    context: OperationContext, config: ConfigRead, stem: str, origin: str, created: datetime
) -> ConfigCopy:
    volume = context.volume
    gateway_id, volume_id = gateway_and_volume_ids(context)
    backup_id = canonical_digest(["safety", volume_id, origin, config.sha256])[:32]
    located = context.index.locate(volume.base_fd, backup_id, new=True)
    if located is None or not is_intact(volume.base_fd, located):
        parts = (SAFETY_FOLDER, context.crypto.name_for(f"{stem}.json.zst"))
        new = NewBackup(
            backup_id=backup_id,
            parts=parts,
            replace=True,
            created=created,
            gateway_id=gateway_id,
            volume_id=volume_id,
            gateway_version=context.settings.gateway_version,
            requested_by=context.requested_by,
            audit_head=context.audit_head,
            audit_lines=context.audit_lines,
        )
        recipients = context.crypto.recipients_for(parts[-1])
        located = store.create(volume, new, config, recipients=recipients, sign=context.sign)
    return copy_of(located)


def _copy_raw(context: OperationContext, content: Blob, stem: str) -> ConfigCopy:
    volume = context.volume
    parts = (SAFETY_FOLDER, context.crypto.name_for(f"{stem}.json.invalid"))
    recipients = context.crypto.recipients_for(parts[-1])
    try:
        stored = encode(content, format_for_name(parts[-1]), recipients)
        require_space(volume, stored.size)
        make_parents(volume.base_fd, parts)
        with open_parent(volume.base_fd, parts) as parent:
            # A crash right after this leaves a temporary file, which recovery removes.
            temporary = write_and_read_back(parent, stored)
            try:
                # Replaces the copy of an interrupted attempt: it may be encrypted, and then it cannot be compared.
                # A crash right after this leaves a complete copy that no record names.
                os.rename(temporary, parts[-1], src_dir_fd=parent, dst_dir_fd=parent)
            except OSError:
                unlink_if_exists(parent, temporary)
                raise
            # Before the copy is recorded: the only other one may be removed because of that record.
            sync_directory(parent)
    except OSError as error:
        raise backup_volume_error(error) from None
    return ConfigCopy(
        path="/".join(parts),
        backup_id=None,
        content_sha256=content.sha256,
        stored_sha256=stored.sha256,
        stored_bytes=stored.size,
    )
