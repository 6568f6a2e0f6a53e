"""When a read of the live config counts as stable."""

from __future__ import annotations

import pytest

from gateway_api.gateway_config.live import is_stable


@pytest.mark.parametrize(
    ("age", "unchanged_for", "same_as_before", "is_valid", "stable"),
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
    age: float, unchanged_for: float, same_as_before: bool, is_valid: bool, stable: bool
) -> None:
    assert (
        is_stable(age=age, unchanged_for=unchanged_for, same_as_before=same_as_before, is_valid=is_valid, settle=2.0)
        is stable
    )
