"""Which connection is accepted and which one is closed for it when a listener is full."""

from __future__ import annotations

import resource
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_api.http.connections import Rank, Slot, SlotTable, connection_capacity


def _take(table: SlotTable, peer: str, closed: list[str], name: str = "") -> Slot | None:
    return table.take(peer, lambda: closed.append(name or peer))


def test_full_table_closes_the_oldest_connection_of_the_busiest_peer() -> None:
    table, closed = SlotTable(4, 0), list[str]()
    _take(table, "quiet", closed)
    busy = [_take(table, "busy", closed, f"busy-{number}") for number in range(3)]
    assert busy[0] is not None
    busy[0].wait_for_client(Rank.New)
    assert _take(table, "new", closed) is not None
    assert closed == ["busy-1"]


def test_connection_with_a_running_request_is_never_closed() -> None:
    table, closed = SlotTable(2, 0), list[str]()
    held = [_take(table, "a", closed) for _ in range(2)]
    for slot in held:
        assert slot is not None
        slot.protect()
    assert _take(table, "b", closed) is None
    assert held[0] is not None
    held[0].wait_for_client(Rank.HadKey)
    assert _take(table, "b", closed) is not None
    assert closed == ["a"]


def test_connections_that_have_done_least_are_closed_first() -> None:
    table, closed = SlotTable(3, 0), list[str]()
    for name, rank in (("key", Rank.HadKey), ("answered", Rank.Answered), ("new", Rank.New)):
        slot = _take(table, "a", closed, name)
        assert slot is not None
        slot.wait_for_client(rank)
    for _ in range(3):
        slot = _take(table, "b", closed)
        assert slot is not None
        slot.protect()
    assert closed == ["new", "answered", "key"]


def test_one_peer_keeps_to_its_own_share() -> None:
    table, closed = SlotTable(10, 3), list[str]()
    for number in range(8):
        assert _take(table, "a", closed, str(number)) is not None
    assert closed == ["0", "1", "2", "3", "4"]
    assert _take(table, "b", closed) is not None
    assert len(table) == 4


def _forget(live: dict[int, Slot], number: int) -> None:
    del live[number]


@given(st.lists(st.tuples(st.sampled_from(["take", "protect", "wait", "release"]), st.integers(0, 30)), max_size=200))
def test_table_never_exceeds_its_limits(steps: list[tuple[str, int]]) -> None:
    table, live = SlotTable(8, 3), dict[int, Slot]()
    for number, (step, choice) in enumerate(steps):
        slot = live.get(choice)
        if step == "take":
            taken = table.take(str(choice % 5), partial(_forget, live, number))
            if taken is not None:
                live[number] = taken
        elif slot is not None and step == "release":
            live.pop(choice).release()
            slot.release()
        elif slot is not None:
            slot.protect() if step == "protect" else slot.wait_for_client(Rank(choice % 3))
        assert len(table) == len(live) <= 8
        peers = [one.peer for one in live.values()]
        assert all(peers.count(peer) <= 3 for peer in set(peers))


@pytest.mark.parametrize(
    ("limit", "capacity"), [(resource.RLIM_INFINITY, 512), (1 << 20, 512), (1024, 512), (512, 384), (64, 32), (4, 4)]
)
def test_capacity_respects_the_limit_of_open_files(limit: int, capacity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway_api.http.connections.resource.getrlimit", lambda _: (limit, limit))
    assert connection_capacity(512) == capacity
