"""Who may call: the config's own admin key, the operator's key file, and the last valid key while the config is broken.

Only SHA-256 digests of keys are kept and compared, each in constant time and always all of them, so neither timing
nor a memory dump of this module's state tells a key.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
from pathlib import Path
from typing import Final

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.gateway_config.live import ConfigFile, ConfigRead
from gateway_api.gateway_config.schema import MIN_KEY_LENGTH
from gateway_api.gateway_config.summary import ConfigSummary
from gateway_api.storage.atomic_write import close, read_all
from gateway_api.storage.layout import LAST_KEY_FILE
from gateway_api.storage.paths import FileStamp, file_stamp
from gateway_api.storage.state_dir import StateDir

MAX_KEY_FILE_BYTES: Final = 64 * 1024


_SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def digest_of(key: bytes) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key).hexdigest()


def parse_key_file(data: bytes) -> tuple[str, ...]:
    """Digests of the keys in a key file: one a line, those that are too short left out."""
    lines = (line.strip() for line in data.splitlines())
    return tuple(digest_of(line) for line in lines if len(line) >= MIN_KEY_LENGTH)


def match_key(presented: bytes, candidates: tuple[tuple[str, str], ...]) -> str | None:
    """The kind of the first of ``candidates`` (kind, digest) that ``presented`` is, having compared all."""
    wanted = digest_of(presented)
    found: str | None = None
    for kind, digest in candidates:
        if hmac.compare_digest(wanted, digest) and found is None:
            found = kind
    return found if len(presented) >= MIN_KEY_LENGTH else None


class KeyRing:
    """The keys that are accepted now. Methods read files, so they run in a thread."""

    def __init__(self, config: ConfigFile, config_dir: Path, key_file: Path | None) -> None:
        self._config = config
        self._config_dir = config_dir
        self._key_file = key_file
        self._file_keys: tuple[FileStamp, tuple[str, ...]] | None = None
        self._last: str | None = None
        config.on_valid = self._remember

    def candidates(self) -> tuple[tuple[str, str], ...]:
        """Every accepted key as (kind, digest)."""
        files = tuple(("key_file", digest) for digest in self._from_file() or ())
        return (*files, *self._of_config(self._config.read_cached()))

    def check(self, presented: bytes) -> str | None:
        """The kind of key ``presented`` is, or None when it is none that is accepted.

        Raises ``NotReady`` when that cannot be told, because the process may open no more files.
        """
        # The key file first, so that the owner of a torn config need not wait for it to settle.
        from_file = self._from_file()
        found = match_key(presented, tuple(("key_file", digest) for digest in from_file or ()))
        if found is None:
            # The owner of the last valid key does not wait until a worker has parsed a config that has changed.
            live = self._config.read_cached(worker=False)
            found = match_key(presented, self._of_config(live))
            if found is None and live.kind == "not_parsed":
                found = match_key(presented, self._of_config(self._config.read_cached()))
        if found is None and from_file is None:
            raise ApiError(ErrorCode.NotReady, "the key file cannot be read now: too many files are open")
        return found

    def _of_config(self, live: ConfigRead) -> tuple[tuple[str, str], ...]:
        """The key of a valid config, else the last valid one."""
        if live.summary is not None and not live.summary.warnings:
            return (("config", live.summary.admin_key_sha256),)
        last = self._last_valid_key()
        return () if last is None else (("last_valid", last),)

    def _from_file(self) -> tuple[str, ...] | None:
        """Digests of the keys in the key file; None when the process is short of what it takes to read it."""
        if self._key_file is None:
            return ()
        try:
            fd = os.open(self._key_file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            return None if error.errno in _SHORTAGES else ()
        try:
            signature = file_stamp(os.fstat(fd))
            if self._file_keys is None or self._file_keys[0] != signature:
                self._file_keys = (signature, parse_key_file(read_all(fd, MAX_KEY_FILE_BYTES)))
            return self._file_keys[1]
        except OSError:
            return ()
        finally:
            close(fd)

    def _remember(self, summary: ConfigSummary) -> None:
        digest = summary.admin_key_sha256
        if summary.warnings or digest == self._last:
            return
        try:
            with StateDir(self._config_dir, create=True) as state:
                if (state.read(LAST_KEY_FILE) or b"").strip() != digest.encode():
                    state.write(LAST_KEY_FILE, digest.encode() + b"\n")
        except (OSError, ApiError):
            return
        self._last = digest

    def _last_valid_key(self) -> str | None:
        if self._last is None:
            try:
                with StateDir(self._config_dir, create=False) as state:
                    text = (state.read(LAST_KEY_FILE) or b"").decode("ascii", "replace").strip()
            except OSError:
                return None
            self._last = text if len(text) == 64 else None
        return self._last
