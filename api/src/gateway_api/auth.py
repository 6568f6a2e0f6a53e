"""Checks admin keys: the key in the live config, the keys in the key file, and the key of the last valid config.

The last one is accepted while the live config is missing or invalid, because a restore must still be possible then.
Only SHA-256 digests of keys are kept, so the memory of this module reveals no key. A presented key is compared with
all digests, each in constant time, so the response time reveals nothing either.
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
"""The errnos of a process that can open no more files. They say nothing about the key file."""


def key_digest(key: bytes) -> str:
    """SHA-256 of a key in lower-case hex."""
    return hashlib.sha256(key).hexdigest()


def parse_key_file(data: bytes) -> tuple[str, ...]:
    """Digests of the keys in a key file, one key per line. Keys that are too short are skipped."""
    lines = (line.strip() for line in data.splitlines())
    return tuple(key_digest(line) for line in lines if len(line) >= MIN_KEY_LENGTH)


def match_key(presented: bytes, candidates: tuple[tuple[str, str], ...]) -> str | None:
    """The kind of the first candidate, given as (kind, digest), that matches the presented key, or None."""
    presented_digest = key_digest(presented)
    matched: str | None = None
    # No early exit: the time must not depend on which candidate matches.
    for kind, digest in candidates:
        if hmac.compare_digest(presented_digest, digest) and matched is None:
            matched = kind
    return matched if len(presented) >= MIN_KEY_LENGTH else None


class KeyRing:
    """The accepted admin keys. Methods read files, so call them in a thread.

    Registers itself with ``config``, which calls back for each valid config that it reads.
    """

    def __init__(self, config: ConfigFile, config_dir: Path, key_file: Path | None) -> None:
        self._config = config
        self._config_dir = config_dir
        self._key_file = key_file
        self._file_keys: tuple[FileStamp, tuple[str, ...]] | None = None
        self._last_valid: str | None = None
        config.on_valid = self._record_last_valid

    def accepted_keys(self) -> tuple[tuple[str, str], ...]:
        """All accepted keys as (kind, digest)."""
        file_keys = tuple(("key_file", digest) for digest in self._key_file_digests() or ())
        return (*file_keys, *self._config_keys(self._config.read_cached()))

    def check(self, presented: bytes) -> str | None:
        """The kind of the presented key (``key_file``, ``config`` or ``last_valid``), or None if it is not accepted.

        Raises ``NotReady`` if the key file cannot be read because the process can open no more files.
        """
        # The key file comes first: its keys work without waiting for a config that is being written.
        file_digests = self._key_file_digests()
        kind = match_key(presented, tuple(("key_file", digest) for digest in file_digests or ()))
        if kind is None:
            # Then without a worker: the last valid key works without waiting until a changed config is parsed.
            live = self._config.read_cached(worker=False)
            kind = match_key(presented, self._config_keys(live))
            if kind is None and live.kind == "not_parsed":
                # The key may be new in the changed config. Only parsing it can tell.
                kind = match_key(presented, self._config_keys(self._config.read_cached()))
        if kind is None and file_digests is None:
            # "Unauthorized" would be wrong: the key may be in the file that could not be read.
            raise ApiError(ErrorCode.NotReady, "the key file cannot be read now: too many files are open")
        return kind

    def key_file_problem(self) -> str | None:
        """Why the admin key file cannot be used, as a sentence with a remedy. None if it can, or if none is set."""
        if self._key_file is None:
            return None
        try:
            fd = os.open(self._key_file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            return f"the admin key file cannot be opened ({error.strerror}); check its path, its mount and its mode"
        close(fd)
        if not self._key_file_digests():
            return f"the admin key file contains no key of at least {MIN_KEY_LENGTH} bytes; write one key a line"
        return None

    def _config_keys(self, live: ConfigRead) -> tuple[tuple[str, str], ...]:
        """The key of a valid config, else the key of the last valid config."""
        if live.summary is not None and not live.summary.warnings:
            return (("config", live.summary.admin_key_sha256),)
        last = self._last_valid_key()
        return () if last is None else (("last_valid", last),)

    def _key_file_digests(self) -> tuple[str, ...] | None:
        """Digests of the keys in the key file. Empty if it cannot be read, None if no more files can be opened."""
        if self._key_file is None:
            return ()
        try:
            fd = os.open(self._key_file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            return None if error.errno in _SHORTAGES else ()
        try:
            stamp = file_stamp(os.fstat(fd))
            if self._file_keys is None or self._file_keys[0] != stamp:
                self._file_keys = (stamp, parse_key_file(read_all(fd, MAX_KEY_FILE_BYTES)))
            return self._file_keys[1]
        except OSError:
            return ()
        finally:
            close(fd)

    def _record_last_valid(self, summary: ConfigSummary) -> None:
        """Stores the key's digest durably, so that it is accepted after a restart with an invalid config."""
        digest = summary.admin_key_sha256
        if summary.warnings or digest == self._last_valid:
            return
        try:
            with StateDir(self._config_dir, create=True) as state:
                if (state.read(LAST_KEY_FILE) or b"").strip() != digest.encode():
                    state.write(LAST_KEY_FILE, digest.encode() + b"\n")
        except (OSError, ApiError):
            return  # the next valid read tries again
        # Only after the durable write: the digest in memory means that the write is not needed any more.
        self._last_valid = digest

    def _last_valid_key(self) -> str | None:
        if self._last_valid is None:
            try:
                with StateDir(self._config_dir, create=False) as state:
                    text = (state.read(LAST_KEY_FILE) or b"").decode("ascii", "replace").strip()
            except OSError:
                return None
            self._last_valid = text if len(text) == 64 else None
        return self._last_valid
