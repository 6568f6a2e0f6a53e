"""Where the records of restores lie: the latest in the journal, ended ones for ever on the backup volume.

A backup volume that is full or gone must not keep a restore from ending, so an ended record that cannot be
written there waits in the config directory's own `requests/` and moves when there is room.
"""

from __future__ import annotations

import os

from pydantic import ValidationError

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError, config_volume_error
from gateway_api.restores.journal import Journal
from gateway_api.storage.atomic_write import list_names, sync_directory, write_file
from gateway_api.storage.layout import JOURNAL_FILE, REQUESTS_FOLDER, restore_record_name
from gateway_api.storage.state_dir import StateDir, dump_record, read_record


def _parse(data: bytes) -> Journal:
    try:
        return Journal.model_validate_json(data)
    except ValidationError:
        raise ApiError(ErrorCode.RestoreStateUnknown, "the record of the restore cannot be read") from None


def load_journal(config_state: StateDir) -> Journal | None:
    """The latest restore that is not archived. Raises ``RestoreStateUnknown`` when the journal is damaged."""
    try:
        data = config_state.read(JOURNAL_FILE)
    except OSError as error:
        raise config_volume_error(error) from None
    return None if data is None else _parse(data)


def save_journal(config_state: StateDir, journal: Journal) -> Journal:
    """Writes the journal durably and returns it. Raises what the config volume's failure means."""
    try:
        config_state.write(JOURNAL_FILE, dump_record(journal.model_dump(mode="json")))
    except OSError as error:
        raise config_volume_error(error) from None
    return journal


def find_finished(config_state: StateDir, backup_state: StateDir | None, request_id: str) -> Journal | None:
    """The record of a restore that was committed or rolled back, wherever it lies.

    Raises ``VolumeUnavailable`` when there is none and yet not everything could be read: what may have been done is not
    to be done again.
    """
    unread = backup_state is None
    for state in (config_state, backup_state):
        if state is None:
            continue
        try:
            data = read_record(state.fd, f"{REQUESTS_FOLDER}/{restore_record_name(request_id)}")
        except OSError:
            unread = True
            continue
        if data is not None:
            return _parse(data)
    if unread:
        raise ApiError(ErrorCode.VolumeUnavailable, "the records of ended restores cannot be read")
    return None


def find(config_state: StateDir, backup_state: StateDir | None, request_id: str) -> Journal:
    """The record of a restore whatever its state.

    Raises ``RestoreNotFound``, ``RestoreStateUnknown``, ``VolumeUnavailable``.
    """
    journal = load_journal(config_state)
    if journal is None or journal.request_id != request_id:
        journal = find_finished(config_state, backup_state, request_id)
    if journal is None:
        raise ApiError(ErrorCode.RestoreNotFound)
    return journal


def archive(config_state: StateDir, backup_state: StateDir | None, journal: Journal) -> None:
    """Keeps the record of an ended restore for ever: on the backup volume, or else beside the journal.

    Raises ``OSError`` or ``ApiError`` only if neither place takes it; the journal then still holds it.
    """
    data = dump_record(journal.model_dump(mode="json"))
    name = restore_record_name(journal.request_id)
    if backup_state is not None:
        try:
            with backup_state.folder(REQUESTS_FOLDER) as folder:
                write_file(folder, name, data)
            return
        except (OSError, ApiError):
            pass
    with config_state.folder(REQUESTS_FOLDER) as folder:
        write_file(folder, name, data)


def flush_deferred(config_state: StateDir, backup_state: StateDir | None) -> None:
    """Moves records that wait beside the journal to the backup volume, if it takes them now."""
    if backup_state is None:
        return
    try:
        with config_state.folder(REQUESTS_FOLDER) as waiting:
            for name in sorted(list_names(waiting)):
                data = read_record(waiting, name)
                if data is None or not name.endswith(".json"):
                    continue
                with backup_state.folder(REQUESTS_FOLDER) as folder:
                    write_file(folder, name, data)
                os.unlink(name, dir_fd=waiting)
                sync_directory(waiting)
    except (OSError, ApiError):
        return
