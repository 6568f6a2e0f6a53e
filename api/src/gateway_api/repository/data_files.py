"""The data file of a backup: whether it is there, whether it is that of its manifest, and how a new one is written.

Present, unusable and absent are three answers. No function here takes a file that cannot be read for an absent one.
"""

from __future__ import annotations

import os
import stat

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.repository import manifest as manifests
from gateway_api.repository.gzipped import DigestCache, manifest_for_gzipped
from gateway_api.repository.manifest import LocatedBackup
from gateway_api.repository.manifest_files import read_manifest
from gateway_api.storage.atomic_write import close, unlink_if_exists, write_temporary
from gateway_api.storage.content import Blob, digest_and_size
from gateway_api.storage.file_system import drop_page_cache
from gateway_api.storage.layout import GZIP_SUFFIX, SAFETY_FOLDER
from gateway_api.storage.paths import (
    NO_PERMISSION,
    file_problem,
    lacks_permission,
    lstat_below,
    lstat_if_exists,
    open_file,
    open_parent,
    unusable_file_error,
)


def is_present(root_fd: int, located: LocatedBackup) -> bool:
    """Whether anything is at the path of the data file, usable or not. Raises ``VolumeUnavailable``."""
    try:
        return lstat_below(root_fd, located.parts) is not None
    except OSError as error:
        raise backup_volume_error(error) from None


def digest_data_file(parent: int, name: str, expected: int) -> str | None:
    """SHA-256 of a data file of ``expected`` bytes, with any number of links. None if there is no such file.

    Raises ``OSError`` when it cannot be read.
    """
    try:
        fd = open_file(parent, name, links_allowed=True)
    except (FileNotFoundError, ApiError):
        return None
    try:
        if os.fstat(fd).st_size != expected:
            return None
        return digest_and_size(fd, expected)[0]
    finally:
        close(fd)


def check_data_file(root_fd: int, located: LocatedBackup) -> bool:
    """Whether the data file exists. A second hard link is allowed: it changes no byte.

    Raises ``BackupChanged`` if the manifest describes other bytes, ``BackupUnusable`` if the bytes cannot be read,
    ``OSError``.
    """
    name, manifest = located.parts[-1], located.manifest
    with open_parent(root_fd, located.parts) as parent:
        info = lstat_if_exists(parent, name)
        if info is None:
            return False
        if not stat.S_ISREG(info.st_mode):
            raise unusable_file_error(str(file_problem(info)))
        if lacks_permission(parent, name):
            raise unusable_file_error(NO_PERMISSION)
        if digest_data_file(parent, name, manifest.stored_bytes) != manifest.stored_sha256:
            raise ApiError(ErrorCode.BackupChanged)
        return True


def is_intact(root_fd: int, located: LocatedBackup) -> bool:
    """Whether the data file exists with the bytes that its manifest describes. Raises ``OSError``."""
    try:
        return check_data_file(root_fd, located)
    except (ApiError, FileNotFoundError):
        return False


def refuse_managed(parent: int, parts: tuple[str, ...]) -> None:
    """Raises ``BackupManaged`` if writing to this path would take away a backup that somebody else relies on.

    That is a backup of a request with an id, or a safety backup, also after it was gzipped by hand. A manifest that
    cannot be read may belong to one. A manifest whose data is missing protects nothing.
    """
    name = parts[-1]
    for owner in dict.fromkeys((name, name.removesuffix(GZIP_SUFFIX))):
        if lstat_if_exists(parent, manifests.manifest_name(owner)) is None:
            continue
        try:
            manifest = read_manifest(parent, manifests.manifest_name(owner))
        except PermissionError:
            manifest = None
        if manifest is not None and manifest.request_id is None and parts[0] != SAFETY_FOLDER:
            continue
        gzipped = manifest is not None and manifest_for_gzipped(parent, manifest, owner, DigestCache()) is not None
        if gzipped or (owner == name and lstat_if_exists(parent, name) is not None):
            raise ApiError(
                ErrorCode.BackupManaged, None if manifest is not None else "the manifest of this file cannot be read"
            )


def write_and_read_back(parent: int, stored: Blob) -> str:
    """Writes ``stored`` to a temporary file and reads it back from the disk. Returns the name of the file.

    Raises ``VolumeUnavailable`` if the disk returns other bytes, ``OSError``.
    """
    # Fsynced before it is read back: only then the disk has the bytes.
    temporary = write_temporary(parent, stored)
    try:
        # Before the file gets its name: a defective disk then costs this backup, and not the one that it replaces.
        if not _reads_back(parent, temporary, stored):
            raise ApiError(ErrorCode.VolumeUnavailable, "the backup volume returned other bytes than were written")
    except BaseException:
        unlink_if_exists(parent, temporary)
        raise
    return temporary


def _reads_back(parent: int, temporary: str, stored: Blob) -> bool:
    fd = open_file(parent, temporary)
    try:
        # Otherwise the kernel would return the cached bytes and not read the disk.
        drop_page_cache(fd)
        return digest_and_size(fd, stored.size) == (stored.sha256, stored.size)
    finally:
        close(fd)
