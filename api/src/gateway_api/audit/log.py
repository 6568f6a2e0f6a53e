"""Writes the audit log on the backup volume: an intent line before each operation and an outcome line after it.

The intent line is durable before the first effect. Both lines are written while the locks of both volumes are held.
A full volume gives up its reserve for a line. While the volume is unavailable or read-only, lines go to the log of
the server instead. The start of this gap and the number of its lines are kept in the config directory. They become one
`gap` record when the volume accepts lines again. A log that has reached its size limit is renamed to a closed
segment and a new log begins. Segments are never removed here.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from gateway_api import logs
from gateway_api.audit import chain, kept_head
from gateway_api.audit.chain import Head, Tail
from gateway_api.clock import rfc3339
from gateway_api.errors import ApiError, config_volume_error
from gateway_api.operation_context import OperationContext
from gateway_api.storage.atomic_write import close, list_names
from gateway_api.storage.file_system import sync_directory
from gateway_api.storage.free_space import write_using_reserve
from gateway_api.storage.layout import (
    AUDIT_GAP_FILE,
    AUDIT_LOG_FILE,
    AUDIT_SEGMENT_NAME,
    VOLUME_ID_FILE,
    audit_segment_name,
)
from gateway_api.storage.paths import FILE_FLAGS
from gateway_api.storage.state_dir import StateDir, dump_record

TAIL_WINDOW_BYTES: Final = 64 * 1024
_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class AuditEntry:
    """The two lines of one operation. ``name`` is the request id or the backup id, None if the caller gave none."""

    def __init__(self, context: OperationContext, operation: str, name: str | None) -> None:
        self._context = context
        self._entry = {"id": secrets.token_hex(8), "by": context.requested_by, "operation": operation}
        if name is not None:
            self._entry["name"] = name

    def intent(self) -> Head | None:
        """Writes the intent line; returns the end of the chain after it, or None if the volume did not take the line.

        Raises ``ApiError`` if the line cannot be counted in the gap either. The operation must not run then.
        """
        context = self._context
        entry = {"event": "intent", **self._entry}
        lost = _lost_head(context)
        if (head := _append_to_volume(context, *lost, entry)) is not None:
            return head
        try:
            # Counted before it is logged. A crash between the two counts a line that no log holds, never the reverse.
            _count_in_gap(context)
        except OSError as error:
            raise config_volume_error(error) from None
        _write_to_server_log(entry)
        return None

    def outcome(self, result: str, details: Mapping[str, Any]) -> None:
        """Writes the outcome line. Never raises: the operation is over and its result must reach the caller."""
        entry = {**details, "event": "outcome", **self._entry, "result": result}
        if (head := _append_to_volume(self._context, entry)) is not None:
            _keep_head(self._context, head)
            return
        try:
            _count_in_gap(self._context)
        except (OSError, ApiError):
            logs.event("audit_gap_not_counted", logging.ERROR, failed=True)
        _write_to_server_log(entry)


def _volume_id(context: OperationContext) -> str | None:
    return None if context.backup_state is None else context.backup_state.read_id(VOLUME_ID_FILE)


def _keep_head(context: OperationContext, head: Head) -> None:
    """Keeps the end of the log in the config directory. The outcome line is durable already.

    A crash right before this leaves the earlier end, which the log contains as well.
    """
    try:
        if (volume_id := _volume_id(context)) is not None:
            kept_head.keep_head(context.config_state, volume_id, head)
    except (OSError, ApiError):
        logs.event("audit_head_not_kept", logging.WARNING, failed=True)


def _lost_head(context: OperationContext) -> list[dict[str, Any]]:
    """An entry about the kept end of the log if the log does not contain it any more; else nothing."""
    try:
        if (volume_id := _volume_id(context)) is None or context.backup_state is None:
            return []
        kept = kept_head.read_kept_heads(context.config_state, volume_id).head
        if kept is None or _contains(context.backup_state, kept.sha256):
            return []
        # Before the next outcome replaces the kept end: a crash in between must not forget the loss. A crash right
        # after this leaves a loss without a line in the log; the record in the config directory is what counts.
        kept_head.mark_lost(context.config_state, volume_id)
    except (OSError, ApiError):
        logs.event("audit_head_not_checked", logging.WARNING, failed=True)
        return []
    logs.event("audit_lines_removed", logging.ERROR, lines=kept.lines)
    return [{"event": "lines_removed", "lines": kept.lines, "sha256": kept.sha256}]


def _contains(volume: StateDir, digest: str) -> bool:
    """Whether a line of the log has this digest. Reads only the end of the log unless the line is further up."""
    for name in (AUDIT_LOG_FILE, *reversed(list_segments(volume))):
        try:
            fd = os.open(name, FILE_FLAGS, dir_fd=volume.fd)
        except FileNotFoundError:
            continue
        try:
            size = os.fstat(fd).st_size
            for window in (TAIL_WINDOW_BYTES, size):
                data = os.pread(fd, window, max(0, size - window))
                # From the end, where the line usually is. The first line of the window may be cut.
                if any(chain.line_digest(line) == digest for line in reversed(data.split(b"\n"))):
                    return True
                if window >= size:
                    break
        finally:
            close(fd)
    return False


def after_intent(context: OperationContext, head: Head | None) -> OperationContext:
    """The context of the operation whose intent line gave ``head``, for the manifests that it writes."""
    return context if head is None else replace(context, audit_head=head.sha256, audit_lines=head.lines)


def _append_to_volume(context: OperationContext, *new: Mapping[str, Any]) -> Head | None:
    volume = context.backup_state
    if volume is None:
        return None
    try:
        gap = _read_gap(context.config_state)
        recovered_ids = context.id_recovery.unrecorded()
        entries = [*([] if gap is None else [{"event": "gap", **gap}]), *recovered_ids, *new]
        now, limit = rfc3339(context.clock()), context.settings.audit_bytes
        head = write_using_reserve(volume, lambda: _append(volume, entries, now, limit))
        context.id_recovery.mark_recorded(len(recovered_ids))
    except (OSError, ApiError):  # an ApiError: the directory could not be fsynced, so the line may not last
        logs.event("audit_volume_unavailable", logging.WARNING, failed=True)
        return None
    if gap is not None:
        # Only after the gap record is durable. A crash right before this writes the record again under the same id;
        # in the other order a crash would lose it.
        with suppress(OSError, ApiError):
            context.config_state.remove(AUDIT_GAP_FILE)
    return head


def _read_gap(config_state: StateDir) -> dict[str, Any] | None:
    """The gap that is not recorded yet: `id`, `since` (RFC 3339) and `lines`; None if there is none."""
    data = config_state.read(AUDIT_GAP_FILE)
    if data is None:
        return None
    try:
        gap = json.loads(data)
        return {"id": str(gap["id"]), "since": str(gap["since"]), "lines": int(gap["lines"])}
    except (ValueError, TypeError, KeyError):
        # A damaged file still proves that there was a gap; its start and length are unknown.
        return {"id": secrets.token_hex(8), "since": "", "lines": 0}


def _count_in_gap(context: OperationContext) -> None:
    now = rfc3339(context.clock())
    gap = _read_gap(context.config_state) or {"id": secrets.token_hex(8), "since": now, "lines": 0}
    context.config_state.write(AUDIT_GAP_FILE, dump_record({**gap, "lines": gap["lines"] + 1}))


def _write_to_server_log(entry: Mapping[str, Any]) -> None:
    logs.event("audit", logging.WARNING, audit=dict(entry))


def _append(volume: StateDir, entries: Sequence[Mapping[str, Any]], now: str, limit: int) -> Head:
    """Appends the entries in one durable write. Begins a new segment above ``limit`` bytes. Raises ``OSError``."""
    fd = _open(volume, AUDIT_LOG_FILE)
    try:
        size = os.fstat(fd).st_size
        tail = _read_tail(volume, fd, size)
        line, head = chain.encode_entries(tail, entries, now)
        # The `truncated` record of a fragment must be in the same segment, so a segment never ends with a fragment.
        ends_with_record = not tail.fragment and not tail.missing_newline
        if ends_with_record and size > 0 and size + len(line) > limit and _close_segment(volume, tail.head):
            new_fd = _open(volume, AUDIT_LOG_FILE)
            close(fd)
            fd, size = new_fd, 0
        if size == 0 and tail.head.lines:
            first = {**entries[0], chain.BEGINS_SEGMENT: True}
            line, head = chain.encode_entries(tail, [first, *entries[1:]], now)
        _write_at_end(fd, line, size)
    finally:
        close(fd)
    if size == 0:
        # The file is new: without this its name may not survive a crash.
        sync_directory(volume.fd)
    return head


def _close_segment(volume: StateDir, head: Head) -> bool:
    """Renames the log to a closed segment; returns whether that succeeded."""
    try:
        # A crash right after this leaves no current log. The next line then begins a new one.
        os.rename(AUDIT_LOG_FILE, audit_segment_name(head.lines), src_dir_fd=volume.fd, dst_dir_fd=volume.fd)
    except OSError:
        return False  # the log grows beyond its limit
    sync_directory(volume.fd)
    return True


def list_segments(volume: StateDir) -> list[str]:
    """The names of the closed segments, oldest first. Raises ``OSError``."""
    return sorted(name for name in list_names(volume.fd) if AUDIT_SEGMENT_NAME.match(name))


def _last_closed_head(volume: StateDir) -> Head:
    """The head that the first record of a new segment links to."""
    for name in reversed(list_segments(volume)):
        fd = os.open(name, FILE_FLAGS, dir_fd=volume.fd)
        try:
            tail = _tail_or_content(fd, os.fstat(fd).st_size)
        finally:
            close(fd)
        if isinstance(tail, Tail):
            return tail.head
    return Head()


def _open(state: StateDir, name: str) -> int:
    fd = os.open(name, _FLAGS, 0o600, dir_fd=state.fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        close(fd)
        raise OSError(errno.EINVAL, "not a regular file")
    return fd


def _write_at_end(fd: int, line: bytes, size: int) -> None:
    """Writes in one call and waits for the disk. A crash during the write leaves a fragment, which is recorded later.

    Raises ``OSError`` also for a partial write; its bytes are such a fragment as well.
    """
    if os.pwrite(fd, line, size) != len(line):
        raise OSError(errno.ENOSPC, "the line was cut short")
    os.fdatasync(fd)


def _read_tail(volume: StateDir, fd: int, size: int) -> Tail:
    tail = _tail_or_content(fd, size)
    if isinstance(tail, Tail):
        return tail
    return Tail(_last_closed_head(volume), tail, bool(tail) and not tail.endswith(b"\n"))


def _tail_or_content(fd: int, size: int) -> Tail | bytes:
    """The tail of a segment; or all its bytes if they contain no record."""
    for window in (TAIL_WINDOW_BYTES, size):
        data = os.pread(fd, window, max(0, size - window))
        if (tail := chain.parse_tail(data)) is not None:
            return tail
        if window >= size:
            break
    return data
