"""Lists the files of the backup directory page by page: backups, backups gzipped by hand, foreign and unusable files.

Files are sorted by the components of their paths. A continue token holds the last path of the page before. Pages
therefore neither repeat nor skip a file that stays in place. Takes no lock and changes no file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from typing import Final, NamedTuple

from pydantic import ValidationError

from gateway_api.clock import LATEST, from_timestamp, utc_now
from gateway_api.contract import BackupEntry, BackupPage, BackupRecord, ErrorCode, FileKind, Problem
from gateway_api.errors import ApiError
from gateway_api.repository.directory_tree import CachedManifest, DataFile
from gateway_api.repository.gzipped import manifest_for_gzipped
from gateway_api.repository.index import RepositoryIndex, open_backup, open_volume
from gateway_api.repository.manifest import LocatedBackup, Manifest, manifest_name, to_backup_record
from gateway_api.repository.manifest_files import read_manifest
from gateway_api.repository.verification_records import with_verification
from gateway_api.settings import AdminSettings
from gateway_api.storage.layout import GZIP_SUFFIX
from gateway_api.storage.paths import (
    NO_PERMISSION,
    check_component,
    file_problem,
    file_stamp,
    lacks_permission,
    lstat_if_exists,
    open_parent,
    parse_relative,
)
from gateway_api.storage.state_dir import read_volume_id


class ListedPage(NamedTuple):
    """A page with its ETag, which is equal only if nothing has changed.

    The ETag of the first page covers the whole list, that of a later page or of a single path only this page.
    """

    page: BackupPage
    etag: str


BATCH_FILES: Final = 200
"""Number of files that are taken from the index at a time."""
MAX_LARGE_BYTES: Final = 2 << 20
"""Entries with large manifests in one page. The operator refuses an answer of more than 8 MiB."""


def read_backup_record(settings: AdminSettings, index: RepositoryIndex, backup_id: str) -> BackupRecord:
    """The record of one backup. ``problems`` names why a file that is there cannot be used.

    Raises ``BackupNotFound`` if nothing is at its path, ``VolumeUnavailable``.
    """
    with open_backup(settings.backup_dir, index, backup_id) as (root_fd, located):
        return _read_record(root_fd, index, located)


def _read_record(root_fd: int, index: RepositoryIndex, located: LocatedBackup) -> BackupRecord:
    name = located.parts[-1]
    with open_parent(root_fd, located.parts) as parent:
        info = lstat_if_exists(parent, name)
        if info is None:
            raise ApiError(ErrorCode.BackupNotFound)
        problems = _problems_of(parent, name, info)
        record = with_verification(
            to_backup_record(located), index.verification_records.get(parent, name, located.manifest.id)
        ).model_copy(update={"problems": problems})
        readable = stat.S_ISREG(info.st_mode) and not lacks_permission(parent, name)
    # A file of another size is not the verified one, so its level and proof do not apply.
    usable = readable and info.st_size == record.stored_bytes
    return record if usable else record.model_copy(update={"level": None, "proof": None})


def _problems_of(parent: int, name: str, info: os.stat_result) -> list[Problem]:
    """The problems of the file with this lstat; empty for a usable file."""
    problem = file_problem(info)
    if (problem is None or stat.S_ISDIR(info.st_mode)) and lacks_permission(parent, name):
        problem = NO_PERMISSION
    return [] if problem is None else [Problem(code=ErrorCode.BackupUnusable.value, message=problem)]


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
    # Taken before the first look at the volume: a change after this time may be missing from the page.
    listed_at = utc_now()
    with open_volume(settings.backup_dir, index) as root_fd:
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
    """The items of the page after the path ``after``, and the token of the next page.

    Large manifests end a page before ``limit``: a client refuses an answer that is too large to be one.
    """
    items: list[BackupEntry] = []
    last: tuple[str, ...] = ()
    large_bytes = 0
    while batch := index.files_after(after, BATCH_FILES):
        for file in batch:
            after = file.parts
            entry = _read_entry(root_fd, index, file)
            if entry is None:
                continue
            if _is_large(file):
                large_bytes += len(entry.model_dump_json())
            if len(items) == limit or (items and large_bytes > MAX_LARGE_BYTES):
                return items, encode_token(last)
            items.append(entry)
            last = file.parts
    return items, None


def _is_large(file: DataFile) -> bool:
    """Whether a manifest of the file is too large for the memory of the index, for example one with many issues."""
    return any(manifest is not None and manifest.content is None for manifest in (file.own, file.beside))


def _read_entry(root_fd: int, index: RepositoryIndex, file: DataFile) -> BackupEntry | None:
    try:
        for part in file.parts:
            check_component(part)
        with open_parent(root_fd, file.parts) as parent:
            info = lstat_if_exists(parent, file.parts[-1])
            return None if info is None else _describe(parent, index, file, info)
    except (OSError, ApiError):
        # Deleted since the refresh, or in a folder that cannot be opened, which is listed itself.
        return None


def _describe(parent: int, index: RepositoryIndex, file: DataFile, info: os.stat_result) -> BackupEntry:
    name = file.parts[-1]
    problems = _problems_of(parent, name, info)
    if file.damaged:
        problems.append(Problem(code=ErrorCode.BackupCorrupt.value, message="its manifest is damaged or unreadable"))
    entry = BackupEntry(
        kind="foreign",
        path="/".join(file.parts),
        size_bytes=info.st_size,
        modified=from_timestamp(info.st_mtime, LATEST),
        problems=problems,
    )
    own_manifest = _cached_manifest(parent, manifest_name(name), file.own)
    if not stat.S_ISREG(info.st_mode) or lacks_permission(parent, name):
        return entry.model_copy(
            update={"kind": "unusable", "backup_id": None if own_manifest is None else own_manifest.id}
        )
    if own_manifest is not None:
        if own_manifest.stored_bytes != info.st_size:
            return entry.model_copy(update={"kind": "changed", "backup_id": own_manifest.id})
        return _entry_of_backup(parent, index, entry, LocatedBackup(own_manifest, file.parts), "backup")
    stem = name.removesuffix(GZIP_SUFFIX)
    original_manifest = _cached_manifest(parent, manifest_name(stem), file.beside)
    gzipped_manifest = (
        None if original_manifest is None else manifest_for_gzipped(parent, original_manifest, stem, index.digests)
    )
    if gzipped_manifest is None:
        return entry
    return _entry_of_backup(parent, index, entry, LocatedBackup(gzipped_manifest, file.parts), "compressed")


def _entry_of_backup(
    parent: int, index: RepositoryIndex, entry: BackupEntry, located: LocatedBackup, kind: FileKind
) -> BackupEntry:
    backup_id = located.manifest.id
    verification = index.verification_records.get(parent, located.parts[-1], backup_id)
    record = with_verification(to_backup_record(located), verification)
    return entry.model_copy(update={"kind": kind, "backup_id": backup_id, "record": record})


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
