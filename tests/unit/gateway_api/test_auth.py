"""Which admin keys are accepted while the config is not parsed, is invalid, or no file can be opened."""

import errno
import json
import os
from pathlib import Path

import pytest

from gateway_api.auth import KeyRing, key_digest, match_key, parse_key_file
from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.gateway_config.live import ConfigFile
from gateway_api.gateway_config.parser import ConfigParser
from tests.api.support.admin_process import gateway_config

KEY = b"k" * 40
OLD, NEW = "o" * 40, "n" * 40


@pytest.fixture
def config(tmp_path: Path) -> ConfigFile:
    return ConfigFile(tmp_path / "config.json", 1 << 20, 0.0, ConfigParser(1 << 16, 30.0))


@pytest.fixture
def ring(tmp_path: Path, config: ConfigFile) -> KeyRing:
    (tmp_path / "keys").write_bytes(KEY + b"\n")
    return KeyRing(config, tmp_path, tmp_path / "keys")


def test_short_key_is_never_accepted() -> None:
    assert match_key(b"short", (("config", key_digest(b"short")),)) is None
    assert match_key(KEY, (("a", key_digest(b"x")), ("b", key_digest(KEY)))) == "b"
    assert match_key(KEY + b"x", (("b", key_digest(KEY)),)) is None
    assert parse_key_file(b"short\n\n" + KEY + b"  \r\n") == (key_digest(KEY),)


def test_only_keys_in_the_key_file_are_accepted(ring: KeyRing) -> None:
    assert ring.check(KEY) == "key_file"
    assert ring.check(b"x" * 40) is None


@pytest.mark.parametrize("shortage", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_not_ready_if_the_key_file_cannot_be_opened_now(
    ring: KeyRing, monkeypatch: pytest.MonkeyPatch, shortage: int
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(shortage, os.strerror(shortage))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ApiError) as raised:
        ring.check(KEY)
    assert raised.value.code is ErrorCode.NotReady


def test_missing_key_file_accepts_no_key(ring: KeyRing, tmp_path: Path) -> None:
    (tmp_path / "keys").unlink()
    assert ring.check(KEY) is None


def _kinds(ring: KeyRing) -> tuple[str | None, str | None]:
    """The kinds as which the old and the new key are accepted."""
    return ring.check(OLD.encode()), ring.check(NEW.encode())


def test_key_of_last_valid_config_is_accepted_after_a_restart(
    ring: KeyRing, config: ConfigFile, tmp_path: Path
) -> None:
    for key in (OLD, NEW):
        config.path.write_text(json.dumps(gateway_config(key)))
        assert config.read().kind == "valid"
    config.path.write_text("{")
    assert _kinds(ring) == (None, "last_valid")
    assert _kinds(KeyRing(config, tmp_path, None)) == (None, "last_valid")


def test_last_valid_key_is_accepted_until_a_changed_config_is_parsed(ring: KeyRing, config: ConfigFile) -> None:
    config.path.write_text(json.dumps(gateway_config(OLD)))
    assert _kinds(ring) == ("config", None)
    config.path.write_text(json.dumps(gateway_config(NEW)) + " " * (1 << 16))
    assert ring.check(OLD.encode()) == "last_valid"
    assert _kinds(ring) == ("last_valid", "config"), "the new key makes the server parse the config"
    assert _kinds(ring) == (None, "config")
