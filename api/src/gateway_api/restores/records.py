"""Reads and writes the records of restores.

The latest restore is in the journal, on the config volume. The record of a finished restore is kept permanently on the
backup volume. A full or unavailable backup volume must not prevent the end of a restore. A record that cannot be
written there is deferred: it is stored in `requests/` of the config directory and moved by `flush_deferred`.
"""

from __future__ import annotations

import os

from pydantic import ValidationError

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError, config_volume_error
from gateway_api.restores.journal import Journal
from gateway_api.storage.atomic_write import list_names, write_file
from gateway_api.storage.file_system import sync_directory
from gateway_api.storage.layout import JOURNAL_FILE, REQUESTS_FOLDER, restore_record_name
from gateway_api.storage.state_dir import StateDir, dump_record, read_record


def _parse(data: bytes) -> Journal:
    try:
        return Journal.model_validate_json(data)
    except ValidationError:
        raise ApiError(ErrorCode.RestoreStateUnknown, "the record of the restore cannot be read") from None


def load_journal(config_state: StateDir) -> Journal | None:
    """The latest restore that is not archived, or None. Raises ``RestoreStateUnknown`` for a damaged journal."""
    try:
        data = config_state.read(JOURNAL_FILE)
    except OSError as error:
        raise config_volume_error(error) from None
    return None if data is None else _parse(data)


def save_journal(config_state: StateDir, journal: Journal) -> Journal:
    """Replaces the journal durably and returns it. Raises the error of a failing config volume."""
    try:
        config_state.write(JOURNAL_FILE, dump_record(journal.model_dump(mode="json")))
    except OSError as error:
        raise config_volume_error(error) from None
    return journal


def find_finished(
    config_state: StateDir, backup_state: StateDir | None, request_id: str, *, volume_has_records: bool = True
) -> Journal | None:
    """The record of a committed or rolled-back restore, deferred or on the backup volume; None if there is none.

    Raises ``VolumeUnavailable`` when there is no record but one of the two places could not be read. The restore may
    have been done, and must not be done twice. ``volume_has_records`` is False for a copy without a state folder.
    """
    incomplete = backup_state is None and volume_has_records
    for state in (config_state, backup_state):
        if state is None:
            continue
        try:
            data = read_record(state.fd, f"{REQUESTS_FOLDER}/{restore_record_name(request_id)}")
        except OSError:
            incomplete = True
            continue
        if data is not None:
            return _parse(data)
    if incomplete:
        raise ApiError(ErrorCode.VolumeUnavailable, "the records of finished restores cannot be read")
    return None


def find(config_state: StateDir, backup_state: StateDir | None, request_id: str) -> Journal:
    """The record of a restore in any state.

    Raises ``RestoreNotFound``, ``RestoreStateUnknown``, ``VolumeUnavailable``.
    """
    journal = load_journal(config_state)
    if journal is None or journal.request_id != request_id:
        journal = find_finished(config_state, backup_state, request_id)
    if journal is None:
        raise ApiError(ErrorCode.RestoreNotFound)
    return journal


def archive(config_state: StateDir, backup_state: StateDir | None, journal: Journal) -> None:
    """Stores the record of a finished restore permanently: on the backup volume, else deferred on the config volume.

    Raises ``OSError`` or ``ApiError`` only if both fail; the journal then still holds the record.
    """
    data = dump_record(journal.model_dump(mode="json"))
    name = restore_record_name(journal.request_id)
    if backup_state is not None:
        try:
            with backup_state.open_folder(REQUESTS_FOLDER) as folder:
                # A crash right after this leaves journal and record; recovery writes the same record again.
                write_file(folder, name, data)
            return
        except (OSError, ApiError):
            pass
    with config_state.open_folder(REQUESTS_FOLDER) as folder:
        # A crash right after this leaves journal and deferred record; recovery may archive to the volume as well.
        write_file(folder, name, data)


def flush_deferred(config_state: StateDir, backup_state: StateDir | None) -> None:
    """Moves deferred records to the backup volume, as long as it accepts them. Never raises."""
    if backup_state is None:
        return
    try:
        with config_state.open_folder(REQUESTS_FOLDER) as deferred:
            for name in sorted(list_names(deferred)):
                data = read_record(deferred, name)
                if data is None or not name.endswith(".json"):
                    continue
                with backup_state.open_folder(REQUESTS_FOLDER) as folder:
                    # A crash right after this leaves the same record in both places; the next flush repeats the move.
                    write_file(folder, name, data)
                # The copy is durable, so the deferred record may go. A crash right after this at worst undoes the
                # unlink, and the next flush repeats the move.
                os.unlink(name, dir_fd=deferred)
                sync_directory(deferred)
    except (OSError, ApiError):
        return
