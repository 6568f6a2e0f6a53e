"""Reads the live config while the gateway may be writing to it.

The gateway writes the file in place and takes no lock, so a read can return half a config. A read counts only if the
file's stat data is the same before and after it. The file must also pass :func:`is_stable`, by this process's own
clock. The result is a `ConfigRead`. It holds the bytes and the summary of a valid config, or the reason why there is
none.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.gateway_config.config_path import describe_special_file
from gateway_api.gateway_config.parser import ConfigParser
from gateway_api.gateway_config.schema import InvalidConfig
from gateway_api.gateway_config.summary import ConfigSummary
from gateway_api.storage.atomic_write import close
from gateway_api.storage.content import Blob, read_blob
from gateway_api.storage.paths import FILE_FLAGS, FileStamp, digest_of_file, file_stamp

Kind = Literal["valid", "missing", "invalid", "too_large", "unstable", "unreadable", "not_parsed", "not_a_file"]
"""``unstable``: it kept changing; ``unreadable``: the volume failed; ``not_parsed``: no worker could parse it.
``not_a_file``: it is a symbolic link or a special file."""

POLL_SECONDS: Final = 0.05
PATIENCE_SECONDS: Final = 8.0
COARSE_SECONDS: Final = 2.0
"""The coarsest resolution of modification times that a file system has (FAT)."""

_CODES: Final[dict[Kind, ErrorCode]] = {
    "missing": ErrorCode.ConfigMissing,
    "invalid": ErrorCode.ConfigInvalid,
    "too_large": ErrorCode.ConfigTooLarge,
    "unstable": ErrorCode.ConfigUnstable,
    "unreadable": ErrorCode.VolumeUnavailable,
    "not_parsed": ErrorCode.WorkerFailed,
    "not_a_file": ErrorCode.ConfigNotAFile,
}


@dataclass(frozen=True, slots=True)
class ConfigRead:
    """The result of reading the config file.

    ``content`` holds the exact bytes, ``summary`` is set for a valid config. Otherwise ``problem`` gives the reason,
    without a value of the file.
    """

    kind: Kind
    content: Blob | None = None
    summary: ConfigSummary | None = None
    problem: str = ""
    stamp: FileStamp | None = None

    @property
    def sha256(self) -> str | None:
        """Digest of the bytes, or None if they could not be read."""
        if self.summary is not None:
            return self.summary.sha256
        return None if self.content is None else self.content.sha256

    def error(self) -> ApiError:
        """The error for an operation that needs a valid config."""
        return ApiError(_CODES[self.kind], self.problem or None)


def is_stable(*, unchanged_for: float, same_as_before: bool, is_valid: bool, settle: float) -> bool:
    """Whether the gateway has finished writing the bytes of a read.

    ``unchanged_for`` is the time in seconds that this reader has observed no change, by the monotonic clock. The file's
    own times do not count: the clock of a file server may differ. ``same_as_before``: the previous read returned the
    same bytes. ``is_valid``: the bytes are a config. Half a JSON object is never valid, so two equal reads are enough
    for a valid file. Any other file must stay unchanged for ``settle`` seconds.
    """
    return unchanged_for >= settle or (same_as_before and is_valid)


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
        # The latest state of the file: kind, stat data and digest, with the monotonic time of the first read of it.
        self._observed: tuple[object, float] | None = None
        self.on_valid: Callable[[ConfigSummary], None] = lambda _: None
        """Called with the summary of every valid config, from the thread that read it."""
        self.on_activated: Callable[[tuple[str, ...]], None] = lambda _: None
        """Called with the digests of the admin keys of a valid config that has just replaced the live one.

        Raises ``OSError`` or ``ApiError`` if they cannot be stored durably.
        """

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
        return digest_of_file(self.path, max(self._limit, at_least))

    def _read(self, patience: float, *, use_cache: bool, sections: bool, worker: bool) -> ConfigRead:
        end = time.monotonic() + patience
        reads = 0
        while True:
            began = time.monotonic()
            live = self._read_once(use_cache, sections, worker)
            now = time.monotonic()
            reads += 1
            # Waiting does not change these results.
            if live.kind in ("unreadable", "too_large", "not_parsed", "not_a_file"):
                return live
            unchanged_for = self._observe(live, began, now)
            if live.kind != "unstable" and is_stable(
                unchanged_for=unchanged_for,
                same_as_before=unchanged_for >= self._poll_seconds,
                # A file can only be missing for longer than a rename if it was removed.
                is_valid=live.kind in ("valid", "missing"),
                settle=self._settle,
            ):
                self._remember(live, unchanged_for)
                if live.summary is not None:
                    self.on_valid(live.summary)
                return live
            # One read of a large config may take longer than ``patience``. A second read is allowed in any case,
            # because a file that is read for the first time needs two equal reads.
            if now >= end and reads > 1:
                return ConfigRead("unstable", problem="the config kept changing while it was read")
            time.sleep(self._poll_seconds)

    @property
    def _poll_seconds(self) -> float:
        return min(POLL_SECONDS, max(self._settle, 0.005))

    def _observe(self, live: ConfigRead, began: float, ended: float) -> float:
        """The time in seconds from the first read that returned this state of the file to the start of this read.

        0 for the first such read. ``began`` and ``ended`` are the monotonic times of this read.
        """
        state = None if live.kind == "unstable" else (live.kind, live.stamp, live.sha256)
        observed = self._observed  # read once: other threads read the config as well
        if state is None or observed is None or observed[0] != state:
            self._observed = None if state is None else (state, ended)
            return 0.0
        return max(0.0, began - observed[1])

    def _remember(self, live: ConfigRead, unchanged_for: float) -> None:
        # On a file system with coarse timestamps a later write may leave the stat data as they are. After this time it
        # changes them.
        if live.stamp is not None and live.kind == "valid" and unchanged_for >= COARSE_SECONDS:
            self._cached = (live.stamp, replace(live, content=None))

    def _read_once(self, use_cache: bool, sections: bool, worker: bool) -> ConfigRead:
        try:
            fd = os.open(self.path, FILE_FLAGS)
        except FileNotFoundError:
            return ConfigRead("missing", problem="the config file does not exist")
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV):
                return ConfigRead("not_a_file", problem=describe_special_file(self.path))
            return ConfigRead("unreadable", problem="the config cannot be opened")
        try:
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode):
                return ConfigRead("not_a_file", problem=describe_special_file(self.path))
            stamp = file_stamp(before)
            cached = self._cached
            if use_cache and cached is not None and cached[0] == stamp and _has_requested_detail(cached[1], sections):
                return cached[1]
            if before.st_size > self._limit:
                problem = f"the config is larger than {self._limit} bytes"
                return ConfigRead("too_large", problem=problem, stamp=stamp)
            content = read_blob(fd, self._limit)
            after = os.fstat(fd)
        except OSError:
            return ConfigRead("unreadable", problem="the config cannot be read")
        finally:
            close(fd)
        # The gateway wrote to the file during the read: the bytes may be a mix of two configs.
        if file_stamp(after) != stamp or content.size != before.st_size:
            return ConfigRead("unstable", stamp=stamp)
        if not worker and self.parser.needs_worker(content):
            problem = "the config has not been parsed yet"
            return ConfigRead("not_parsed", content, problem=problem, stamp=stamp)
        try:
            summary = self.parser.summarize(content, sections=sections)
        except InvalidConfig as error:
            return ConfigRead("invalid", content, problem=str(error), stamp=stamp)
        except ApiError as error:
            return ConfigRead("not_parsed", content, problem=error.detail, stamp=stamp)
        except OSError:
            return ConfigRead("unreadable", problem="not enough memory to read the config")
        return ConfigRead("valid", content, summary, stamp=stamp)


def _has_requested_detail(live: ConfigRead, sections: bool) -> bool:
    return not sections or live.summary is None or live.summary.sections_digest is not None
