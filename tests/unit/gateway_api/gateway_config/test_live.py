"""When a read of the live config counts as stable."""

from __future__ import annotations

import pytest

from gateway_api.gateway_config.live import is_stable


@pytest.mark.parametrize(
    ("age", "still", "agrees", "whole", "stable"),
    [
        (5.0, 0.0, False, False, True),
        (0.1, 0.0, False, True, False),
        (0.1, 0.0, True, True, True),
        (0.1, 0.0, True, False, False),
        (0.1, 3.0, True, False, True),
        (-9.0, 0.0, True, False, False),
        (-9.0, 3.0, True, False, True),
    ],
)
def test_recently_written_file_is_stable_only_if_read_twice_alike(
    age: float, still: float, agrees: bool, whole: bool, stable: bool
) -> None:
    assert is_stable(age=age, still=still, agrees=agrees, whole=whole, settle=2.0) is stable
