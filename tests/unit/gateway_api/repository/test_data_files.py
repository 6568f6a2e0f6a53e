"""A new file is read back from the disk before it becomes a backup."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway_api.errors import ApiError
from gateway_api.repository import data_files
from gateway_api.storage.content import Blob
from gateway_api.storage.state_dir import StateDir


def test_file_is_removed_when_it_reads_back_differently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_files, "digest_and_size", lambda *_: ("0" * 64, 1))
    with StateDir(tmp_path, create=True) as state, pytest.raises(ApiError, match="VolumeUnavailable"):
        data_files.write_and_read_back(state.base_fd, Blob.of(b"config"))
    assert not list(tmp_path.rglob(".gateway-*.tmp"))
