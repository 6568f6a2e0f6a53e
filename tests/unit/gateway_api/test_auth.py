"""Which admin keys are accepted while the config is not parsed, is invalid, or no file can be opened."""

import errno
import json
import os
from pathlib import Path

import pytest

from gateway_api.auth import KIND_BEFORE_RESTORE, MAX_KEY_FILE_BYTES, KeyRing, match_key, parse_key_file
from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.gateway_config.admin_keys import MIN_KEY_LENGTH, key_digest
from gateway_api.gateway_config.live import ConfigFile
from gateway_api.gateway_config.parser import ConfigParser
from gateway_api.storage.layout import JOURNAL_FILE
from gateway_api.storage.state_dir import StateDir
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


def test_key_matches_only_as_a_whole() -> None:
    accepted = (("a", key_digest(b"x")), ("b", key_digest(KEY)))
    assert match_key(key_digest(KEY), accepted) == "b"
    assert match_key(key_digest(KEY + b"x"), accepted) is None


@pytest.mark.parametrize(
    ("data", "keys", "problem"),
    [
        (KEY, 1, None),
        (b"\n" + KEY + b"  \r\n\n" + KEY[:-1] + b"x\n", 2, None),
        (b"\xef\xbb\xbf" + KEY, 1, None),
        (KEY.decode().encode("utf-16"), 1, None),
        ("\ufeff".encode("utf-16-be") + KEY.decode().encode("utf-16-be"), 1, None),
        ("ü".encode() * 20, 1, None),
        (b"short\n" + KEY, 1, "the key in line 1"),
        (KEY + b"\nshort", 1, "the key in line 2"),
        (b"short", 0, "the key in line 1"),
        (b"", 0, "contains no key"),
        (b"\xef\xbb\xbf\r\n", 0, "contains no key"),
        (KEY * MAX_KEY_FILE_BYTES, 0, "larger than"),
    ],
)
def test_key_file_with_several_keys_or_a_defect(data: bytes, keys: int, problem: str | None) -> None:
    parsed = parse_key_file(data)
    assert len(parsed.digests) == keys
    assert (parsed.problem is None) if problem is None else (problem in (parsed.problem or ""))


def _check(ring: KeyRing, key: bytes | str) -> str | None:
    return ring.check(key_digest(key.encode() if isinstance(key, str) else key))


def test_only_keys_in_the_key_file_are_accepted(ring: KeyRing) -> None:
    assert _check(ring, KEY) == "key_file"
    assert _check(ring, b"x" * 40) is None


def test_changed_key_file_counts_at_once(ring: KeyRing, tmp_path: Path) -> None:
    for number in range(3):
        first, second = (f"{letter}{number}" * 20 for letter in "ab")
        (tmp_path / "keys").write_text(f"{first}\n{second}\n")
        assert (_check(ring, first), _check(ring, second)) == ("key_file", "key_file")
        assert _check(ring, KEY) is None


@pytest.mark.parametrize("shortage", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_not_ready_if_the_key_file_cannot_be_opened_now(
    ring: KeyRing, monkeypatch: pytest.MonkeyPatch, shortage: int
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(shortage, os.strerror(shortage))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ApiError) as raised:
        _check(ring, KEY)
    assert raised.value.code is ErrorCode.NotReady


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("missing", "does not exist"),
        ("folder", "not a regular file"),
        ("pipe", "not a regular file"),
        ("short", "line 1"),
    ],
)
def test_unusable_key_file_is_reported_and_logged_once(
    kind: str, problem: str, ring: KeyRing, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gateway_admin")
    file = tmp_path / "keys"
    file.unlink()
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "short":
        file.write_text("short")
    assert _check(ring, KEY) is None
    assert problem.replace("not a file", "not a regular file") in (ring.key_file_problem() or "")
    assert [record.getMessage() for record in caplog.records] == ["admin_key_file_unusable"]
    file.rmdir() if kind == "folder" else file.unlink(missing_ok=True)
    file.write_bytes(KEY)
    assert _check(ring, KEY) == "key_file"
    assert ring.key_file_problem() is None
    assert caplog.records[-1].getMessage() == "admin_key_file_usable"
    assert KeyRing(ring._config, tmp_path, None).key_file_problem() is None


def _kinds(ring: KeyRing) -> tuple[str | None, str | None]:
    """The kinds as which the old and the new key are accepted."""
    return _check(ring, OLD), _check(ring, NEW)


def test_key_of_last_valid_config_is_accepted_after_a_restart(
    ring: KeyRing, config: ConfigFile, tmp_path: Path
) -> None:
    for key in (OLD, NEW):
        config.path.write_text(json.dumps(gateway_config(key)))
        assert config.read().kind == "valid"
    config.path.write_text("{")
    assert _kinds(ring) == (None, "last_valid")
    assert _kinds(KeyRing(config, tmp_path, None)) == (None, "last_valid")


def test_revoked_key_is_not_accepted_if_its_successor_cannot_be_stored(
    ring: KeyRing, config: ConfigFile, tmp_path: Path
) -> None:
    config.path.write_text(json.dumps(gateway_config(OLD)))
    assert config.read().kind == "valid"
    (tmp_path / ".gateway").rename(tmp_path / "away")
    (tmp_path / ".gateway").write_text("a file in place of the folder")
    config.path.write_text(json.dumps(gateway_config(NEW)))
    assert config.read().kind == "valid"
    config.path.unlink()
    assert _kinds(ring) == (None, "last_valid")


@pytest.mark.parametrize("padding", [0, 1 << 16], ids=["in the process", "in a worker"])
def test_rotated_key_stops_working_at_once(padding: int, ring: KeyRing, config: ConfigFile) -> None:
    config.path.write_text(json.dumps(gateway_config(OLD)) + " " * padding)
    assert _kinds(ring) == ("config", None)
    config.path.write_text(json.dumps(gateway_config(NEW)) + " " * padding)
    assert _check(ring, OLD) is None
    assert _check(ring, NEW) == "config"


def test_config_without_a_key_revokes_the_key_of_the_one_before(ring: KeyRing, config: ConfigFile) -> None:
    config.path.write_text(json.dumps(gateway_config(OLD)))
    assert _kinds(ring) == ("config", None)
    config.path.write_text(json.dumps({**gateway_config(OLD), "admin_apikey": None}))
    assert _kinds(ring) == (None, None)
    config.path.unlink()
    assert _kinds(ring) == (None, None)
    assert _check(ring, KEY) == "key_file"


def test_all_keys_of_a_cloud_config_are_accepted(ring: KeyRing, config: ConfigFile) -> None:
    cloud = {"plugins": {"auth": {"provider": "enkrypt"}}, "enkrypt_config": {"api_key": OLD, "admin_apikey": NEW}}
    config.path.write_text(json.dumps(cloud))
    assert _kinds(ring) == ("config", "config")
    config.path.write_text("{")
    assert _kinds(ring) == ("last_valid", "last_valid")


def test_journal_is_parsed_once_until_it_changes(
    ring: KeyRing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each check of a config key asks for the keys of an open restore, and most gateways never have one."""
    one, other = (key_digest(key * MIN_KEY_LENGTH) for key in (b"1", b"2"))
    parsed: list[bytes] = []
    loads = json.loads

    def loads_and_records(data: bytes) -> object:
        parsed.append(data)
        return loads(data)

    monkeypatch.setattr(json, "loads", loads_and_records)

    def before_restore() -> list[str]:
        kinds = [ring.config_keys() for _ in range(3)]
        assert kinds[0] == kinds[1] == kinds[2]
        return [digest for kind, digest in kinds[0] if kind == KIND_BEFORE_RESTORE]

    with StateDir(tmp_path, create=True) as state:
        assert before_restore() == []
        contents: list[tuple[bytes, list[str]]] = [
            (json.dumps({"previous_keys": [one]}).encode(), [one]),
            # As long as the one before.
            (json.dumps({"previous_keys": [other]}).encode(), [other]),
            (b'{"previous_keys": [', []),
            (json.dumps({"previous_keys": [one, other]}).encode(), [one, other]),
            (json.dumps({"previous_keys": []}).encode(), []),
        ]
        for content, digests in contents:
            state.write(JOURNAL_FILE, content)
            parsed.clear()
            assert before_restore() == digests
            assert parsed == [content]
        state.write(JOURNAL_FILE, contents[0][0])
        assert before_restore() == [one]
        state.remove(JOURNAL_FILE)
        assert before_restore() == []
