"""Lists the files of the backup directory page by page: backups, backups gzipped by hand, and foreign files.

Files are sorted by the components of their paths. A continue token holds the last path of the page before. Pages
therefore neither repeat nor skip a file that stays in place. Takes no lock and changes no file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from datetime import UTC, datetime
from typing import Final, NamedTuple

from pydantic import ValidationError

from gateway_api.clock import utc_now
from gateway_api.contract import BackupEntry, BackupPage, BackupRecord, ErrorCode
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.repository.gzipped import SUFFIX, manifest_for_gzipped
from gateway_api.repository.index import CachedManifest, DataFile, RepositoryIndex
from gateway_api.repository.manifest import LocatedBackup, Manifest, manifest_name, to_backup_record
from gateway_api.repository.manifest_files import read_manifest
from gateway_api.repository.verification_records import with_verification
from gateway_api.settings import AdminSettings
from gateway_api.storage.atomic_write import close
from gateway_api.storage.paths import (
    check_component,
    file_stamp,
    lstat_if_exists,
    open_file,
    open_parent,
    parse_relative,
)
from gateway_api.storage.state_dir import StateDir, read_volume_id


class ListedPage(NamedTuple):
    """A page with its ETag, which is equal only if nothing has changed.

    The ETag of the first page covers the whole list, that of a later page or of a single path only this page.
    """

    page: BackupPage
    etag: str


BATCH_FILES: Final = 200
"""Number of files that are taken from the index at a time."""


def read_backup_record(settings: AdminSettings, index: RepositoryIndex, backup_id: str) -> BackupRecord:
    """The record of one backup whose file exists. Raises ``BackupNotFound``, ``VolumeUnavailable``."""
    try:
        with StateDir(settings.backup_dir, create=False) as state:
            index.refresh(state.base_fd)
            located = index.locate(state.base_fd, backup_id)
            if located is None:
                raise ApiError(ErrorCode.BackupNotFound)
            return _read_record(state, index, located)
    except FileNotFoundError:
        # No state directory: no backup was created yet, or the volume is not mounted.
        if settings.backup_dir.is_dir():
            raise ApiError(ErrorCode.BackupNotFound) from None
        raise ApiError(ErrorCode.VolumeUnavailable) from None
    except OSError as error:
        raise backup_volume_error(error) from None


def _read_record(state: StateDir, index: RepositoryIndex, located: LocatedBackup) -> BackupRecord:
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
        record = with_verification(
            to_backup_record(located), index.verification_records.get(parent, name, located.manifest.id)
        )
    # A file of another size is not the verified one, so its level and proof do not apply.
    return record if size == record.stored_bytes else record.model_copy(update={"level": None, "proof": None})


def encode_token(parts: tuple[str, ...]) -> str:
    """The continue token for the page after the file at ``parts``."""
    return base64.urlsafe_b64encode("/".join(parts).encode()).decode().rstrip("=")


def parse_token(token: str | None) -> tuple[str, ...]:
    """The path in a continue token; empty for None. Raises ``InvalidRequest``."""
    if not token:
        return ()
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise ApiError(ErrorCode.InvalidRequest, "continue: not a token of this API") from None
    return tuple(text.split("/"))


def list_page(
    settings: AdminSettings, index: RepositoryIndex, limit: int, token: str | None, path: str | None = None
) -> ListedPage:
    """The next ``limit`` files; with ``path`` the file at exactly that path, or an empty page.

    Raises ``InvalidRequest`` for a bad token, ``PathNotAllowed``, ``VolumeUnavailable``.
    """
    after = parse_token(token)
    requested = None if path is None else parse_relative(path)
    try:
        root_fd = os.open(settings.backup_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise backup_volume_error(error) from None
    # Taken before the first look at the volume: a change after this time may be missing from the page.
    listed_at = utc_now()
    try:
        index.refresh(root_fd)
        # Before the page, for the same reason: a change in between then leads to another ETag at the next request.
        state = index.fingerprint(root_fd) if requested is None and not after else ""
        continuation: str | None = None
        if requested is not None:
            entry = entry_at(root_fd, index, requested)
            items = [] if entry is None else [entry]
        else:
            items, continuation = _collect_page(root_fd, index, limit, after)
        page = BackupPage.model_validate(
            {
                "items": items,
                "continue": continuation,
                "volume_id": read_volume_id(settings.backup_dir),
                "listed_at": listed_at,
            }
        )
        return ListedPage(page, _etag(page, state))
    except OSError as error:
        raise backup_volume_error(error) from None
    finally:
        close(root_fd)


def _etag(page: BackupPage, state: str) -> str:
    """A weak ETag, because the answer also holds the current time. ``state`` is the digest of the whole list."""
    content = state + page.model_dump_json(by_alias=True, exclude={"listed_at"})
    return f'W/"{hashlib.sha256(content.encode()).hexdigest()[:32]}"'


def entry_at(root_fd: int, index: RepositoryIndex, parts: tuple[str, ...]) -> BackupEntry | None:
    """The file at exactly this path as of the last refresh of the index, or None."""
    file = index.data_file(parts)
    return None if file is None else _read_entry(root_fd, index, file)


def _collect_page(
    root_fd: int, index: RepositoryIndex, limit: int, after: tuple[str, ...]
) -> tuple[list[BackupEntry], str | None]:
    """The items of the page after the path ``after``, and the token of the next page."""
    items: list[BackupEntry] = []
    last: tuple[str, ...] = ()
    while batch := index.files_after(after, BATCH_FILES):
        for file in batch:
            after = file.parts
            entry = _read_entry(root_fd, index, file)
            if entry is None:
                continue
            if len(items) == limit:
                return items, encode_token(last)
            items.append(entry)
            last = file.parts
    return items, None


def _read_entry(root_fd: int, index: RepositoryIndex, file: DataFile) -> BackupEntry | None:
    try:
        for part in file.parts:
            check_component(part)
        with open_parent(root_fd, file.parts) as parent:
            info = lstat_if_exists(parent, file.parts[-1])
            if info is None or not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
                return None
            return _describe(parent, index, file, info)
    except (OSError, ApiError):
        # Deleted since the refresh, or its name or type is one that no request could use.
        return None


def _describe(parent: int, index: RepositoryIndex, file: DataFile, info: os.stat_result) -> BackupEntry:
    name = file.parts[-1]
    entry = BackupEntry(
        kind="foreign",
        path="/".join(file.parts),
        size_bytes=info.st_size,
        modified=datetime.fromtimestamp(info.st_mtime, UTC),
    )
    own_manifest = _cached_manifest(parent, manifest_name(name), file.own)
    if own_manifest is not None:
        if own_manifest.stored_bytes != info.st_size:
            return entry.model_copy(update={"kind": "changed", "backup_id": own_manifest.id})
        record = with_verification(
            to_backup_record(LocatedBackup(own_manifest, file.parts)),
            index.verification_records.get(parent, name, own_manifest.id),
        )
        return entry.model_copy(update={"kind": "backup", "backup_id": own_manifest.id, "record": record})
    stem = name.removesuffix(SUFFIX)
    original_manifest = _cached_manifest(parent, manifest_name(stem), file.beside)
    gzipped_manifest = (
        None if original_manifest is None else manifest_for_gzipped(parent, original_manifest, stem, index.digests)
    )
    if gzipped_manifest is None:
        return entry
    record = with_verification(
        to_backup_record(LocatedBackup(gzipped_manifest, file.parts)),
        index.verification_records.get(parent, name, gzipped_manifest.id),
    )
    return entry.model_copy(update={"kind": "compressed", "backup_id": gzipped_manifest.id, "record": record})


def _cached_manifest(parent: int, name: str, cached: CachedManifest | None) -> Manifest | None:
    """The manifest ``name``, from the cache if the file is unchanged; None if it is absent or invalid."""
    if cached is None:
        return None
    info = lstat_if_exists(parent, name)
    if info is None:
        return None
    if cached.content is not None and cached.stamp == file_stamp(info):
        try:
            return Manifest.model_validate_json(cached.content)
        except ValidationError:
            return None
    try:
        return read_manifest(parent, name)
    except OSError:
        return None
