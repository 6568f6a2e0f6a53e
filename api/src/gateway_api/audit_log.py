"""Writing the audit log: a line durable before the effect, a line after it, both while the locks are held.

The log lies on the backup volume. A full volume gives up its reserve for a line; one that is gone or takes nothing
makes the line wait in the config directory, and it is written in its turn as soon as the volume takes it. So a restore
needs no backup volume, and still nothing happens unwritten. A log that has grown to its limit is renamed and begun
anew; nothing here ever removes a segment.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from . import audit, logs
from .audit import Head, Tail
from .context import Context
from .contract import ErrorCode
from .durable import close, is_full, list_names, sync_directory, unlink_quietly
from .errors import ApiError, config_volume_error, rfc3339
from .room import RESERVE
from .safe_path import FILE_FLAGS
from .state_folder import StateFolder

LOG: Final = "audit.jsonl"
WAITING: Final = "audit-waiting.jsonl"
SEGMENT: Final = re.compile(r"^audit-([0-9]{12})\.jsonl$")
"""A segment that has ended, by the number of its last record."""
WINDOW: Final = 64 * 1024
WAITING_BYTES: Final = 1024 * 1024
"""How much may wait for a volume that is gone; operations that need no volume have some more."""
WAITING_BYTES_OF_ENDS: Final = 3 * 1024 * 1024
_ENDS: Final = frozenset({"restore", "commit", "rollback"})
_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Audited:
    """One operation's two lines. ``name`` is what the caller calls it: a request id, or a backup's id."""

    def __init__(self, context: Context, operation: str, name: str | None) -> None:
        self._context = context
        self._entry = {"id": secrets.token_hex(8), "by": context.requested_by, "operation": operation}
        if name is not None:
            self._entry["name"] = name

    def intent(self) -> str | None:
        """Writes what is about to happen; returns the chain's head, or None if the line has to wait.

        Raises ``ApiError`` if no volume takes the line: then nothing may happen.
        """
        context = self._context
        entry = {"event": "intent", **self._entry}
        if (head := _to_volume(context, entry)) is not None:
            return head.sha256
        limit = WAITING_BYTES_OF_ENDS if self._entry["operation"] in _ENDS else WAITING_BYTES
        try:
            _wait(context.config_state, {"time": rfc3339(context.clock()), **entry}, limit)
        except OSError as error:
            raise config_volume_error(error) from None
        return None

    def outcome(self, result: str, more: Mapping[str, Any]) -> None:
        """Writes what came of it. Never raises: it has happened."""
        context = self._context
        entry = {**more, "event": "outcome", **self._entry, "result": result}
        if _to_volume(context, entry) is not None:
            return
        try:
            _wait(context.config_state, {"time": rfc3339(context.clock()), **entry}, 2 * WAITING_BYTES_OF_ENDS)
        except (OSError, ApiError):
            logs.event("audit_line_lost", 40, failed=True, operation=self._entry["operation"], result=result)


def _to_volume(context: Context, entry: Mapping[str, Any]) -> Head | None:
    volume = context.backup_state
    if volume is None:
        return None
    now = rfc3339(context.clock())
    try:
        waited = _waiting(context.config_state)
        head = _append(volume, [*waited, entry], now, context.settings.audit_bytes)
    except (OSError, ApiError):
        logs.event("audit_line_waits", 30, failed=True)
        return None
    if waited:
        with suppress(OSError, ApiError):  # they are written again, then, each under its own id
            context.config_state.remove(WAITING)
    return head


def _append(volume: StateFolder, entries: Sequence[Mapping[str, Any]], now: str, limit: int) -> Head:
    """One write, however many have waited: thousands must not hold the next request up."""
    try:
        return _append_once(volume, entries, now, limit)
    except OSError as error:
        if not is_full(error):
            raise
        unlink_quietly(volume.fd, RESERVE)
        return _append_once(volume, entries, now, limit)


def _append_once(volume: StateFolder, entries: Sequence[Mapping[str, Any]], now: str, limit: int) -> Head:
    fd = _open(volume, LOG)
    try:
        size = os.fstat(fd).st_size
        tail = _tail(volume, fd, size)
        line, head = audit.chain_all(tail, entries, now)
        # A fragment is hashed in its own segment, so it is never the end of one.
        clean = not tail.fragment and not tail.unended
        if clean and size > 0 and size + len(line) > limit and _end_segment(volume, tail.head):
            begun = _open(volume, LOG)
            close(fd)
            fd, size = begun, 0
        if size == 0 and tail.head.lines:
            first = {**entries[0], audit.BEGINS_SEGMENT: True}
            line, head = audit.chain_all(tail, [first, *entries[1:]], now)
        _put(fd, line, size)
    finally:
        close(fd)
    if size == 0:
        sync_directory(volume.fd)
    return head


def _end_segment(volume: StateFolder, head: Head) -> bool:
    """The log becomes an ended segment. After a crash behind this, the next line begins the new one."""
    try:
        os.rename(LOG, f"audit-{head.lines:012}.jsonl", src_dir_fd=volume.fd, dst_dir_fd=volume.fd)
    except OSError:
        return False  # the segment grows on
    sync_directory(volume.fd)
    return True


def segments(volume: StateFolder) -> list[str]:
    """The names of the ended segments, oldest first. Raises ``OSError``."""
    return sorted(name for name in list_names(volume.fd) if SEGMENT.match(name))


def _last_ended(volume: StateFolder) -> Head:
    """What a new segment's first record hangs on."""
    for name in reversed(segments(volume)):
        fd = os.open(name, FILE_FLAGS, dir_fd=volume.fd)
        try:
            found = _seek(fd, os.fstat(fd).st_size)
        finally:
            close(fd)
        if isinstance(found, Tail):
            return found.head
    return Head()


def _open(state: StateFolder, name: str) -> int:
    fd = os.open(name, _FLAGS, 0o600, dir_fd=state.fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        close(fd)
        raise OSError(errno.EINVAL, "not a regular file")
    return fd


def _put(fd: int, line: bytes, size: int) -> None:
    """One write, whole or an error, and durable."""
    if os.pwrite(fd, line, size) != len(line):
        raise OSError(errno.ENOSPC, "the line was cut short")
    os.fdatasync(fd)


def _tail(volume: StateFolder, fd: int, size: int) -> Tail:
    found = _seek(fd, size)
    if isinstance(found, Tail):
        return found
    return Tail(_last_ended(volume), found, bool(found) and not found.endswith(b"\n"))


def _seek(fd: int, size: int) -> Tail | bytes:
    """The end of a segment; or all its bytes, if no record is among them."""
    for window in (WINDOW, size):
        data = os.pread(fd, window, max(0, size - window))
        if (found := audit.tail_of(data)) is not None:
            return found
        if window >= size:
            break
    return data


def _wait(config_state: StateFolder, entry: Mapping[str, Any], limit: int) -> None:
    fd = _open(config_state, WAITING)
    try:
        size = os.fstat(fd).st_size
        if size > limit:
            raise ApiError(ErrorCode.VolumeUnavailable, "the backup volume is gone, and no more audit lines may wait")
        cut = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        line = json.dumps(entry, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"
        _put(fd, (b"\n" if cut else b"") + line, size)
    finally:
        close(fd)
    if size == 0:
        os.fsync(config_state.fd)


def _waiting(config_state: StateFolder) -> list[dict[str, Any]]:
    """The lines that wait, as entries. A crash may let one be written twice: its id tells."""
    found: list[dict[str, Any]] = []
    for line in (config_state.read(WAITING, 4 * WAITING_BYTES_OF_ENDS) or b"").split(b"\n"):
        if not line:
            continue
        try:
            entry = json.loads(line)
            found.append({**entry, "waited_since": entry.pop("time")})
        except (ValueError, TypeError, KeyError, AttributeError):
            found.append({"event": "cut", "fragment_sha256": audit.line_digest(line), "fragment_bytes": len(line)})
    return found
