"""The audit chain: any changed, lost, inserted or reordered line shows; a crash's fragment does not break it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_api.audit.chain import (
    BEGINS_SEGMENT,
    START,
    BrokenRecord,
    Head,
    Tail,
    chain,
    check,
    details,
    start_of,
    tail_of,
)

NOW = "2026-01-01T00:00:00.000000Z"


def _append(data: bytes, entry: dict[str, Any]) -> bytes:
    tail = tail_of(data) or Tail(Head(), data, bool(data) and not data.endswith(b"\n"))
    return data + chain(tail, entry, NOW)[0]


def _log(lines: int) -> bytes:
    data = b""
    for number in range(lines):
        data = _append(data, {"event": "intent", "n": number})
    return data


def _broken(data: bytes) -> BrokenRecord | None:
    found = check(data, Head(), set())
    return found if isinstance(found, BrokenRecord) else None


def test_a_whole_log_has_a_head_for_each_line() -> None:
    heads: set[str] = set()
    end = check(_log(5), Head(), heads)
    assert isinstance(end, Head)
    assert end.lines == 5
    assert len(heads) == 6
    assert {START, end.sha256} <= heads
    assert check(b"", Head(), set()) == Head()


def test_only_what_began_a_segment_may_be_the_oldest_that_is_kept() -> None:
    log = _log(3)
    end = check(log, Head(), set())
    assert isinstance(end, Head)
    begun, _ = chain(Tail(end), {"event": "intent", BEGINS_SEGMENT: True}, NOW)
    assert start_of(begun) == (end, NOW)
    assert isinstance(check(begun, end, set()), Head)
    assert isinstance(check(begun, Head(), set()), BrokenRecord)
    assert start_of(log.partition(b"\n")[2]) == (Head(), "")
    assert start_of(b"") == start_of(b"x\n") == (Head(), "")


@given(st.integers(2, 6), st.data())
def test_the_first_line_that_was_touched_is_named(count: int, data: st.DataObject) -> None:
    lines = _log(count).splitlines(keepends=True)
    at = data.draw(st.integers(0, count - 2))
    change = data.draw(st.sampled_from(["drop", "double", "swap", "edit"]))
    touched = list(lines)
    if change == "drop":
        del touched[at]
    elif change == "double":
        touched.insert(at, touched[at])
    elif change == "swap":
        touched[at], touched[at + 1] = touched[at + 1], touched[at]
    else:
        touched[at] = touched[at].replace(b'"event":"intent"', b'"event":"nothing"')
    broken = _broken(b"".join(touched))
    assert broken is not None
    assert broken.line in (at + 1, at + 2)


@given(st.integers(0, 4), st.integers(1, 400), st.lists(st.integers(1, 60), max_size=3))
def test_cut_anywhere_the_chain_goes_on_and_is_whole(before: int, cut: int, again: list[int]) -> None:
    data = _log(before)
    whole = _append(data, {"event": "intent", "n": "x" * 300})
    data = whole[: len(data) + min(cut, len(whole) - len(data))]
    assert _broken(data) is None
    for more in again:
        data = _append(data, {"event": "outcome"})[: len(data) + more]
    data = _append(_append(data, {"event": "outcome"}), {"event": "intent"})
    assert _broken(data) is None
    assert data.endswith(b"\n")


def test_a_fragment_that_is_changed_later_shows() -> None:
    data = _append(_log(2)[:-20], {"event": "intent"})
    assert _broken(data) is None
    assert b"torn" in data
    position = data.index(b"\n") + 5
    broken = _broken(data[:position] + b"X" + data[position + 1 :])
    assert broken is not None
    assert broken.line == 2


@pytest.mark.parametrize("junk", [b"x\n", b"[]\n", b'{"seq":1}\n', b"\n", b"[" * 100_000 + b"\n"])
def test_a_line_that_is_no_record_is_broken(junk: bytes) -> None:
    broken = _broken(_log(1) + junk)
    assert broken is not None
    assert broken.line == 2


def test_an_outcome_tells_ids_and_digests_and_no_name() -> None:
    class Result:
        backup_id = "b"
        path = "secret"
        metadata = "secret"
        existed = False

    assert details(Result()) == {"backup_id": "b", "existed": False}
    assert details(None) == {}
