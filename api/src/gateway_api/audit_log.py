"""Writing the audit log: a line durable before the effect, a line after it, both while the locks are held.

The log lies on the backup volume. A full volume gives up its reserve for a line; one that is gone or takes nothing
makes the line wait in the config directory, and it is written in its turn as soon as the volume takes it. So a restore
needs no backup volume, and still nothing happens unwritten.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from collections.abc import Mapping
from typing import Any, Final

from . import audit, logs
from .audit import Head, Tail
from .context import Context
from .durable import close, is_full, sync_directory, unlink_quietly
from .errors import ApiError, config_volume_error, rfc3339
from .state_folder import StateFolder
from .store import RESERVE

LOG: Final = "audit.jsonl"
WAITING: Final = "audit-waiting.jsonl"
WINDOW: Final = 64 * 1024
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
        try:
            _wait(context.config_state, {"time": rfc3339(context.clock()), **entry})
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
            _wait(context.config_state, {"time": rfc3339(context.clock()), **entry})
        except OSError:
            logs.event("audit_line_lost", 40, failed=True, operation=self._entry["operation"], result=result)


def _to_volume(context: Context, entry: Mapping[str, Any]) -> Head | None:
    volume = context.backup_state
    if volume is None:
        return None
    now = rfc3339(context.clock())
    try:
        for waited in _waiting(context.config_state):
            _append(volume, waited, now)
        if context.config_state.read(WAITING) is not None:
            context.config_state.remove(WAITING)
        return _append(volume, entry, now)
    except (OSError, ApiError):
        logs.event("audit_line_waits", 30, failed=True)
        return None


def _append(volume: StateFolder, entry: Mapping[str, Any], now: str) -> Head:
    try:
        return _append_once(volume, entry, now)
    except OSError as error:
        if not is_full(error):
            raise
        unlink_quietly(volume.fd, RESERVE)
        return _append_once(volume, entry, now)


def _append_once(volume: StateFolder, entry: Mapping[str, Any], now: str) -> Head:
    fd = _open(volume, LOG)
    try:
        size = os.fstat(fd).st_size
        line, head = audit.chain(_tail(fd, size), entry, now)
        _put(fd, line, size)
    finally:
        close(fd)
    if size == 0:
        sync_directory(volume.fd)
    return head


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


def _tail(fd: int, size: int) -> Tail:
    for window in (WINDOW, size):
        data = os.pread(fd, window, max(0, size - window))
        if (found := audit.tail_of(data)) is not None:
            return found
        if window >= size:
            break
    return Tail(Head(), data, bool(data) and not data.endswith(b"\n"))


def _wait(config_state: StateFolder, entry: Mapping[str, Any]) -> None:
    fd = _open(config_state, WAITING)
    try:
        size = os.fstat(fd).st_size
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
    for line in (config_state.read(WAITING) or b"").split(b"\n"):
        if not line:
            continue
        try:
            entry = json.loads(line)
            found.append({**entry, "waited_since": entry.pop("time")})
        except (ValueError, TypeError, KeyError, AttributeError):
            found.append({"event": "cut", "fragment_sha256": audit.line_digest(line), "fragment_bytes": len(line)})
    return found
