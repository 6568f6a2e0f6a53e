"""When the backup volume counts as nearly full."""

from __future__ import annotations

from gateway_api.contract import VolumeSpace
from gateway_api.health.report import is_nearly_full


def test_volume_is_nearly_full_with_few_bytes_or_few_inodes() -> None:
    assert is_nearly_full(VolumeSpace(free_bytes=4, total_bytes=100), 0)
    assert not is_nearly_full(VolumeSpace(free_bytes=6, total_bytes=100), 2)
    assert is_nearly_full(VolumeSpace(free_bytes=6, total_bytes=100), 3)
    assert is_nearly_full(VolumeSpace(free_bytes=6, total_bytes=100, free_inodes=999), 2)
    assert not is_nearly_full(VolumeSpace(free_bytes=6, total_bytes=100, free_inodes=1000), 2)
