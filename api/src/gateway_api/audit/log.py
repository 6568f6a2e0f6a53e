"""Writing the audit log: a line durable before the effect, a line after it, both while the locks are held.

The log is on the backup volume. A full volume gives up its reserve for a line. While the volume is away or read-only,
lines go to the server's own log instead, and the gap's first time and length are kept in the config directory. They
become one `gap` record as soon as the volume takes lines again. A log that has grown to its limit is renamed and begun
anew; nothing here ever removes a segment.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from gateway_api import logs
from gateway_api.audit import chain
from gateway_api.audit.chain import Head, Tail
from gateway_api.clock import rfc3339
from gateway_api.errors import config_volume_error
from gateway_api.operation_context import OperationContext
from gateway_api.storage.atomic_write import close, is_full, list_names, sync_directory, unlink_if_exists
from gateway_api.storage.layout import (
    AUDIT_GAP_FILE,
    AUDIT_LOG_FILE,
    AUDIT_SEGMENT_NAME,
    RESERVE_FILE,
    audit_segment_name,
)
from gateway_api.storage.paths import FILE_FLAGS
from gateway_api.storage.state_dir import StateDir, dump_record

WINDOW: Final = 64 * 1024
_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class AuditEntry:
    """One operation's two lines. ``name`` is what the caller calls it: a request id, or a backup's id."""

    def __init__(self, context: OperationContext, operation: str, name: str | None) -> None:
        self._context = context
        self._entry = {"id": secrets.token_hex(8), "by": context.requested_by, "operation": operation}
        if name is not None:
            self._entry["name"] = name

    def intent(self) -> str | None:
        """Writes what is about to happen; returns the chain's head, or None if the line is not on the volume.

        Raises ``ApiError`` if the line cannot be counted in the gap either: then nothing may happen.
        """
        context = self._context
        entry = {"event": "intent", **self._entry}
        if (head := _to_volume(context, entry)) is not None:
            return head.sha256
        try:
            _count_in_gap(context)
        except OSError as error:
            raise config_volume_error(error) from None
        _to_server_log(entry)
        return None

    def outcome(self, result: str, more: Mapping[str, Any]) -> None:
        """Writes the result. Never raises, because the operation is over."""
        entry = {**more, "event": "outcome", **self._entry, "result": result}
        if _to_volume(self._context, entry) is not None:
            return
        try:
            _count_in_gap(self._context)
        except OSError:
            logs.event("audit_gap_not_counted", 40, failed=True)
        _to_server_log(entry)


def _to_volume(context: OperationContext, entry: Mapping[str, Any]) -> Head | None:
    volume = context.backup_state
    if volume is None:
        return None
    try:
        gap = _read_gap(context.config_state)
        entries = [entry] if gap is None else [{"event": "gap", **gap}, entry]
        head = _append(volume, entries, rfc3339(context.clock()), context.settings.audit_bytes)
    except OSError:
        logs.event("audit_volume_unavailable", 30, failed=True)
        return None
    if gap is not None:
        # Only now: a crash before this repeats the record, under the same id, and loses nothing.
        with suppress(OSError):
            context.config_state.remove(AUDIT_GAP_FILE)
    return head


def _read_gap(config_state: StateDir) -> dict[str, Any] | None:
    data = config_state.read(AUDIT_GAP_FILE)
    if data is None:
        return None
    try:
        gap = json.loads(data)
        return {"id": str(gap["id"]), "since": str(gap["since"]), "lines": int(gap["lines"])}
    except (ValueError, TypeError, KeyError):
        # Damaged: the gap is still recorded, with its length unknown.
        return {"id": secrets.token_hex(8), "since": "", "lines": 0}


def _count_in_gap(context: OperationContext) -> None:
    now = rfc3339(context.clock())
    gap = _read_gap(context.config_state) or {"id": secrets.token_hex(8), "since": now, "lines": 0}
    context.config_state.write(AUDIT_GAP_FILE, dump_record({**gap, "lines": gap["lines"] + 1}))


def _to_server_log(entry: Mapping[str, Any]) -> None:
    logs.event("audit", 30, audit=dict(entry))


def _append(volume: StateDir, entries: Sequence[Mapping[str, Any]], now: str, limit: int) -> Head:
    """One durable write. A full volume gives up its reserve for it."""
    try:
        return _append_once(volume, entries, now, limit)
    except OSError as error:
        if not is_full(error):
            raise
        unlink_if_exists(volume.fd, RESERVE_FILE)
        return _append_once(volume, entries, now, limit)


def _append_once(volume: StateDir, entries: Sequence[Mapping[str, Any]], now: str, limit: int) -> Head:
    fd = _open(volume, AUDIT_LOG_FILE)
    try:
        size = os.fstat(fd).st_size
        tail = _tail(volume, fd, size)
        line, head = chain.chain_all(tail, entries, now)
        # A fragment is hashed in its own segment, so it is never the end of one.
        clean = not tail.fragment and not tail.unended
        if clean and size > 0 and size + len(line) > limit and _end_segment(volume, tail.head):
            begun = _open(volume, AUDIT_LOG_FILE)
            close(fd)
            fd, size = begun, 0
        if size == 0 and tail.head.lines:
            first = {**entries[0], chain.BEGINS_SEGMENT: True}
            line, head = chain.chain_all(tail, [first, *entries[1:]], now)
        _put(fd, line, size)
    finally:
        close(fd)
    if size == 0:
        sync_directory(volume.fd)
    return head


def _end_segment(volume: StateDir, head: Head) -> bool:
    """The log becomes an ended segment. After a crash behind this, the next line begins the new one."""
    try:
        os.rename(AUDIT_LOG_FILE, audit_segment_name(head.lines), src_dir_fd=volume.fd, dst_dir_fd=volume.fd)
    except OSError:
        return False  # the segment grows on
    sync_directory(volume.fd)
    return True


def segments(volume: StateDir) -> list[str]:
    """The names of the ended segments, oldest first. Raises ``OSError``."""
    return sorted(name for name in list_names(volume.fd) if AUDIT_SEGMENT_NAME.match(name))


def _last_ended(volume: StateDir) -> Head:
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


def _open(state: StateDir, name: str) -> int:
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


def _tail(volume: StateDir, fd: int, size: int) -> Tail:
    found = _seek(fd, size)
    if isinstance(found, Tail):
        return found
    return Tail(_last_ended(volume), found, bool(found) and not found.endswith(b"\n"))


def _seek(fd: int, size: int) -> Tail | bytes:
    """The end of a segment; or all its bytes, if no record is among them."""
    for window in (WINDOW, size):
        data = os.pread(fd, window, max(0, size - window))
        if (found := chain.tail_of(data)) is not None:
            return found
        if window >= size:
            break
    return data
