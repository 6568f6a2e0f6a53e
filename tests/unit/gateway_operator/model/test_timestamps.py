"""Tests of parsed times and of the delay before a recheck."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.actions import Finish
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.decide import decide
from gateway_operator.domain.restore.status import RestoreObservation

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
TIMES: dict[str, datetime] = {
    "2026-05-01T12:00:00Z": NOW,
    "2026-05-01t12:00:00z": NOW,
    "2026-05-01T12:00:00.000000Z": NOW,
    "2026-05-01T12:00:00.000000999Z": NOW,
    "2026-05-01T12:00:00.5Z": NOW + timedelta(milliseconds=500),
    "2026-05-01T14:00:00+02:00": NOW,
    "2026-05-01T00:01:00-11:59": NOW,
}
NO_TIMES = [
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2016-12-31T23:59:60Z",
    "2026-02-30T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-05-01T24:00:00Z",
    "2026-05-01T12:00:00+99:99",
    "2026-05-01T12:00:00",
    "2026-05-01 12:00:00Z",
    "2026-05-01T12:00Z",
    "2026-05-01T12:00:00+0200",
    "2026-05-01",
    "2026-W18-5",
    "20260501",
    "٢٠٢٦-05-01T12:00:00Z",
    "nonsense",
]


@pytest.mark.parametrize("text", TIMES)
def test_times_of_kubernetes_are_parsed_in_utc(text: str) -> None:
    parsed = timestamps.parse(text)
    assert parsed == TIMES[text]
    assert parsed.tzinfo is UTC


@pytest.mark.parametrize("text", ["", *NO_TIMES])
def test_restore_fails_if_its_time_cannot_be_parsed(text: str) -> None:
    """The API server refuses some of them. None of the others may restore the newest backup instead."""
    assert timestamps.parse(text) is None
    spec = {"gatewayRef": {"name": "gw"}, "before": text}
    for phase in ("", "Pending", "Validating"):
        body = {"metadata": {"name": "r", "uid": "u"}, "spec": spec, "status": {"phase": phase} if phase else {}}
        action = decide(RestoreObservation(Restore.parse(body)), NOW)
        assert isinstance(action, Finish)
        assert (action.status["phase"], action.status["reason"]) == ("Failed", "SpecInvalid")
        assert "spec.before" in action.status["message"]


@given(st.datetimes(timezones=st.just(UTC)), st.floats(0, 1e9))
def test_every_time_survives_text_and_arithmetic(time: datetime, seconds: float) -> None:
    assert timestamps.parse(timestamps.precise(time)) == time
    assert timestamps.parse(timestamps.text(time)) == time.replace(microsecond=0)
    assert timestamps.later(time, seconds) >= time


@given(st.text(max_size=40) | st.integers() | st.none())
def test_no_value_raises(value: object) -> None:
    timestamps.parse(value)


def test_late_start_does_not_move_the_deadline() -> None:
    far = datetime(9999, 1, 1, tzinfo=UTC)
    assert timestamps.deadline(NOW, 300, None, 600) == NOW + timedelta(seconds=300)
    assert timestamps.deadline(NOW, 300, NOW + timedelta(seconds=100), 600) == NOW + timedelta(seconds=700)
    assert timestamps.deadline(NOW, 300, far, 600) == NOW + timedelta(seconds=900)


def test_recheck_delay_grows_with_the_waited_time() -> None:
    delays = [timestamps.recheck_delay(NOW, NOW + timedelta(seconds=waited)) for waited in (-5, 0, 5, 20, 1000)]
    assert delays == [2, 2, 2.5, 10, 15]
