"""Failed authentications are limited for each client address."""

from __future__ import annotations

from gateway_api.http.rate_limit import BURST, FailureLimit


def test_failures_count_per_address_and_expire() -> None:
    limit = FailureLimit()
    assert [limit.failed("a", 0.0) for _ in range(int(BURST))] == [None] * int(BURST)
    wait = limit.failed("a", 0.0)
    assert wait is not None
    assert limit.failed("b", 0.0) is None
    assert limit.failed("a", float(wait)) is None
