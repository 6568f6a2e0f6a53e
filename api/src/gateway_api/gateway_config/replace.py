"""Replaces the live config file step by step; each step is durable before the next one begins.

A restore stages the new bytes, keeps the previous file and activates the staged one. A rollback stages the kept
bytes and activates them in the same way. All these files are in the state folder of the config's directory. Every
step is therefore a rename or link within one file system. The gateway reads the previous config or the new one.
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Final

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError, config_volume_error
from gateway_api.storage.access import FileAccess, read_access
from gateway_api.storage.atomic_write import close, list_names, unlink_if_exists, write_temporary
from gateway_api.storage.content import NO_LIMIT, Blob, read_blob
from gateway_api.storage.file_system import is_unsupported, sync_directory
from gateway_api.storage.paths import FILE_FLAGS, FileStamp, digest_of_file, file_stamp, lstat_if_exists
from gateway_api.storage.state_dir import StateDir

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
        return self._info(self.state.fd, name) is not None

    @property
    def has_config(self) -> bool:
        """Whether something exists at the config's path, valid or not."""
        return self._info(self.state.base_fd, self.name) is not None

    @staticmethod
    def _info(dir_fd: int, name: str) -> os.stat_result | None:
        try:
            return lstat_if_exists(dir_fd, name)
        except OSError as error:
            raise config_volume_error(error) from None

    def access(self) -> FileAccess:
        """The access of the live config, without permissions for others; access for the owner if there is none."""
        try:
            fd = os.open(self.name, FILE_FLAGS, dir_fd=self.state.base_fd)
        except FileNotFoundError:
            return FileAccess()
        except OSError as error:
            raise config_volume_error(error) from None
        try:
            return read_access(fd)
        except OSError as error:
            raise config_volume_error(error) from None
        finally:
            close(fd)

    def digest(self, name: str) -> str | None:
        """SHA-256 of ``name`` in the state folder, None if it cannot be read or changes during the read.

        Two unknown digests are not equal.
        """
        return digest_of_file(name, NO_LIMIT, dir_fd=self.state.fd)

    def live_digest(self) -> str | None:
        """SHA-256 of the live config of any size, complete or not. None as for :meth:`digest`."""
        return digest_of_file(self.name, NO_LIMIT, dir_fd=self.state.base_fd)

    def stage(self, name: str, content: Blob, access: FileAccess) -> None:
        """Writes ``content`` durably to ``name`` in the state folder, with the access for the live config."""
        try:
            # The bytes are fsynced under a temporary name. After the rename ``name`` is complete or absent.
            temporary = write_temporary(self.state.fd, content, access)
            os.rename(temporary, name, src_dir_fd=self.state.fd, dst_dir_fd=self.state.fd)
            # Before the caller's next step: its journal refers to this file, also after a power failure.
            sync_directory(self.state.fd)
        except OSError as error:
            raise config_volume_error(error) from None

    def keep_previous(self, name: str) -> None:
        """Keeps the live config as ``name`` in the state folder, so that a rollback can restore it.

        It is a hard link, so a write of the gateway to the open file is kept too. Where the file system has no hard
        links, ``name`` gets the bytes of the live config. Does nothing if there is no live config.
        """
        fd = self.state.fd
        # A file of an interrupted attempt may have the name, and link() does not replace it.
        unlink_if_exists(fd, name)
        try:
            os.link(self.name, name, src_dir_fd=self.state.base_fd, dst_dir_fd=fd, follow_symlinks=False)
            # Before the live config is replaced: after that, this name is the only one of the previous config.
            sync_directory(fd)
        except FileNotFoundError:
            return
        except OSError as error:
            if not is_unsupported(error):
                raise config_volume_error(error) from None
            self._copy(name)

    def _copy(self, name: str) -> None:
        try:
            content = self._read(self.state.base_fd, self.name)
            # Complete and fsynced before it gets its name: a rollback must never activate half a config.
            temporary = write_temporary(self.state.fd, content)
            os.rename(temporary, name, src_dir_fd=self.state.fd, dst_dir_fd=self.state.fd)
            # Before the live config is replaced, for the same reason as in keep_previous().
            sync_directory(self.state.fd)
        except FileNotFoundError:
            return
        except OSError as error:
            raise config_volume_error(error) from None

    def is_same_file(self, name: str) -> bool:
        """Whether ``name`` in the state folder is another name of the live config."""
        kept, live = self._info(self.state.fd, name), self._info(self.state.base_fd, self.name)
        return kept is not None and live is not None and (kept.st_dev, kept.st_ino) == (live.st_dev, live.st_ino)

    def is_live(self, name: str) -> bool:
        """Whether ``name`` in the state folder is the live config or has the same bytes; false if that is unknown."""
        if self.is_same_file(name):
            return True
        digest = self.digest(name)
        return digest is not None and digest == self.live_digest()

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
                sync_directory(self.state.fd)
            except ApiError:
                # A file that returns after a power failure is unused and is discarded again by the next restore.
                return

    def quarantine(self, name: str) -> None:
        """Renames ``name`` to `damaged-…`. An admin can inspect it. The server does not read it again."""
        fd = self.state.fd
        try:
            os.rename(name, f"damaged-{secrets.token_hex(4)}-{name}", src_dir_fd=fd, dst_dir_fd=fd)
            # Before a new file gets the name: a power failure must not bring the damaged file back under it.
            sync_directory(fd)
        except OSError as error:
            raise config_volume_error(error) from None

    def names_with(self, prefix: str) -> list[str]:
        """The names in the state folder that begin with ``prefix``, sorted."""
        try:
            return sorted(name for name in list_names(self.state.fd) if name.startswith(prefix))
        except OSError as error:
            raise config_volume_error(error) from None

    def wait_until_settled(self, settle: float) -> str | None:
        """Waits until the live config has not changed for ``settle`` seconds, then returns its digest.

        The gateway may have been in the middle of its own read-modify-write when the config was replaced. It then
        writes the previous data over the restored file, and the digest shows it. None means that there is no config.
        Raises ``ConfigChangedDuringRestore`` if the file keeps changing, ``VolumeUnavailable`` if it cannot be read.
        """
        end = time.monotonic() + 4 * settle + 2.0
        unchanged_since = time.monotonic()
        stamp: FileStamp | None = None
        while True:
            try:
                info = lstat_if_exists(self.state.base_fd, self.name)
            except OSError:
                info = None
            current = None if info is None else file_stamp(info)
            now = time.monotonic()
            if current != stamp:
                stamp, unchanged_since = current, now
            if now - unchanged_since >= settle:
                digest = self.live_digest()
                if digest is None and stamp is not None:
                    raise ApiError(ErrorCode.VolumeUnavailable, "the config cannot be read")
                return digest
            if now >= end:
                raise ApiError(ErrorCode.ConfigChangedDuringRestore)
            time.sleep(min(POLL_SECONDS, max(settle / 4, 0.002)))
