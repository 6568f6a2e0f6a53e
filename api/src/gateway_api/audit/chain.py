"""The format of the audit log: a chain of JSON lines. Pure: `log.py` writes files and `verify.py` reads them.

Every line holds the SHA-256 of the line before it, so a changed, lost or inserted line is detected. The manifest of a
backup holds the digest of the newest line at that time. A log that was rewritten to its end is therefore detected too.
A crash can leave a truncated line. It stays in the file, and the next record holds its digest.

A log that has reached its size limit continues in a new segment. The first record of a segment holds the digest of
the last line of the previous one. The oldest segments may therefore be removed, and the rest is still a chain.

No line holds text that a caller chose, except the request id. Backups are identified by id and digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

GENESIS_DIGEST: Final = "0" * 64
"""The `prev` field of the very first line."""
BEGINS_SEGMENT: Final = "begins_segment"
"""Field of the first record of every segment except the oldest. A log cut off elsewhere has no such record."""
LOGGED_FIELDS: Final = (
    "backup_id",
    "source_backup_id",
    "request_id",
    "operation",
    "state",
    "previous_sha256",
    "restored_sha256",
    "content_sha256",
    "stored_sha256",
    "level",
    "existed",
    "replayed",
)


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: the number of its records, and the hexadecimal digest of the last line."""

    lines: int = 0
    sha256: str = GENESIS_DIGEST


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a file: its last record, the bytes after it, and whether the file ends without a newline.

    ``fragment`` holds the bytes of truncated lines after the last record; empty when there was no crash.
    """

    head: Head
    fragment: bytes = b""
    missing_newline: bool = False


@dataclass(frozen=True, slots=True)
class BrokenRecord:
    """The first line of a segment, counted from one, that does not link to the line before it."""

    line: int
    reason: str


def line_digest(line: bytes) -> str:
    """The digest that the next line stores in `prev`. ``line`` comes without its newline."""
    return hashlib.sha256(line).hexdigest()


def parse_record(line: bytes) -> dict[str, Any] | None:
    """The record in ``line``, or None for a line that is not a record."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("prev"), str) or type(record.get("seq")) is not int:
        return None
    return record


def _encode(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=True).encode()


def encode_entry(tail: Tail, entry: Mapping[str, Any], time: str) -> tuple[bytes, Head]:
    """The bytes to append for ``entry``, and the head after them. A fragment gets a record of its own first."""
    out = b"\n" if tail.missing_newline else b""
    head = tail.head
    if tail.fragment:
        fragment = tail.fragment + out
        truncated = {"event": "truncated", "fragment_sha256": line_digest(fragment), "fragment_bytes": len(fragment)}
        line, head = _link(head, {"time": time, **truncated})
        out += line
    line, head = _link(head, {"time": time, **entry})
    return out + line, head


def encode_entries(tail: Tail, entries: Sequence[Mapping[str, Any]], time: str) -> tuple[bytes, Head]:
    """As :func:`encode_entry`, for several entries in their order."""
    lines: list[bytes] = []
    for entry in entries:
        line, head = encode_entry(tail, entry, time)
        lines.append(line)
        tail = Tail(head)
    return b"".join(lines), tail.head


def _link(head: Head, entry: Mapping[str, Any]) -> tuple[bytes, Head]:
    line = _encode({"seq": head.lines + 1, "prev": head.sha256, **entry})
    return line + b"\n", Head(head.lines + 1, line_digest(line))


def parse_tail(data: bytes) -> Tail | None:
    """The end of a log whose last bytes are ``data``; None when they contain no complete record."""
    end = len(data)
    while end > 0:
        has_newline = data[end - 1 : end] == b"\n"
        start = data.rfind(b"\n", 0, end - 1 if has_newline else end) + 1
        line = data[start : end - 1 if has_newline else end]
        record = parse_record(line)
        if record is not None:
            fragment = data[end:]
            missing_newline = not data.endswith(b"\n")
            return Tail(Head(record["seq"], line_digest(line)), fragment, missing_newline)
        end = start
    return None


def parse_segment_start(data: bytes) -> tuple[Head, str]:
    """The head that the first record of a segment claims to follow, and the time of that record.

    Used for the oldest segment that exists. For data that does not begin a segment it is the start of the whole log
    and an empty time.
    """
    record = parse_record(data.partition(b"\n")[0])
    if record is None or record.get(BEGINS_SEGMENT) is not True:
        return Head(), ""
    return Head(record["seq"] - 1, record["prev"]), str(record.get("time", ""))


def iterate_heads(data: bytes, start: Head) -> Iterator[Head | BrokenRecord]:
    """Yields ``start``, the head after each record of a whole segment, and last the broken record if there is one."""
    head = start
    yield head
    at, number = 0, 0
    fragment_start: tuple[int, int] | None = None
    while at < len(data):
        number += 1
        begin, at = at, data.find(b"\n", at) + 1 or len(data)
        line = data[begin:at].removesuffix(b"\n")
        record = parse_record(line)
        if fragment_start is not None:
            # Everything up to a linked `truncated` record is the fragment, also a line that looks like a record.
            if record is None or record.get("event") != "truncated" or not _links_to(record, head):
                continue
            fragment = data[fragment_start[0] : begin]
            if record.get("fragment_sha256") != line_digest(fragment):
                yield BrokenRecord(fragment_start[1], "the truncated line differs from the digest in the next record")
                return
            fragment_start = None
        elif record is None:
            fragment_start = (begin, number)
            continue
        elif not _links_to(record, head):
            yield BrokenRecord(number, "does not link to the line before it")
            return
        head = Head(record["seq"], line_digest(line))
        yield head
    if fragment_start is not None and not _is_truncated_end(data[fragment_start[0] :]):
        yield BrokenRecord(fragment_start[1], "is not a record, and no later record marks it as truncated by a crash")


def _links_to(record: Mapping[str, Any], head: Head) -> bool:
    return (record["prev"], record["seq"]) == (head.sha256, head.lines + 1)


def _is_truncated_end(rest: bytes) -> bool:
    """A truncated last line is valid until the next record is written after it."""
    return b"\n" not in rest


def logged_fields(result: object) -> dict[str, Any]:
    """The ids, digests and states of a result that an outcome line holds; never text that a caller chose."""
    values = {name: getattr(result, name, None) for name in LOGGED_FIELDS}
    return {
        name: value if isinstance(value, bool) else str(value) for name, value in values.items() if value is not None
    }
