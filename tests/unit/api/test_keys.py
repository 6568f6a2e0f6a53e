"""Who may call, when the process is short of descriptors: not knowing is not refusing."""

import errno
import os
from pathlib import Path

import pytest

from gateway_api.auth import KeyRing
from gateway_api.config_file import ConfigFile
from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.judging import Judge

KEY = b"k" * 40


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    (tmp_path / "keys").write_bytes(KEY + b"\n")
    config = ConfigFile(tmp_path / "config.json", 1024, 0.0, Judge(1024, 1.0))
    return KeyRing(config, tmp_path, tmp_path / "keys")


def test_a_key_of_the_key_file_is_accepted_and_another_is_not(ring: KeyRing) -> None:
    assert ring.check(KEY) == "key_file"
    assert ring.check(b"x" * 40) is None


@pytest.mark.parametrize("shortage", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_without_a_descriptor_for_the_key_file_nobody_is_told_that_his_key_is_wrong(
    ring: KeyRing, monkeypatch: pytest.MonkeyPatch, shortage: int
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(shortage, os.strerror(shortage))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ApiError) as raised:
        ring.check(KEY)
    assert raised.value.code is ErrorCode.NotReady


def test_an_absent_key_file_holds_no_key(ring: KeyRing, tmp_path: Path) -> None:
    (tmp_path / "keys").unlink()
    assert ring.check(KEY) is None
