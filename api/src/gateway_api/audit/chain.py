"""The audit log's chain: what a line says, how it hangs on the one before it, and where a chain is broken.

Every line holds the SHA-256 of the line before it, so that a changed, lost or inserted line shows; manifests carry
the head of their time, so that a log rewritten to its end shows as well. A line that a crash cut short stays: the
record behind it hashes the fragment. Pure: reading and writing are in `audit_log`.

A log that has grown goes on in a new segment, whose first record hangs on the last of the one before: the oldest may be
removed, and the rest is still a chain.

No line holds what a caller wrote, but for the request id: backups are named by id and digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

START: Final = "0" * 64
"""What the first line hangs on."""
BEGINS_SEGMENT: Final = "begins_segment"
"""In the first record of every segment but the first: what was cut off elsewhere is no beginning."""
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
    """The end of a chain: how many lines it has, and the digest of the last."""

    lines: int = 0
    sha256: str = START


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a file: the chain's head, what a crash left behind it, and whether a newline is missing."""

    head: Head
    fragment: bytes = b""
    unended: bool = False


@dataclass(frozen=True, slots=True)
class BrokenRecord:
    """The first line, counted from one, that does not hang on the one before it."""

    line: int
    why: str


def line_digest(line: bytes) -> str:
    """What the next line holds of ``line``, which comes without its newline."""
    return hashlib.sha256(line).hexdigest()


def parse(line: bytes) -> dict[str, Any] | None:
    """The record in ``line``, or None when it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("prev"), str) or type(record.get("seq")) is not int:
        return None
    return record


def _encode(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=True).encode()


def chain(tail: Tail, entry: Mapping[str, Any], time: str) -> tuple[bytes, Head]:
    """The bytes to append for ``entry``, and the head behind them: with a record of the fragment if there is one."""
    out = b"\n" if tail.unended else b""
    head = tail.head
    if tail.fragment:
        fragment = tail.fragment + out
        torn = {"event": "torn", "fragment_sha256": line_digest(fragment), "fragment_bytes": len(fragment)}
        line, head = _link(head, {"time": time, **torn})
        out += line
    line, head = _link(head, {"time": time, **entry})
    return out + line, head


def chain_all(tail: Tail, entries: Sequence[Mapping[str, Any]], time: str) -> tuple[bytes, Head]:
    """As :func:`chain`, of several entries in their order."""
    lines: list[bytes] = []
    for entry in entries:
        line, head = chain(tail, entry, time)
        lines.append(line)
        tail = Tail(head)
    return b"".join(lines), tail.head


def _link(head: Head, entry: Mapping[str, Any]) -> tuple[bytes, Head]:
    line = _encode({"seq": head.lines + 1, "prev": head.sha256, **entry})
    return line + b"\n", Head(head.lines + 1, line_digest(line))


def tail_of(data: bytes) -> Tail | None:
    """The end of a log whose last bytes are ``data``; None when no whole record is among them."""
    end = len(data)
    while end > 0:
        ended = data[end - 1 : end] == b"\n"
        start = data.rfind(b"\n", 0, end - 1 if ended else end) + 1
        line = data[start : end - 1 if ended else end]
        record = parse(line)
        if record is not None:
            fragment = data[end:]
            unended = not data.endswith(b"\n")
            return Tail(Head(record["seq"], line_digest(line)), fragment, unended)
        end = start
    return None


def start_of(data: bytes) -> tuple[Head, str]:
    """What the first record of a segment hangs on by its own word, and its time: where a kept log begins whose older
    segments a person has removed. The start of the whole log for what is no beginning of a segment."""
    record = parse(data.partition(b"\n")[0])
    if record is None or record.get(BEGINS_SEGMENT) is not True:
        return Head(), ""
    return Head(record["seq"] - 1, record["prev"]), str(record.get("time", ""))


def heads(data: bytes, start: Head) -> Iterator[Head | BrokenRecord]:
    """Every head of the chain in a whole segment that hangs on ``start``, then, if it breaks, where."""
    head = start
    yield head
    at, number = 0, 0
    torn_from: tuple[int, int] | None = None
    while at < len(data):
        number += 1
        begin, at = at, data.find(b"\n", at) + 1 or len(data)
        line = data[begin:at].removesuffix(b"\n")
        record = parse(line)
        if torn_from is not None:
            if record is None or record.get("event") != "torn" or not _links_to(record, head):
                continue
            fragment = data[torn_from[0] : begin]
            if record.get("fragment_sha256") != line_digest(fragment):
                yield BrokenRecord(torn_from[1], "the fragment here is not the one that the record behind it hashes")
                return
            torn_from = None
        elif record is None:
            torn_from = (begin, number)
            continue
        elif not _links_to(record, head):
            yield BrokenRecord(number, "does not hang on the line before it")
            return
        head = Head(record["seq"], line_digest(line))
        yield head
    if torn_from is not None and not _is_fresh(data[torn_from[0] :]):
        yield BrokenRecord(torn_from[1], "is no record, and no record behind it says that a crash cut it short")


def _links_to(record: Mapping[str, Any], head: Head) -> bool:
    return (record["prev"], record["seq"]) == (head.sha256, head.lines + 1)


def _is_fresh(rest: bytes) -> bool:
    """A last line that was cut short and that nobody has written behind yet is no break."""
    return b"\n" not in rest


def check(data: bytes, start: Head, seen: set[str]) -> Head | BrokenRecord:
    """The head behind a segment, or its first broken line. Adds the digest of every head to ``seen``."""
    head = start
    for found in heads(data, start):
        if isinstance(found, BrokenRecord):
            return found
        head = found
        seen.add(found.sha256)
    return head


def details(result: object) -> dict[str, Any]:
    """What an outcome line tells of a result: ids, digests and states, none of them a caller's word."""
    found = {name: getattr(result, name, None) for name in LOGGED_FIELDS}
    return {
        name: value if isinstance(value, bool) else str(value) for name, value in found.items() if value is not None
    }
