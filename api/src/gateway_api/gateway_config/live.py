"""The live config as the gateway leaves it on disk: read never torn, replaced never half.

The gateway writes in place, without a lock. A reading therefore counts only if the file did not change around it, and
a young file only if two readings agree and it is a whole config, or once it has been left alone for a while.
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
from gateway_api.storage.content import Blob, digest_of, read_blob
from gateway_api.storage.paths import FILE_FLAGS, FileStamp, file_stamp

Kind = Literal["valid", "missing", "invalid", "too_large", "unstable", "unreadable", "unjudged"]


POLL_SECONDS: Final = 0.05
PATIENCE_SECONDS: Final = 8.0
_OCTAL: Final = re.compile(rb"\\([0-3][0-7]{2})")
"""How /proc/self/mountinfo writes spaces and the like."""

_CODES: Final[dict[Kind, ErrorCode]] = {
    "missing": ErrorCode.ConfigMissing,
    "invalid": ErrorCode.ConfigInvalid,
    "too_large": ErrorCode.ConfigTooLarge,
    "unstable": ErrorCode.ConfigUnstable,
    "unreadable": ErrorCode.VolumeUnavailable,
    "unjudged": ErrorCode.WorkerFailed,
}


@dataclass(frozen=True, slots=True)
class ConfigRead:
    """What was found. ``content`` are the exact bytes, ``summary`` stands when they are a config, ``problem`` says why
    not, without a value of the file. ``mode`` and ``gid`` are the file's own; ``read_at`` is when it had been read."""

    kind: Kind
    content: Blob | None = None
    summary: ConfigSummary | None = None
    problem: str = ""
    signature: FileStamp | None = None
    mode: int = 0o600
    gid: int | None = None
    read_at: float = 0.0

    @property
    def sha256(self) -> str | None:
        """Digest of the bytes, if they could be read."""
        if self.summary is not None:
            return self.summary.sha256
        return None if self.content is None else self.content.sha256

    def error(self) -> ApiError:
        """The failure of an operation that needs a valid config."""
        return ApiError(_CODES[self.kind], self.problem or None)


def is_stable(*, age: float, still: float, agrees: bool, whole: bool, settle: float) -> bool:
    """Whether a reading that did not change under the reader may be believed.

    ``age`` is the file's by its own mtime, ``still`` how long this reader has seen it unchanged, both in seconds;
    ``agrees``: an earlier reading gave the same bytes; ``whole``: they are a config. A truncated JSON object is never
    whole, so only a file that is not whole has to prove that nobody is still writing it.
    """
    return age >= settle or still >= settle or (agrees and whole)


class ConfigFile:
    """The adapter around one config path. Remembers one judgement by the file's signature."""

    def __init__(self, path: Path, limit: int, settle: float, judge: ConfigParser) -> None:
        self.path = path
        self.judge = judge
        self._limit = limit
        self._settle = settle
        self._cached: tuple[FileStamp, ConfigRead] | None = None
        self.on_valid: Callable[[ConfigSummary], None] = lambda _: None
        """Called with the summary of every config that was judged valid."""

    def read(self, *, patience: float = PATIENCE_SECONDS) -> ConfigRead:
        """The config with its bytes, believed or told why not. Blocks up to ``patience`` seconds. Never raises."""
        return self._read(patience, use_cache=False, sections=False, worker=True)

    def read_cached(self, *, sections: bool = False, worker: bool = True) -> ConfigRead:
        """As :meth:`read`, from memory when the file is the one that was read last; then without its bytes.

        ``sections``: the summary is to hold their digest. Without ``worker`` no worker is started: a config that only
        a worker could judge is ``unjudged``.
        """
        return self._read(self._settle + 1.0, use_cache=True, sections=sections, worker=worker)

    def digest(self, *, at_least: int = 0) -> str | None:
        """Digest of what is there at this moment, torn or not; None when it changes just now or cannot be read, or is
        larger than a config may be and than ``at_least`` bytes."""
        limit = max(self._limit, at_least)
        try:
            fd = os.open(self.path, FILE_FLAGS)
        except OSError:
            return None
        try:
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode) or before.st_size > limit:
                return None
            sha256, size = digest_of(fd, limit)
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
            live = self._attempt(use_cache, sections, worker)
            now = time.monotonic()
            if live.kind in ("unreadable", "too_large", "unjudged"):
                return live
            if previous is None or previous.signature != live.signature or live.kind == "unstable":
                unchanged_since = now
            if live.signature is not None:
                age = live.read_at - live.signature[3] / 1e9
                agrees = previous is not None and previous.sha256 == live.sha256
                settle = self._settle
                whole = live.kind == "valid"
                if live.kind != "unstable" and is_stable(
                    age=age, still=now - unchanged_since, agrees=agrees, whole=whole, settle=settle
                ):
                    self._remember(live, age)
                    if live.summary is not None:
                        self.on_valid(live.summary)
                    return live
            elif live.kind == "missing" and previous is not None and previous.kind == "missing":
                # Nobody truncates a file by removing it: a second look is only for a rename in between.
                return live
            # Reading a large config may alone take longer: a second reading that agrees is always waited for.
            if now >= end and previous is not None:
                return ConfigRead("unstable", problem="the config kept changing while it was read")
            previous = live
            time.sleep(min(POLL_SECONDS, max(self._settle, 0.005)))

    def _remember(self, live: ConfigRead, age: float) -> None:
        if live.signature is not None and live.kind == "valid" and age >= 2.0:
            bare = replace(live, content=None)
            self._cached = (live.signature, bare)

    def _attempt(self, use_cache: bool, sections: bool, worker: bool) -> ConfigRead:
        try:
            fd = os.open(self.path, FILE_FLAGS)
        except FileNotFoundError:
            return ConfigRead("missing", problem="there is no config file")
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                return ConfigRead("unreadable", problem="the config is a link or a special file")
            return ConfigRead("unreadable", problem="the config cannot be opened")
        try:
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode):
                return ConfigRead("unreadable", problem="the config is not a regular file")
            signature = file_stamp(before)
            cached = self._cached
            if (
                use_cache
                and cached is not None
                and cached[0] == signature
                and _has_requested_detail(cached[1], sections)
            ):
                return replace(cached[1], read_at=time.time())
            mode, gid = stat.S_IMODE(before.st_mode), before.st_gid
            if before.st_size > self._limit:
                why = f"the config is larger than {self._limit} bytes"
                return ConfigRead("too_large", None, None, why, signature, mode, gid)
            content = read_blob(fd, self._limit)
            after = os.fstat(fd)
            read_at = time.time()
        except OSError:
            return ConfigRead("unreadable", problem="the config cannot be read")
        finally:
            close(fd)
        if file_stamp(after) != signature or content.size != before.st_size:
            return ConfigRead("unstable", None, None, "", signature)
        if not worker and self.judge.needs_worker(content):
            return ConfigRead(
                "unjudged", content, None, "the config has not been parsed yet", signature, mode, gid, read_at
            )
        try:
            summary = self.judge.summary(content, sections=sections)
        except InvalidConfig as problem:
            return ConfigRead("invalid", content, None, str(problem), signature, mode, gid, read_at)
        except ApiError as error:
            return ConfigRead("unjudged", content, None, error.detail, signature, mode, gid, read_at)
        except OSError:
            return ConfigRead("unreadable", problem="there is no memory to read the config")
        return ConfigRead("valid", content, summary, "", signature, mode, gid, read_at)


def _has_requested_detail(live: ConfigRead, sections: bool) -> bool:
    return not sections or live.summary is None or live.summary.sections_digest is not None


def is_mount_point(path: Path) -> bool:
    """Whether the file itself is a mount: then no other can be renamed over it."""
    try:
        table = Path("/proc/self/mountinfo").read_bytes()
    except OSError:
        return False
    wanted = os.fsencode(os.path.realpath(path))
    points = (fields[4] for line in table.splitlines() if len(fields := line.split(b" ")) > 4)
    return any(_OCTAL.sub(lambda found: bytes([int(found[1], 8)]), point) == wanted for point in points)


def replace_problem(path: Path) -> str | None:
    """Why a restore could not put another file in the config's place, or None. Makes and removes a small file."""
    try:
        info = path.lstat()
    except FileNotFoundError:
        info = None
    except OSError:
        return "the config's directory cannot be searched"
    if info is not None:
        if not stat.S_ISREG(info.st_mode):
            return "the config is not a regular file"
        if info.st_uid != os.geteuid():
            return "the config belongs to another user than this process"
        if is_mount_point(path):
            return "the config file is itself a mount; mount its directory"
    try:
        fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return "the config's directory cannot be opened"
    try:
        name = write_temporary(fd, b"probe")
        other = write_temporary(fd, b"")
        try:
            os.rename(name, other, src_dir_fd=fd, dst_dir_fd=fd)
        finally:
            unlink_if_exists(fd, other)
            unlink_if_exists(fd, name)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return None
        return "the config's directory is not writable"
    finally:
        close(fd)
    return None
