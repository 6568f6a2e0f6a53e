"""The inventory, a page at a time: our backups, those that a person gzipped, and everybody else's files.

The order is that of the paths' components, and a token names the last path that was shown, so that pages neither
repeat nor skip a file that stays where it is. Takes no lock and changes nothing.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from datetime import UTC, datetime
from typing import Final

from pydantic import ValidationError

from gateway_api.contract import BackupEntry, BackupPage, BackupRecord, ErrorCode
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.repository.gzipped import SUFFIX, manifest_for_gzipped
from gateway_api.repository.index import CachedManifest, DataFile, RepositoryIndex, read_manifest
from gateway_api.repository.manifest import LocatedBackup, Manifest, manifest_name, record_of
from gateway_api.repository.verification_records import with_verification
from gateway_api.settings import AdminSettings
from gateway_api.storage.atomic_write import close
from gateway_api.storage.paths import check_component, existing_kind, file_stamp, open_file, open_parent, parse_relative
from gateway_api.storage.state_dir import StateDir


def show(settings: AdminSettings, inventory: RepositoryIndex, identity: str) -> BackupRecord:
    """The record of one backup whose file is there. Takes no lock. Raises ``BackupNotFound``, ``VolumeUnavailable``."""
    try:
        with StateDir(settings.backup_dir, create=False) as state:
            inventory.refresh(state.base_fd)
            located = inventory.locate(state.base_fd, identity)
            if located is None:
                raise ApiError(ErrorCode.BackupNotFound)
            return _record(state, inventory, located)
    except FileNotFoundError:
        if settings.backup_dir.is_dir():
            raise ApiError(ErrorCode.BackupNotFound) from None
        raise ApiError(ErrorCode.VolumeUnavailable) from None
    except OSError as error:
        raise backup_volume_error(error) from None


def _record(state: StateDir, inventory: RepositoryIndex, located: LocatedBackup) -> BackupRecord:
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
        record = with_verification(record_of(located), inventory.notes.get(parent, name, located.manifest.id))
    return record if size == record.stored_bytes else record.model_copy(update={"level": None, "proof": None})


STEP: Final = 200


def token_of(parts: tuple[str, ...]) -> str:
    """What continues behind the file at ``parts``."""
    return base64.urlsafe_b64encode("/".join(parts).encode()).decode().rstrip("=")


def parse_token(token: str | None) -> tuple[str, ...]:
    """The path in a token; nothing for none. Raises ``InvalidRequest``."""
    if not token:
        return ()
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise ApiError(ErrorCode.InvalidRequest, "continue: not a token of this API") from None
    return tuple(text.split("/"))


def page(
    settings: AdminSettings, inventory: RepositoryIndex, limit: int, token: str | None, path: str | None = None
) -> BackupPage:
    """The next ``limit`` files; with ``path``, the one of exactly that path, if there is one.

    Raises ``InvalidRequest`` for a bad token, ``PathNotAllowed``, ``VolumeUnavailable``.
    """
    after = parse_token(token)
    wanted = None if path is None else parse_relative(path)
    try:
        root_fd = os.open(settings.backup_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise backup_volume_error(error) from None
    try:
        inventory.refresh(root_fd)
        if wanted is not None:
            found = entry_at(root_fd, inventory, wanted)
            return BackupPage.model_validate({"items": [] if found is None else [found], "continue": None})
        return _page(root_fd, inventory, limit, after)
    except OSError as error:
        raise backup_volume_error(error) from None
    finally:
        close(root_fd)


def entry_at(root_fd: int, inventory: RepositoryIndex, parts: tuple[str, ...]) -> BackupEntry | None:
    """The file at exactly this path, as of the inventory's last refresh."""
    named = inventory.data_file(parts)
    return None if named is None else _entry(root_fd, inventory, named)


def _page(root_fd: int, inventory: RepositoryIndex, limit: int, after: tuple[str, ...]) -> BackupPage:
    items: list[BackupEntry] = []
    last: tuple[str, ...] = ()
    while found := inventory.files_after(after, STEP):
        for named in found:
            after = named.parts
            entry = _entry(root_fd, inventory, named)
            if entry is None:
                continue
            if len(items) == limit:
                return BackupPage.model_validate({"items": items, "continue": token_of(last)})
            items.append(entry)
            last = named.parts
    return BackupPage.model_validate({"items": items, "continue": None})


def _entry(root_fd: int, inventory: RepositoryIndex, named: DataFile) -> BackupEntry | None:
    try:
        for part in named.parts:
            check_component(part)
        with open_parent(root_fd, named.parts) as parent:
            info = existing_kind(parent, named.parts[-1])
            if info is None or not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
                return None
            return _describe(parent, inventory, named, info)
    except (OSError, ApiError):
        # Gone meanwhile, or of a name or kind that no request could use.
        return None


def _describe(parent: int, inventory: RepositoryIndex, named: DataFile, info: os.stat_result) -> BackupEntry:
    name = named.parts[-1]
    entry = BackupEntry(
        kind="foreign",
        path="/".join(named.parts),
        size_bytes=info.st_size,
        modified=datetime.fromtimestamp(info.st_mtime, UTC),
    )
    own = _manifest(parent, manifest_name(name), named.own)
    if own is not None:
        if own.stored_bytes != info.st_size:
            return entry.model_copy(update={"kind": "changed", "backup_id": own.id})
        record = with_verification(
            record_of(LocatedBackup(own, named.parts)), inventory.notes.get(parent, name, own.id)
        )
        return entry.model_copy(update={"kind": "backup", "backup_id": own.id, "record": record})
    stem = name.removesuffix(SUFFIX)
    beside = _manifest(parent, manifest_name(stem), named.beside)
    adopted = None if beside is None else manifest_for_gzipped(parent, beside, stem, inventory.digests)
    if adopted is None:
        return entry
    record = with_verification(
        record_of(LocatedBackup(adopted, named.parts)), inventory.notes.get(parent, name, adopted.id)
    )
    return entry.model_copy(update={"kind": "compressed", "backup_id": adopted.id, "record": record})


def _manifest(parent: int, name: str, known: CachedManifest | None) -> Manifest | None:
    """The manifest ``name``, from memory if it is the one that was read."""
    if known is None:
        return None
    info = existing_kind(parent, name)
    if info is None:
        return None
    if known.content is not None and known.signature == file_stamp(info):
        try:
            return Manifest.model_validate_json(known.content)
        except ValidationError:
            return None
    try:
        return read_manifest(parent, name)
    except OSError:
        return None
