"""The four steps that put another file in the config's place, each durable before the next.

Used by a restore and, the other way round, by its rollback. Files lie in the config directory's state folder, so
that all of them are renames within one file system.
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
from gateway_api.storage.paths import FILE_FLAGS, existing_kind, file_stamp
from gateway_api.storage.state_dir import StateDir

NO_LIMIT: Final = 1 << 40
POLL_SECONDS: Final = 0.05


class ConfigReplacer:
    """The place of the live config, seen from its directory's state folder."""

    def __init__(self, state: StateDir, path: Path) -> None:
        self.state = state
        self.name = path.name

    def exists(self, name: str) -> bool:
        """Whether the state folder holds ``name``."""
        return existing_kind(self.state.fd, name) is not None

    @property
    def has_config(self) -> bool:
        """Whether there is a config, whatever it is."""
        try:
            return existing_kind(self.state.base_fd, self.name) is not None
        except OSError as error:
            raise config_volume_error(error) from None

    def stage(self, name: str, content: Blob, *, mode: int, gid: int | None) -> None:
        """``name`` in the state folder holds ``content``, durably, ready to become the config."""
        try:
            temporary = write_temporary(self.state.fd, content, mode=mode & 0o770, gid=gid)
            os.rename(temporary, name, src_dir_fd=self.state.fd, dst_dir_fd=self.state.fd)
            sync_directory(self.state.fd)
        except OSError as error:
            raise config_volume_error(error) from None

    def keep_previous(self, name: str, *, content: Blob | None) -> None:
        """Keeps the live config as ``name``: a hard link, which also catches what the gateway still writes into it,
        or ``content`` where the file system has no links."""
        fd = self.state.fd
        unlink_if_exists(fd, name)
        try:
            os.link(self.name, name, src_dir_fd=self.state.base_fd, dst_dir_fd=fd, follow_symlinks=False)
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
            temporary = write_temporary(self.state.fd, content)
            os.rename(temporary, name, src_dir_fd=self.state.fd, dst_dir_fd=self.state.fd)
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
        """The bytes of ``name`` in the state folder, or None."""
        try:
            return self._read(self.state.fd, name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise config_volume_error(error) from None

    def activate(self, staged: str) -> None:
        """The staged file becomes the config, in one rename."""
        try:
            os.rename(staged, self.name, src_dir_fd=self.state.fd, dst_dir_fd=self.state.base_fd)
        except OSError as error:
            raise config_volume_error(error) from None
        sync_directory(self.state.base_fd)
        sync_directory(self.state.fd)

    def remove_live(self, replaced: str) -> None:
        """The config becomes ``replaced`` in the state folder, and there is none."""
        try:
            os.rename(self.name, replaced, src_dir_fd=self.state.base_fd, dst_dir_fd=self.state.fd)
        except FileNotFoundError:
            return
        except OSError as error:
            raise config_volume_error(error) from None
        sync_directory(self.state.base_fd)
        sync_directory(self.state.fd)

    def discard(self, *names: str) -> None:
        """Removes files of the state folder that nobody needs any more."""
        found = [name for name in names if self.exists(name)]
        for name in found:
            unlink_if_exists(self.state.fd, name)
        if found:
            try:
                os.fsync(self.state.fd)
            except OSError:
                return

    def quarantine(self, *prefixes: str) -> None:
        """Renames what begins with one of ``prefixes``, for a person to look at; nothing here reads it again."""
        fd = self.state.fd
        try:
            for name in list_names(fd):
                if name.startswith(prefixes):
                    aside = f"damaged-{secrets.token_hex(4)}-{name}"
                    os.rename(name, aside, src_dir_fd=fd, dst_dir_fd=fd)
            sync_directory(fd)
        except OSError as error:
            raise config_volume_error(error) from None

    def discard_matching(self, prefix: str, *, but: str) -> None:
        """Removes every ``prefix``… but one. What cannot be listed now is dropped another time."""
        try:
            names = list_names(self.state.fd)
        except OSError:
            return
        self.discard(*(name for name in names if name.startswith(prefix) and name != but))


def wait_until_settled(config: ConfigFile, settle: float, *, at_least: int = 0) -> str | None:
    """Waits until the file has been left alone for ``settle`` seconds; returns the digest it then has, also if it has
    ``at_least`` bytes, which is more than a config may have.

    The gateway may have been halfway through its own read-modify-write when its config was replaced.
    Raises ``ConfigChangedDuringRestore`` if it is never left alone, ``VolumeUnavailable`` if it cannot be read.
    """
    end = time.monotonic() + 4 * settle + 2.0
    since = time.monotonic()
    seen: object = None
    while True:
        try:
            now_seen: object = file_stamp(config.path.lstat())
        except OSError:
            now_seen = None
        now = time.monotonic()
        if now_seen != seen:
            seen, since = now_seen, now
        if now - since >= settle:
            found = config.digest(at_least=at_least)
            if found is None and seen is not None:
                raise ApiError(ErrorCode.VolumeUnavailable, "the config cannot be read")
            return found
        if now >= end:
            raise ApiError(ErrorCode.ConfigChangedDuringRestore)
        time.sleep(min(POLL_SECONDS, max(settle / 4, 0.002)))
