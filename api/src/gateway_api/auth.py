"""Checks admin keys: the keys in the key file, the keys in the live config, and those of the last valid config.

The last ones are accepted while the live config is missing or invalid, because a restore must still be possible then.
While a restore is neither committed nor rolled back, the keys of the config that it replaced are accepted as well: the
caller may have no other key to end the restore.
Only SHA-256 digests of keys are kept, so the memory of this module reveals no key. A presented key is compared with
all digests, each in constant time, so the response time reveals nothing either.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from gateway_api import logs
from gateway_api.contract import ErrorCode
from gateway_api.errors import SHORTAGE_ERRNOS, ApiError, errno_name
from gateway_api.gateway_config.admin_keys import MIN_KEY_LENGTH, key_digest
from gateway_api.gateway_config.live import ConfigFile, ConfigRead
from gateway_api.gateway_config.summary import ConfigSummary
from gateway_api.storage.atomic_write import close, read_all
from gateway_api.storage.layout import JOURNAL_FILE, LAST_KEY_FILE
from gateway_api.storage.state_dir import Stamp, StateDir
from gateway_api.storage.text_file import without_bom

MAX_KEY_FILE_BYTES: Final = 64 * 1024
_DIGEST: Final = re.compile(r"^[0-9a-f]{64}$", re.MULTILINE)

KIND_BEFORE_RESTORE: Final = "before_restore"
"""The kind of a key of the config that an open restore replaced. It is accepted until that restore ends."""
AcceptedKeys = tuple[tuple[str, str], ...]
"""Accepted keys as (kind, digest). The kind is ``key_file``, ``config``, ``last_valid`` or ``before_restore``."""


class KeyFileRead(NamedTuple):
    """The keys of a key file as digests, and why the file or a part of it cannot be used, or None."""

    digests: tuple[str, ...]
    problem: str | None


def parse_key_file(data: bytes) -> KeyFileRead:
    """The keys in a key file, one key per line. A byte order mark and blank lines are ignored, short keys refused."""
    if len(data) > MAX_KEY_FILE_BYTES:
        return KeyFileRead((), f"the admin key file is larger than {MAX_KEY_FILE_BYTES} bytes")
    digests, problem = [], None
    for number, line in enumerate(without_bom(data).splitlines(), 1):
        key = line.strip()
        if len(key) >= MIN_KEY_LENGTH:
            digests.append(key_digest(key))
        elif key:
            problem = f"the key in line {number} of the admin key file is shorter than {MIN_KEY_LENGTH} bytes"
    if not digests and problem is None:
        problem = "the admin key file contains no key"
    return KeyFileRead(tuple(digests), problem)


def match_key(presented_digest: str, accepted: AcceptedKeys) -> str | None:
    """The kind of the first accepted key with this digest, or None."""
    matched: str | None = None
    # No early exit: the time must not depend on which key matches.
    for kind, digest in accepted:
        if hmac.compare_digest(presented_digest, digest) and matched is None:
            matched = kind
    return matched


class KeyFile:
    """The file of admin keys. It is read at each use, so that a changed file counts at once.

    ``path`` is None if no key file is set.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._logged: str | None = None

    def read(self) -> KeyFileRead | None:
        """The keys and the problem of the file. None if the process can open no more files. Logs a new problem."""
        if self._path is None:
            return KeyFileRead((), None)
        try:
            result = _read_key_file(self._path)
        except OSError as error:
            if error.errno in SHORTAGE_ERRNOS:
                return None
            result = KeyFileRead((), f"the admin key file cannot be read ({errno_name(error)})")
        if result.problem != self._logged:
            self._logged = result.problem
            if result.problem is None:
                logs.event("admin_key_file_usable", keys=len(result.digests))
            else:
                logs.event("admin_key_file_unusable", logging.ERROR, problem=result.problem, keys=len(result.digests))
        return result


def _read_key_file(path: Path) -> KeyFileRead:
    try:
        # Non-blocking: a named pipe in place of the file must not hold the thread.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return KeyFileRead((), "the admin key file does not exist")
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return KeyFileRead((), "the admin key file is not a regular file")
        return parse_key_file(read_all(fd, MAX_KEY_FILE_BYTES))
    finally:
        close(fd)


def _previous_keys(journal: bytes | None) -> tuple[str, ...]:
    """The digests of the keys that a restore's journal keeps accepted. Empty without a journal or for a damaged one."""
    try:
        record = json.loads(journal or b"{}")
    except ValueError:
        return ()
    keys = record.get("previous_keys") if isinstance(record, dict) else None
    return tuple(_DIGEST.findall("\n".join(map(str, keys)))) if isinstance(keys, list) else ()


class KeyRing:
    """The accepted admin keys. Methods read files, so call them in a thread.

    Registers itself with ``config``, which calls back for each valid config that it reads or that a restore activates.
    """

    def __init__(self, config: ConfigFile, config_dir: Path, key_file: Path | None) -> None:
        self._config = config
        self._config_dir = config_dir
        self._key_file = KeyFile(key_file)
        self._recorded: tuple[str, ...] | None = None
        self._unrecorded: tuple[str, ...] | None = None
        self._short_keys: tuple[str, ...] = ()
        self._journal: tuple[Stamp | None, tuple[str, ...]] = (None, ())
        """The stamp of the journal that was parsed last, and the digests in it."""
        config.on_valid = self._record_last_valid
        config.on_activated = self._record

    def accepted_keys(self) -> AcceptedKeys:
        """All accepted keys. Raises as :meth:`file_keys`."""
        return (*self.file_keys(), *self.config_keys())

    def check(self, presented_digest: str) -> str | None:
        """The kind of the presented key, or None if it is not accepted. Raises as :meth:`file_keys`."""
        # The key file comes first: its keys work without waiting for a config that is being written or parsed.
        kind = match_key(presented_digest, self.file_keys())
        return match_key(presented_digest, self.config_keys()) if kind is None else kind

    def accepts_with(self, presented_digest: str, config_digests: Sequence[str]) -> bool:
        """Whether the presented key is accepted when the live config has the keys with these digests.

        Raises as :meth:`file_keys`.
        """
        config_keys = tuple(("config", digest) for digest in config_digests)
        return match_key(presented_digest, (*self.file_keys(), *config_keys)) is not None

    def key_file_problem(self) -> str | None:
        """Why the admin key file, or a key in it, cannot be used. None if all is well or no key file is set."""
        result = self._key_file.read()
        return None if result is None else result.problem

    def file_keys(self) -> AcceptedKeys:
        """The keys in the key file. Raises ``NotReady`` if the process can open no more files."""
        result = self._key_file.read()
        if result is None:
            # "Unauthorized" would be wrong: the key may be in the file that could not be read.
            raise ApiError(ErrorCode.NotReady, "the key file cannot be read now: too many files are open")
        return tuple(("key_file", digest) for digest in result.digests)

    def config_keys(self) -> AcceptedKeys:
        """The keys of a valid config, else the keys of the last valid config; then those before an open restore.

        A config that has changed is parsed before an old key is accepted, if necessary by a worker process. The
        parser's time limit bounds the wait.
        """
        live: ConfigRead = self._config.read_cached()
        replaced = tuple((KIND_BEFORE_RESTORE, digest) for digest in self._keys_before_restore())
        if live.summary is not None:
            return (*(("config", digest) for digest in live.summary.admin_key_digests), *replaced)
        return (*(("last_valid", digest) for digest in self._last_valid_keys()), *replaced)

    def _keys_before_restore(self) -> tuple[str, ...]:
        """The digests in the journal of a restore. The end of the restore removes them from it."""
        try:
            with StateDir(self._config_dir, create=False) as state:
                # Before the read: a journal that is replaced in between is then read again at the next check.
                stamp = state.stamp(JOURNAL_FILE)
                parsed_stamp, digests = self._journal
                if stamp != parsed_stamp:
                    digests = _previous_keys(state.read(JOURNAL_FILE))
                    self._journal = stamp, digests
                return digests
        except OSError:
            return ()

    def _record_last_valid(self, summary: ConfigSummary) -> None:
        """Stores the digests of the config's keys durably, for a restart with an invalid config."""
        short_keys = tuple(warning.where for warning in summary.warnings)
        if short_keys != self._short_keys:
            self._short_keys = short_keys
            for field in short_keys:
                logs.event("admin_key_too_short", logging.ERROR, field=field, shortest=MIN_KEY_LENGTH)
        try:
            self._record(summary.admin_key_digests)
        except (OSError, ApiError):
            return  # the next valid read tries again

    def _record(self, digests: tuple[str, ...]) -> None:
        """Stores the digests of the only keys that are accepted while the config is missing or invalid.

        Raises ``OSError`` or ``ApiError`` if they are not durable.
        """
        if digests == self._recorded:
            return
        # Before the write: if it fails, this process still knows that the earlier keys are no longer valid.
        self._unrecorded = digests
        data = "".join(f"{digest}\n" for digest in digests).encode()
        with StateDir(self._config_dir, create=True) as state:
            if state.read(LAST_KEY_FILE) != data:
                state.write(LAST_KEY_FILE, data)
        # Only after the durable write: these mean that the write is not needed any more.
        self._recorded, self._unrecorded = digests, None

    def _last_valid_keys(self) -> tuple[str, ...]:
        if self._unrecorded is not None:
            return self._unrecorded
        try:
            # Read each time: another server on the same volume may have read a later config.
            with StateDir(self._config_dir, create=False) as state:
                text = (state.read(LAST_KEY_FILE) or b"").decode("ascii", "replace")
        except OSError:
            return self._recorded or ()
        return tuple(_DIGEST.findall(text))
