"""The notes on a workload: their names, what is read back, and what a day allows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_operator.domain.objects import GatewayRef
from gateway_operator.domain.traces import DAY, Spent, accept_note, files_note, inventory, inventory_note, spent

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FIRST, SECOND = GatewayRef("StatefulSet", "gw"), GatewayRef("StatefulSet", "gw", 1)


def test_each_pod_of_a_stateful_set_has_notes_of_its_own() -> None:
    for name in (lambda gw: inventory_note(gw, "a"), lambda gw: accept_note(gw, "a"), files_note):
        assert name(FIRST) != name(SECOND)
    assert inventory_note(SECOND, "nightly") == "inventory-1.mcpgateway.dev/nightly"


@pytest.mark.parametrize(
    "text", ["", "x", "2026", "2026-01-01T00:00:00Z", "x 3 a", "2026-01-01T00:00:00Z x", "a b c d"]
)
def test_what_somebody_else_wrote_counts_for_nothing(text: str) -> None:
    assert Spent.parse(text) is None
    assert spent(text, 8, NOW) == Spent(NOW, 8)
    assert inventory(text) in (None, 2026)


@given(st.integers(0, 100_000), st.lists(st.text("0123456789abcdef", min_size=8, max_size=8), unique=True, max_size=9))
def test_what_was_written_is_read(of: int, uids: list[str]) -> None:
    day = Spent(NOW, of)
    for uid in uids:
        day = day.plus(uid + "-tail")
    assert Spent.parse(day.text()) == day
    assert all(day.counts(uid) for uid in uids)


@pytest.mark.parametrize(
    ("of", "allowed"), [(0, 5), (1, 5), (20, 5), (23, 5), (24, 6), (100, 25), (401, 100), (9999, 100)]
)
def test_a_day_allows_a_quarter(of: int, allowed: int) -> None:
    day, went = Spent(NOW, of), 0
    while not day.exhausted:
        day, went = day.plus(f"{went:08}"), went + 1
    assert went == allowed
    assert len(day.text()) < 1000


def test_a_day_ends_and_no_clock_that_was_set_back_begins_one() -> None:
    day = Spent(NOW, 8, ("a",))
    assert spent(day.text(), 6, NOW + DAY - timedelta(seconds=1)) == day
    assert spent(day.text(), 9, NOW - DAY) == Spent(NOW, 9, ("a",))
    assert spent(day.text(), 6, NOW + DAY) == Spent(NOW + DAY, 6)
