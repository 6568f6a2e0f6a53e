"""Reads the live config while the gateway may be writing to it.

The gateway writes the file in place and takes no lock, so a read can return half a config. A read counts only if the
file's stat data is the same before and after it. A file that changed recently must also pass :func:`is_stable`. The
result is a `ConfigRead`. It holds the bytes and the summary of a valid config, or the reason why there is none.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.gateway_config.parser import ConfigParser
from gateway_api.gateway_config.schema import InvalidConfig
from gateway_api.gateway_config.summary import ConfigSummary
from gateway_api.storage.atomic_write import close, unlink_if_exists, write_temporary
from gateway_api.storage.content import Blob, digest_and_size, read_blob
from gateway_api.storage.paths import FILE_FLAGS, FileStamp, file_stamp

Kind = Literal["valid", "missing", "invalid", "too_large", "unstable", "unreadable", "not_parsed"]
"""``unstable``: it kept changing; ``unreadable``: the volume failed; ``not_parsed``: no worker could parse it."""

POLL_SECONDS: Final = 0.05
PATIENCE_SECONDS: Final = 8.0
_OCTAL: Final = re.compile(rb"\\([0-3][0-7]{2})")
"""Escape sequence for a space, tab, newline or backslash in /proc/self/mountinfo."""

_CODES: Final[dict[Kind, ErrorCode]] = {
    "missing": ErrorCode.ConfigMissing,
    "invalid": ErrorCode.ConfigInvalid,
    "too_large": ErrorCode.ConfigTooLarge,
    "unstable": ErrorCode.ConfigUnstable,
    "unreadable": ErrorCode.VolumeUnavailable,
    "not_parsed": ErrorCode.WorkerFailed,
}


@dataclass(frozen=True, slots=True)
class ConfigRead:
    """The result of reading the config file.

    ``content`` holds the exact bytes, ``summary`` is set for a valid config. Otherwise ``problem`` gives the reason,
    without a value of the file. ``stamp``, ``mode`` and ``gid`` come from the file's stat data. ``read_at`` is the
    time at the end of the read, in seconds since the epoch.
    """

    kind: Kind
    content: Blob | None = None
    summary: ConfigSummary | None = None
    problem: str = ""
    stamp: FileStamp | None = None
    mode: int = 0o600
    gid: int | None = None
    read_at: float = 0.0

    @property
    def sha256(self) -> str | None:
        """Digest of the bytes, or None if they could not be read."""
        if self.summary is not None:
            return self.summary.sha256
        return None if self.content is None else self.content.sha256

    def error(self) -> ApiError:
        """The error for an operation that needs a valid config."""
        return ApiError(_CODES[self.kind], self.problem or None)


def is_stable(*, age: float, unchanged_for: float, same_as_before: bool, is_valid: bool, settle: float) -> bool:
    """Whether the gateway has finished writing the bytes of a read.

    ``age`` is the time since the file's mtime, ``unchanged_for`` the time that this reader has observed no change, both
    in seconds. ``same_as_before``: the previous read returned the same bytes. ``is_valid``: the bytes are a config.
    Half a JSON object is never valid, so two equal reads are enough for a valid file. Any other file must stay
    unchanged for ``settle`` seconds.
    """
    return age >= settle or unchanged_for >= settle or (same_as_before and is_valid)


class ConfigFile:
    """Reads one config file of at most ``limit`` bytes. Caches the last valid summary by the file's stat data.

    ``settle`` is the time in seconds after which an unchanged file counts as completely written.
    """

    def __init__(self, path: Path, limit: int, settle: float, parser: ConfigParser) -> None:
        self.path = path
        self.parser = parser
        self._limit = limit
        self._settle = settle
        self._cached: tuple[FileStamp, ConfigRead] | None = None
        self.on_valid: Callable[[ConfigSummary], None] = lambda _: None
        """Called with the summary of every valid config, from the thread that read it."""

    def read(self, *, patience: float = PATIENCE_SECONDS) -> ConfigRead:
        """The config with its bytes, or the reason why there is none.

        Blocks for up to ``patience`` seconds, or until two reads are done if that takes longer. Never raises.
        """
        return self._read(patience, use_cache=False, sections=False, worker=True)

    def read_cached(self, *, sections: bool = False, worker: bool = True) -> ConfigRead:
        """As :meth:`read`, but from the cache, without the bytes, when the file has not changed.

        ``sections`` requires the digest of the data sections in the summary. With ``worker=False`` no worker is
        started, and a config that needs one is ``not_parsed``.
        """
        return self._read(self._settle + 1.0, use_cache=True, sections=sections, worker=worker)

    def digest(self, *, at_least: int = 0) -> str | None:
        """Digest of the current bytes, complete or not. None when the file cannot be read or changes during the read.

        It is also None for a file larger than both the limit and ``at_least`` bytes.
        """
        limit = max(self._limit, at_least)
        try:
            fd = os.open(self.path, FILE_FLAGS)
        except OSError:
            return None
        try:
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode) or before.st_size > limit:
                return None
            sha256, size = digest_and_size(fd, limit)
            unchanged = file_stamp(os.fstat(fd)) == file_stamp(before) and size == before.st_size
            return sha256 if unchanged else None
        except OSError:
            return None
        finally:
            close(fd)

    def _read(self, patience: float, *, use_cache: bool, sections: bool, worker: bool) -> ConfigRead:
        end = time.monotonic() + patience
        previous: ConfigRead | None = None
        unchanged_since = time.monotonic()
        while True:
            live = self._read_once(use_cache, sections, worker)
            now = time.monotonic()
            # Waiting does not change these results.
            if live.kind in ("unreadable", "too_large", "not_parsed"):
                return live
            if previous is None or previous.stamp != live.stamp or live.kind == "unstable":
                unchanged_since = now
            if live.stamp is not None:
                age = live.read_at - live.stamp[3] / 1e9
                if live.kind != "unstable" and is_stable(
                    age=age,
                    unchanged_for=now - unchanged_since,
                    same_as_before=previous is not None and previous.sha256 == live.sha256,
                    is_valid=live.kind == "valid",
                    settle=self._settle,
                ):
                    self._remember(live, age)
                    if live.summary is not None:
                        self.on_valid(live.summary)
                    return live
            elif live.kind == "missing" and previous is not None and previous.kind == "missing":
                # Two reads are enough: a file can only be missing for longer than a rename if it was removed.
                return live
            # One read of a large config may take longer than ``patience``. A second read is allowed in any case,
            # because a file that changed recently needs two equal reads.
            if now >= end and previous is not None:
                return ConfigRead("unstable", problem="the config kept changing while it was read")
            previous = live
            time.sleep(min(POLL_SECONDS, max(self._settle, 0.005)))

    def _remember(self, live: ConfigRead, age: float) -> None:
        # Two writes within 2 s can have the same mtime on a file system with coarse timestamps. A recently changed file
        # is therefore not cached.
        if live.stamp is not None and live.kind == "valid" and age >= 2.0:
            self._cached = (live.stamp, replace(live, content=None))

    def _read_once(self, use_cache: bool, sections: bool, worker: bool) -> ConfigRead:
        try:
            fd = os.open(self.path, FILE_FLAGS)
        except FileNotFoundError:
            return ConfigRead("missing", problem="the config file does not exist")
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                return ConfigRead("unreadable", problem="the config is a link or a special file")
            return ConfigRead("unreadable", problem="the config cannot be opened")
        try:
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode):
                return ConfigRead("unreadable", problem="the config is not a regular file")
            stamp = file_stamp(before)
            cached = self._cached
            if use_cache and cached is not None and cached[0] == stamp and _has_requested_detail(cached[1], sections):
                return replace(cached[1], read_at=time.time())
            mode, gid = stat.S_IMODE(before.st_mode), before.st_gid
            if before.st_size > self._limit:
                problem = f"the config is larger than {self._limit} bytes"
                return ConfigRead("too_large", None, None, problem, stamp, mode, gid)
            content = read_blob(fd, self._limit)
            after = os.fstat(fd)
            read_at = time.time()
        except OSError:
            return ConfigRead("unreadable", problem="the config cannot be read")
        finally:
            close(fd)
        # The gateway wrote to the file during the read: the bytes may be a mix of two configs.
        if file_stamp(after) != stamp or content.size != before.st_size:
            return ConfigRead("unstable", None, None, "", stamp)
        if not worker and self.parser.needs_worker(content):
            problem = "the config has not been parsed yet"
            return ConfigRead("not_parsed", content, None, problem, stamp, mode, gid, read_at)
        try:
            summary = self.parser.summarize(content, sections=sections)
        except InvalidConfig as error:
            return ConfigRead("invalid", content, None, str(error), stamp, mode, gid, read_at)
        except ApiError as error:
            return ConfigRead("not_parsed", content, None, error.detail, stamp, mode, gid, read_at)
        except OSError:
            return ConfigRead("unreadable", problem="not enough memory to read the config")
        return ConfigRead("valid", content, summary, "", stamp, mode, gid, read_at)


def _has_requested_detail(live: ConfigRead, sections: bool) -> bool:
    return not sections or live.summary is None or live.summary.sections_digest is not None


def is_mount_point(path: Path) -> bool:
    """Whether the file itself is a mount point. No other file can be renamed over a mount point."""
    try:
        table = Path("/proc/self/mountinfo").read_bytes()
    except OSError:
        return False
    target = os.fsencode(os.path.realpath(path))
    mount_points = (fields[4] for line in table.splitlines() if len(fields := line.split(b" ")) > 4)
    return any(_OCTAL.sub(lambda escape: bytes([int(escape[1], 8)]), point) == target for point in mount_points)


def replace_problem(path: Path) -> str | None:
    """The reason why a restore cannot replace the config file, or None. Creates and removes two small test files."""
    try:
        info = path.lstat()
    except FileNotFoundError:
        info = None
    except OSError:
        return "the config's directory does not permit access to its files"
    if info is not None:
        if not stat.S_ISREG(info.st_mode):
            return "the config is not a regular file"
        if info.st_uid != os.geteuid():
            return "the config is owned by another user than the one of this process"
        if is_mount_point(path):
            return "the config file itself is a mount point; mount its directory instead"
    try:
        fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return "the config's directory cannot be opened"
    try:
        # A restore replaces the config by a rename, so the test renames one file over another.
        source = write_temporary(fd, b"probe")
        target = write_temporary(fd, b"")
        try:
            os.rename(source, target, src_dir_fd=fd, dst_dir_fd=fd)
        finally:
            unlink_if_exists(fd, target)
            unlink_if_exists(fd, source)
    except OSError as error:
        # A full volume is reported by the restore itself, as an error code of its own.
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return None
        return "the config's directory is not writable"
    finally:
        close(fd)
    return None
