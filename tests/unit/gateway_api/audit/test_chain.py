"""The audit chain detects changed, lost, inserted and reordered lines. A line truncated by a crash is no break."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_api.audit.chain import (
    BEGINS_SEGMENT,
    GENESIS_DIGEST,
    BrokenRecord,
    Head,
    Tail,
    encode_entry,
    iterate_heads,
    logged_fields,
    parse_segment_start,
    parse_tail,
)

NOW = "2026-01-01T00:00:00.000000Z"


def _append(data: bytes, entry: dict[str, Any]) -> bytes:
    tail = parse_tail(data) or Tail(Head(), data, bool(data) and not data.endswith(b"\n"))
    return data + encode_entry(tail, entry, NOW)[0]


def _log(lines: int) -> bytes:
    data = b""
    for number in range(lines):
        data = _append(data, {"event": "intent", "n": number})
    return data


def _end(data: bytes, start: Head) -> Head | BrokenRecord:
    *_, end = iterate_heads(data, start)
    return end


def _broken(data: bytes) -> BrokenRecord | None:
    end = _end(data, Head())
    return end if isinstance(end, BrokenRecord) else None


def test_intact_log_has_a_head_for_each_line() -> None:
    heads = list(iterate_heads(_log(5), Head()))
    assert all(isinstance(head, Head) for head in heads)
    assert [head.lines for head in heads if isinstance(head, Head)] == [0, 1, 2, 3, 4, 5]
    assert heads[0] == Head(0, GENESIS_DIGEST)
    assert _end(b"", Head()) == Head()


def test_oldest_kept_record_must_begin_a_segment() -> None:
    log = _log(3)
    end = _end(log, Head())
    assert isinstance(end, Head)
    segment, _ = encode_entry(Tail(end), {"event": "intent", BEGINS_SEGMENT: True}, NOW)
    assert parse_segment_start(segment) == (end, NOW)
    assert isinstance(_end(segment, end), Head)
    assert isinstance(_end(segment, Head()), BrokenRecord)
    assert parse_segment_start(log.partition(b"\n")[2]) == (Head(), "")
    assert parse_segment_start(b"") == parse_segment_start(b"x\n") == (Head(), "")


@given(st.integers(2, 6), st.data())
def test_first_changed_line_is_reported(count: int, data: st.DataObject) -> None:
    lines = _log(count).splitlines(keepends=True)
    at = data.draw(st.integers(0, count - 2))
    change = data.draw(st.sampled_from(["drop", "double", "swap", "edit"]))
    changed = list(lines)
    if change == "drop":
        del changed[at]
    elif change == "double":
        changed.insert(at, changed[at])
    elif change == "swap":
        changed[at], changed[at + 1] = changed[at + 1], changed[at]
    else:
        changed[at] = changed[at].replace(b'"event":"intent"', b'"event":"nothing"')
    broken = _broken(b"".join(changed))
    assert broken is not None
    assert broken.line in (at + 1, at + 2)


@given(st.integers(0, 4), st.integers(1, 400), st.lists(st.integers(1, 60), max_size=3))
def test_chain_continues_after_a_crash_at_any_byte(before: int, cut: int, later_cuts: list[int]) -> None:
    data = _log(before)
    complete = _append(data, {"event": "intent", "n": "x" * 300})
    data = complete[: len(data) + min(cut, len(complete) - len(data))]
    assert _broken(data) is None
    for more in later_cuts:
        data = _append(data, {"event": "outcome"})[: len(data) + more]
    data = _append(_append(data, {"event": "outcome"}), {"event": "intent"})
    assert _broken(data) is None
    assert data.endswith(b"\n")


def test_later_change_of_a_truncated_line_is_detected() -> None:
    data = _append(_log(2)[:-20], {"event": "intent"})
    assert _broken(data) is None
    assert b"truncated" in data
    position = data.index(b"\n") + 5
    broken = _broken(data[:position] + b"X" + data[position + 1 :])
    assert broken is not None
    assert broken.line == 2


@pytest.mark.parametrize("junk", [b"x\n", b"[]\n", b'{"seq":1}\n', b"\n", b"[" * 100_000 + b"\n"])
def test_line_that_is_not_a_record_is_broken(junk: bytes) -> None:
    broken = _broken(_log(1) + junk)
    assert broken is not None
    assert broken.line == 2


def test_outcome_holds_ids_and_digests_but_no_caller_text() -> None:
    class Result:
        backup_id = "b"
        path = "secret"
        metadata = "secret"
        existed = False

    assert logged_fields(Result()) == {"backup_id": "b", "existed": False}
    assert logged_fields(None) == {}
