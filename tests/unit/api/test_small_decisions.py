"""Keys, failures, settings, readings and error bodies: the small pure decisions."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway_api.auth import BURST, FailureLimit, digest_of, match, parse_key_file, presented_key
from gateway_api.condition import nearly_full
from gateway_api.config_file import is_believable
from gateway_api.contract import ERRORS, ErrorCode, VolumeSpace
from gateway_api.errors import ApiError, error_body
from gateway_api.gate import request_name
from gateway_api.settings import SettingsError, load
from gateway_api.validation import describe

KEY = b"k" * 40


@pytest.mark.parametrize(
    ("authorization", "apikey", "expected"),
    [
        (b"Bearer abc", None, b"abc"),
        (b"bearer  abc ", None, b"abc"),
        (None, b" abc ", b"abc"),
        (b"Bearer one", b"two", b"one"),
        (b"Basic abc", b"two", b"two"),
        (b"Bearer", None, None),
        (b"Bearer ", None, None),
        (None, b"", None),
        (None, None, None),
    ],
)
def test_the_key_is_taken_from_either_header(
    authorization: bytes | None, apikey: bytes | None, expected: bytes | None
) -> None:
    assert presented_key(authorization, apikey) == expected


def test_a_short_key_is_never_accepted_even_if_it_is_configured() -> None:
    assert match(b"short", (("config", digest_of(b"short")),)) is None
    assert match(KEY, (("a", digest_of(b"x")), ("b", digest_of(KEY)))) == "b"
    assert match(KEY + b"x", (("b", digest_of(KEY)),)) is None
    assert parse_key_file(b"short\n\n" + KEY + b"  \r\n") == (digest_of(KEY),)


def test_failures_are_counted_for_each_peer_and_forgiven_with_time() -> None:
    limit = FailureLimit()
    assert [limit.failed("a", 0.0) for _ in range(int(BURST))] == [None] * int(BURST)
    wait = limit.failed("a", 0.0)
    assert wait is not None
    assert limit.failed("b", 0.0) is None
    assert limit.failed("a", float(wait)) is None


@pytest.mark.parametrize(
    ("age", "still", "agrees", "whole", "believed"),
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
def test_a_young_file_must_agree_and_be_whole_or_be_left_alone(
    age: float, still: float, agrees: bool, whole: bool, believed: bool
) -> None:
    assert is_believable(age=age, still=still, agrees=agrees, whole=whole, settle=2.0) is believed


def test_nearly_full_is_a_twentieth_or_three_configs() -> None:
    assert nearly_full(VolumeSpace(free_bytes=4, total_bytes=100), 0)
    assert not nearly_full(VolumeSpace(free_bytes=6, total_bytes=100), 2)
    assert nearly_full(VolumeSpace(free_bytes=6, total_bytes=100), 3)


def test_flags_win_over_the_environment_and_that_over_defaults() -> None:
    environ = {"GATEWAY_CONFIG_FILE": "/e/c.json", "GATEWAY_BACKUP_DIR": "/e/b", "GATEWAY_API_PORT": "9000"}
    loaded = load({"config_file": "/f/c.json"}, environ)
    assert (loaded.config_file, loaded.backup_dir, loaded.port) == (Path("/f/c.json"), Path("/e/b"), 9000)
    assert (loaded.host, loaded.tls, loaded.settle_seconds) == ("127.0.0.1", False, 2.0)


@pytest.mark.parametrize(
    "flags",
    [
        {"config_file": None},
        {"backup_dir": None},
        {"port": "-1"},
        {"port": "65536"},
        {"port": "1e3"},
        {"port": "٣"},
        {"settle_seconds": "nan"},
        {"settle_seconds": "61"},
        {"tls_cert": "/c"},
        {"max_config_bytes": "1"},
        {"config_file": "/b/c"},
        {"config_file": "/b"},
    ],
)
def test_a_setting_that_makes_no_sense_is_named(flags: dict[str, str | None]) -> None:
    whole: dict[str, str | None] = {"config_file": "/c", "backup_dir": "/b"}
    with pytest.raises(SettingsError):
        load({**whole, **flags}, {})


def test_every_code_has_a_status_and_a_cure() -> None:
    assert set(ERRORS) == set(ErrorCode)
    assert all(400 <= spec.status < 600 and spec.cure for spec in ERRORS.values())


def test_an_error_s_body_names_the_operation() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    body = error_body("/api/v1/system/restores/x/commit", ApiError(ErrorCode.Busy), now)
    assert body["error"] == "Restore request failed"
    assert body["timestamp"] == "2026-01-01T00:00:00.000000Z"
    assert error_body("/api/v1/system/backup", ApiError(ErrorCode.Busy), now)["error"] == "System backup failed"
    assert ApiError(ErrorCode.Busy).headers["Retry-After"]
    assert "Retry-After" not in ApiError(ErrorCode.BackupExists).headers


def test_a_request_s_name_is_never_the_key() -> None:
    assert request_name(b"abc", None) == "abc"
    assert request_name(b"abc\n", None) != "abc\n"
    assert request_name(KEY, KEY) != KEY.decode()
    assert len(request_name(None, None)) == 16


def test_a_422_shows_declared_names_alone() -> None:
    errors = [
        {"loc": ("body", "metadata", "secret"), "type": "string_type", "msg": "Input should be a valid string"},
        {"loc": ("body", "path"), "type": "missing", "msg": "Field required"},
    ]
    text = describe(errors * 3)
    assert text.startswith("metadata.…: Input should be a valid string; path: Field required")
    assert text.endswith("and 3 more")
    assert "secret" not in text
