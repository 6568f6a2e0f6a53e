"""Replaces the live config file step by step; each step is durable before the next one begins.

A restore stages the new bytes, keeps the previous file and activates the staged one. A rollback stages the kept
bytes and activates them in the same way. All these files are in the state folder of the config's directory. Every
step is therefore a rename or link within one file system. The gateway reads the previous config or the new one.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from pathlib import Path
from typing import Final

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError, config_volume_error
from gateway_api.gateway_config.live import ConfigFile
from gateway_api.storage.atomic_write import close, list_names, sync_directory, unlink_if_exists, write_temporary
from gateway_api.storage.content import Blob, read_blob
from gateway_api.storage.paths import FILE_FLAGS, file_stamp, lstat_if_exists
from gateway_api.storage.state_dir import StateDir

NO_LIMIT: Final = 1 << 40
"""Bytes; the previous config is kept whatever its size is."""
POLL_SECONDS: Final = 0.05


class ConfigReplacer:
    """Moves files between the state folder ``state`` and the live config at ``path``.

    Methods raise ``ApiError`` for a failure of the config volume: ``VolumeUnavailable``, ``VolumeFull`` or
    ``ConfigNotReplaceable``. It is ``DurabilityUnknown`` when a step is done but its directory fsync failed.
    """

    def __init__(self, state: StateDir, path: Path) -> None:
        self.state = state
        self.name = path.name

    def exists(self, name: str) -> bool:
        """Whether the state folder contains ``name``."""
        return lstat_if_exists(self.state.fd, name) is not None

    @property
    def has_config(self) -> bool:
        """Whether something exists at the config's path, valid or not."""
        try:
            return lstat_if_exists(self.state.base_fd, self.name) is not None
        except OSError as error:
            raise config_volume_error(error) from None

    def stage(self, name: str, content: Blob, *, mode: int, gid: int | None) -> None:
        """Writes ``content`` durably to ``name`` in the state folder, with the mode and group for the live config."""
        try:
            # The bytes are fsynced under a temporary name. After the rename ``name`` is complete or absent.
            temporary = write_temporary(self.state.fd, content, mode=mode & 0o770, gid=gid)
            os.rename(temporary, name, src_dir_fd=self.state.fd, dst_dir_fd=self.state.fd)
            # Before the caller's next step: its journal refers to this file, also after a power failure.
            sync_directory(self.state.fd)
        except OSError as error:
            raise config_volume_error(error) from None

    def keep_previous(self, name: str, *, content: Blob | None) -> None:
        """Keeps the live config as ``name`` in the state folder, so that a rollback can restore it.

        It is a hard link, so a write of the gateway to the open file is kept too. Where the file system has no hard
        links, ``name`` gets the bytes ``content``, or those of the live config if that is None.
        """
        fd = self.state.fd
        # A file of an interrupted attempt may have the name, and link() does not replace it.
        unlink_if_exists(fd, name)
        try:
            os.link(self.name, name, src_dir_fd=self.state.base_fd, dst_dir_fd=fd, follow_symlinks=False)
            # Before the live config is replaced: after that, this name is the only one of the previous config.
            sync_directory(fd)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK):
                self._copy(name, content)
                return
            raise config_volume_error(error) from None

    def _copy(self, name: str, content: Blob | None) -> None:
        try:
            if content is None:
                content = self._read(self.state.base_fd, self.name)
            # Complete and fsynced before it gets its name: a rollback must never activate half a config.
            temporary = write_temporary(self.state.fd, content)
            os.rename(temporary, name, src_dir_fd=self.state.fd, dst_dir_fd=self.state.fd)
            # Before the live config is replaced, for the same reason as in keep_previous().
            sync_directory(self.state.fd)
        except OSError as error:
            raise config_volume_error(error) from None

    @staticmethod
    def _read(dir_fd: int, name: str) -> Blob:
        fd = os.open(name, FILE_FLAGS, dir_fd=dir_fd)
        try:
            return read_blob(fd, NO_LIMIT)
        finally:
            close(fd)

    def read(self, name: str) -> Blob | None:
        """The bytes of ``name`` in the state folder, or None if it does not exist."""
        try:
            return self._read(self.state.fd, name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise config_volume_error(error) from None

    def activate(self, staged: str) -> None:
        """Makes the staged file the live config."""
        try:
            # One rename, so the gateway reads the previous config or the new one. stage() has made the new bytes
            # durable, so the name never refers to lost bytes after a power failure.
            os.rename(staged, self.name, src_dir_fd=self.state.fd, dst_dir_fd=self.state.base_fd)
        except OSError as error:
            raise config_volume_error(error) from None
        # The directory that gains the name first: in the other order a power failure could lose both names.
        sync_directory(self.state.base_fd)
        sync_directory(self.state.fd)

    def remove_live(self, replaced: str) -> None:
        """Moves the live config to ``replaced`` in the state folder; afterwards no config exists."""
        try:
            # A rename and not an unlink: no byte of the config is lost.
            os.rename(self.name, replaced, src_dir_fd=self.state.base_fd, dst_dir_fd=self.state.fd)
        except FileNotFoundError:
            return
        except OSError as error:
            raise config_volume_error(error) from None
        # Both directories before the caller records the removal: a later step relies on it after a power failure.
        sync_directory(self.state.base_fd)
        sync_directory(self.state.fd)

    def discard(self, *names: str) -> None:
        """Removes files of the state folder that are no longer needed. Never raises for a file that stays."""
        existing = [name for name in names if self.exists(name)]
        for name in existing:
            unlink_if_exists(self.state.fd, name)
        if existing:
            try:
                os.fsync(self.state.fd)
            except OSError:
                # A file that returns after a power failure is unused and is discarded again by the next restore.
                return

    def quarantine(self, *prefixes: str) -> None:
        """Renames files that begin with one of ``prefixes`` to ``damaged-…``. An admin can inspect them.

        The server does not read them again.
        """
        fd = self.state.fd
        try:
            for name in list_names(fd):
                if name.startswith(prefixes):
                    aside = f"damaged-{secrets.token_hex(4)}-{name}"
                    os.rename(name, aside, src_dir_fd=fd, dst_dir_fd=fd)
            # Before a new restore uses these names: a power failure must not bring the damaged files back under them.
            sync_directory(fd)
        except OSError as error:
            raise config_volume_error(error) from None

    def discard_matching(self, prefix: str, *, but: str) -> None:
        """Removes every file that begins with ``prefix``, except the file ``but``."""
        try:
            names = list_names(self.state.fd)
        except OSError:
            # The files are unused, so the next call may remove them.
            return
        self.discard(*(name for name in names if name.startswith(prefix) and name != but))


def wait_until_settled(config: ConfigFile, settle: float, *, at_least: int = 0) -> str | None:
    """Waits until the config file has not changed for ``settle`` seconds, then returns its digest.

    The gateway may have been in the middle of its own read-modify-write when the config was replaced. It then writes
    the previous data over the restored file, and the digest shows it. None means that the file does not exist. A file
    of up to ``at_least`` bytes is read even if that exceeds the limit of a config.
    Raises ``ConfigChangedDuringRestore`` if the file keeps changing, ``VolumeUnavailable`` if it cannot be read.
    """
    end = time.monotonic() + 4 * settle + 2.0
    unchanged_since = time.monotonic()
    stamp: object = None
    while True:
        try:
            current: object = file_stamp(config.path.lstat())
        except OSError:
            current = None
        now = time.monotonic()
        if current != stamp:
            stamp, unchanged_since = current, now
        if now - unchanged_since >= settle:
            digest = config.digest(at_least=at_least)
            if digest is None and stamp is not None:
                raise ApiError(ErrorCode.VolumeUnavailable, "the config cannot be read")
            return digest
        if now >= end:
            raise ApiError(ErrorCode.ConfigChangedDuringRestore)
        time.sleep(min(POLL_SECONDS, max(settle / 4, 0.002)))
