"""Reads all segments of an audit log and checks the chain across them, for `verify.py`."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway_api.audit import chain
from gateway_api.audit.chain import BrokenRecord, Head
from gateway_api.audit.log import list_segments
from gateway_api.storage.content import NO_LIMIT
from gateway_api.storage.layout import AUDIT_LOG_FILE
from gateway_api.storage.state_dir import StateDir


class LogPosition(NamedTuple):
    """A line of the log: the segment and the line in it, counted from one."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}"


@dataclass
class LogContents:
    """All records of the log.

    ``heads`` maps the digest of each line to its record number, ``positions`` record numbers to lines. ``removed`` is
    the number of records in older segments that no longer exist; ``first_time`` is the RFC 3339 time of the first
    record that does. ``broken`` describes the first line that does not link to the one before it. ``named`` holds
    (operation, name) of each intent, and (operation, id) for each id in a successful outcome. ``gap_lines`` is the
    number of lines in gaps, None if a gap does not say it. ``losses`` maps the number of each record that reports
    removed lines to the number of the record that was the last one before.
    """

    heads: dict[str, int] = field(default_factory=dict)
    positions: dict[int, LogPosition] = field(default_factory=dict)
    end: LogPosition = field(default_factory=lambda: LogPosition(AUDIT_LOG_FILE, 1))
    records: int = 0
    removed: int = 0
    first_time: str = ""
    broken: str | None = None
    named: set[tuple[str, str]] = field(default_factory=set)
    gaps: int = 0
    gap_lines: int | None = 0
    losses: dict[int, int] = field(default_factory=dict)

    def position_after(self, number: int) -> LogPosition:
        """The line of the record that follows record ``number``, or the end of the log."""
        return self.positions.get(number + 1, self.end)


def read_log(state: StateDir) -> LogContents:
    """Reads all segments, up to the first broken record. Raises ``OSError``."""
    contents = LogContents()
    names = [*list_segments(state), AUDIT_LOG_FILE]
    head: Head | None = None
    for name in names:
        data = state.read(name, NO_LIMIT)
        if data is None:
            if name != AUDIT_LOG_FILE or len(names) == 1:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            continue  # a crash between the rename of a full log and the next line
        if head is None:
            head, contents.first_time = chain.parse_segment_start(data)
            contents.removed = head.lines
            contents.heads[head.sha256] = head.lines
        head = _add_segment(contents, name, data, head)
        if contents.broken is not None:
            break
    return contents


def _add_segment(contents: LogContents, name: str, data: bytes, start: Head) -> Head:
    head = start
    for item in chain.iterate_heads(data, start):
        if isinstance(item, BrokenRecord):
            contents.broken = f"{LogPosition(name, item.line)}: {item.reason}"
            return head
        head = item
        contents.heads[item.sha256] = item.lines
    contents.records += head.lines - start.lines
    number = 0
    for number, line in enumerate(data.splitlines(), 1):
        record = chain.parse_record(line)
        # A truncated line can look like a record; only lines of the chain count.
        if record is not None and contents.heads.get(chain.line_digest(line)) == record["seq"]:
            contents.positions[record["seq"]] = LogPosition(name, number)
            _add_record(contents, record)
    contents.end = LogPosition(name, number + 1)
    return head


def _add_record(contents: LogContents, record: dict[str, Any]) -> None:
    operation = str(record.get("operation"))
    if record.get("event") == "gap":
        lines = record.get("lines")
        contents.gaps += 1
        has_number = type(lines) is int and lines > 0 and contents.gap_lines is not None
        contents.gap_lines = (contents.gap_lines or 0) + int(lines) if has_number and lines is not None else None
    elif record.get("event") == "lines_removed" and type(record.get("lines")) is int:
        contents.losses[record["seq"]] = record["lines"]
    for key in ("name", "backup_id", "request_id"):
        if isinstance(record.get(key), str) and (key == "name" or record.get("result") == "ok"):
            contents.named.add((operation, record[key]))
