"""The previous configs in the state folder: when one may be removed, and the backups of those that may not.

A restore or a rollback keeps the config that it replaces as `previous-{time}`. The file is removed only while another
file holds the same bytes: a proven copy on the backup volume, or the live config. No end of a restore, no age and no
clock removes the only copy. Recovery makes a backup of each file that is left, as soon as the volume accepts one.
"""

from __future__ import annotations

import logging
from typing import Final

from gateway_api import logs
from gateway_api.audit import chain
from gateway_api.audit.log import AuditEntry, after_intent
from gateway_api.contract import ErrorCode, SafetyBackup
from gateway_api.errors import ApiError
from gateway_api.gateway_config.live import ConfigFile, ConfigRead
from gateway_api.operation_context import OperationContext
from gateway_api.restores import records
from gateway_api.restores.copies import prove_copy
from gateway_api.restores.journal import ConfigCopy
from gateway_api.restores.safety_backup import back_up
from gateway_api.storage.layout import PREVIOUS_CONFIG_PREFIX, STATE_FOLDER, previous_config_time

MAX_PREVIOUS: Final = 3
"""Number of previous configs without a backup. With as many a restore changes nothing."""


def describe_copy(context: OperationContext, name: str, copy: ConfigCopy | None) -> SafetyBackup:
    """Where the previous config is: in ``copy``, else only in the file ``name`` of the state folder."""
    if copy is None:
        return SafetyBackup(kind="kept", path=str(context.settings.config_dir / STATE_FOLDER / name))
    return SafetyBackup(kind="backup" if copy.backup_id else "raw", path=copy.path, backup_id=copy.backup_id)


def require_room(context: OperationContext) -> None:
    """Raises ``VolumeFull`` if as many previous configs are kept as may be."""
    kept = context.config_replacer.names_with(PREVIOUS_CONFIG_PREFIX)
    if len(kept) >= MAX_PREVIOUS:
        folder = context.settings.config_dir / STATE_FOLDER
        raise ApiError(
            ErrorCode.VolumeFull,
            f"{len(kept)} previous configs are in no backup: {folder}/{PREVIOUS_CONFIG_PREFIX}*; nothing was changed. "
            "Make the backup volume usable, so that the server can back them up, or move them to another place",
        )


def release(
    context: OperationContext, name: str, copy: ConfigCopy | None = None, *, restored_sha256: str | None = None
) -> bool:
    """Removes a previous config that another file holds as well. Returns whether it no longer exists.

    ``copy`` is the safety backup of the restore. A config that equals ``restored_sha256`` was written by the restore
    itself and is no loss.
    """
    replacer = context.config_replacer
    if not name or not replacer.exists(name):
        return True
    if not replacer.is_same_file(name):
        # An unknown digest equals nothing, so the file stays.
        digest = replacer.digest(name)
        if digest is None or not (
            digest == restored_sha256
            or prove_copy(context, copy, digest) is not None
            or digest == replacer.live_digest()
        ):
            return False
    replacer.discard(name)
    return True


def read_previous(context: OperationContext, name: str) -> ConfigRead:
    """Reads a file of the state folder as the live config is read: not while the gateway still writes to it."""
    settings = context.settings
    path = settings.config_dir / STATE_FOLDER / name
    return ConfigFile(path, settings.max_config_bytes, settings.settle_seconds, context.config.parser).read()


def save_previous_configs(context: OperationContext) -> None:
    """Backs up and removes each previous config that no unfinished restore needs. Never raises.

    A file that cannot be saved now stays until the next operation.
    """
    try:
        journal = records.load_journal(context.config_state)
        needed = () if journal is None else (journal.kept_file, journal.replaced_file)
        names = context.config_replacer.names_with(PREVIOUS_CONFIG_PREFIX)
    except ApiError:
        # A damaged journal may name any of the files, so all stay.
        return
    for name in names:
        if name in needed:
            continue
        try:
            if not release(context, name):
                _save(context, name)
        except (OSError, ApiError) as error:
            code = error.code.value if isinstance(error, ApiError) else None
            logs.event("previous_config_not_saved", logging.WARNING, file=name, code=code)


def _save(context: OperationContext, name: str) -> None:
    config = read_previous(context, name)
    if config.content is None:
        raise config.error()
    entry = AuditEntry(context, "save-previous", None)
    # The intent line is durable before the backup, as for every other backup.
    context = after_intent(context, entry.intent())
    try:
        created = previous_config_time(name) or context.clock()
        # A crash right after this leaves backup and file. The next recovery finds the backup and removes the file.
        copy = back_up(context, config, stem=name, origin=name, created=created)
    except ApiError as error:
        entry.outcome(error.code.value, {})
        raise
    entry.outcome("ok", chain.logged_fields(copy))
    release(context, name, copy)
