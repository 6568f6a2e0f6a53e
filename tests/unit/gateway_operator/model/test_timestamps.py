"""Tests of parsed times and of the delay before a recheck."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway_operator.domain.model import timestamps

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_recheck_delay_grows_with_the_waited_time() -> None:
    delays = [timestamps.recheck_delay(NOW, NOW + timedelta(seconds=waited)) for waited in (-5, 0, 5, 20, 1000)]
    assert delays == [2, 2, 2.5, 10, 15]
    assert timestamps.parse("nonsense") is None
    assert timestamps.parse("2026-05-01T12:00:00Z") == NOW
