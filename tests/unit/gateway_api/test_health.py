"""When the backup volume counts as nearly full."""

from __future__ import annotations

from gateway_api.contract import VolumeSpace
from gateway_api.health import is_nearly_full


def test_volume_is_nearly_full_below_five_percent_or_three_configs() -> None:
    assert is_nearly_full(VolumeSpace(free_bytes=4, total_bytes=100), 0)
    assert not is_nearly_full(VolumeSpace(free_bytes=6, total_bytes=100), 2)
    assert is_nearly_full(VolumeSpace(free_bytes=6, total_bytes=100), 3)
