"""Recovers both volumes from a server that was killed, at startup and before every operation.

`operation_runner` calls `recover` with the locks of both volumes held, so no other server works on them. First the
config volume: leftover temporary files, then the unfinished restore. Then the backup volume: leftover temporary
files, backups whose manifest is not in place, deletions that are not complete, manifests without data, the reserve,
and old uploads. Last, the previous configs that are in no backup yet are backed up. Every step is safe to repeat, and
an operation that was not recovered fully is recovered before the next one.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from gateway_api import logs
from gateway_api.backups.expiry import remove_expired
from gateway_api.backups.missing import is_due, move_to_missing, read_missing_record, return_manifests
from gateway_api.backups.upload import remove_stale_uploads
from gateway_api.errors import ApiError, describe_errno
from gateway_api.operation_context import OperationContext
from gateway_api.repository.deletion import finish_deletions
from gateway_api.repository.store import finish_pending
from gateway_api.restores.previous import save_previous_configs
from gateway_api.restores.recovery import recover_restores
from gateway_api.storage.atomic_write import remove_temporaries
from gateway_api.storage.free_space import ensure_reserve
from gateway_api.storage.layout import (
    PENDING_FOLDER,
    REQUESTS_FOLDER,
    TOMBSTONES_FOLDER,
)
from gateway_api.storage.state_dir import StateDir

PROBE_SECONDS: Final = 60.0
"""Minimum age of a temporary file in the config's directory before it is removed, in seconds.

Readiness probes create small files there without the lock; none exists for that long.
"""


def recover(context: OperationContext) -> OperationContext:
    """Recovers both volumes and returns the context for the operation.

    A step that fails is logged and repeated before the next operation. A backup volume that cannot be listed is
    removed from the context, because a repeated request could not be recognised. Raises the error of a config volume
    on which an unfinished restore cannot be recovered.
    """
    context = _clean_config_volume(context)
    # Restores come first: they must be recovered even when the backup volume is unavailable.
    recover_restores(context)
    if context.backup_state is not None:
        context = _recover_backup_volume(context, context.backup_state)
    else:
        context = _refresh_read_only(context)
    context = _recover_gateway_id(context)
    if context.backup_state is not None:
        # After the volume and the ids, because it writes backups there, names both ids and relies on the index.
        save_previous_configs(context)
    return context


def _refresh_read_only(context: OperationContext) -> OperationContext:
    """Updates the index of a backup directory whose state folder cannot be used. Changes no file."""
    if context.read_only_root is not None:
        try:
            context.index.refresh(context.read_only_root)
        except OSError:
            logs.event("backup_volume_unusable", failed=True)
            return replace(context, read_only_root=None)
    return context


def _clean_config_volume(context: OperationContext) -> OperationContext:
    try:
        context.config_state.remove_temporaries(REQUESTS_FOLDER)
        remove_temporaries(context.config_state.base_fd, older_than=time.time() - PROBE_SECONDS)
    except (OSError, ApiError):
        return _incomplete(context, "config")
    return context


def _recover_gateway_id(context: OperationContext) -> OperationContext:
    """After the backup volume, because its manifests may name the id."""
    try:
        gateway_id = context.id_recovery.recover_gateway_id(context.config_state, context.backup_state, context.index)
    except (OSError, ApiError):
        return _incomplete(context, "config")
    return context if gateway_id is not None else replace(context, recovery_complete=False)


def _incomplete(context: OperationContext, volume: str) -> OperationContext:
    """Logs the exception that is being handled."""
    logs.event("recovery_incomplete", failed=True, volume=volume)
    return replace(context, recovery_complete=False)


def _recover_backup_volume(context: OperationContext, volume: StateDir) -> OperationContext:
    try:
        # Removes temporary files while it walks the directories.
        context.index.refresh(volume.base_fd, clean=True)
    except OSError as error:
        logs.event("backup_volume_unusable", failed=True)
        problem = f"the backup volume cannot be listed: {describe_errno(error)}"
        return replace(context, backup_state=None, volume_problem=problem, recovery_complete=False)
    try:
        volume.remove_temporaries(PENDING_FOLDER, TOMBSTONES_FOLDER, REQUESTS_FOLDER)
        # Before the steps below, which may fail: without its id no backup can be created.
        context.id_recovery.recover_volume_id(volume, context.index)
        # Pending backups come first, so that a deletion also removes a manifest that was still pending.
        finish_pending(volume)
        finish_deletions(volume)
        # The two steps above add and remove manifests, so the index is refreshed for the operation.
        context.index.refresh(volume.base_fd)
        return_manifests(context, volume)
        missing_record = read_missing_record(volume)
        # A check that does not see a folder would record the day as done, and the week of its manifests would restart.
        if is_due(missing_record, context.clock()) and not context.index.incomplete:
            remove_expired(volume, context.clock())
            # Last, because it records that the check of the day is done.
            move_to_missing(context, volume, missing_record)
        # Deletions may have freed space for the reserve.
        ensure_reserve(volume)
        remove_stale_uploads(volume)
    except (OSError, ApiError):
        return _incomplete(context, "backups")
    return context
