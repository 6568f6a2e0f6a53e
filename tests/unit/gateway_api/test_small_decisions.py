"""Accepted keys, settings, and when a config file counts as stable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway_api.auth import digest_of, match_key, parse_key_file
from gateway_api.contract import ERRORS, ErrorCode, VolumeSpace
from gateway_api.gateway_config.live import is_stable
from gateway_api.health import nearly_full
from gateway_api.settings import AdminSettings, SettingsError, load

KEY = b"k" * 40


def test_a_short_key_is_never_accepted_even_if_it_is_configured() -> None:
    assert match_key(b"short", (("config", digest_of(b"short")),)) is None
    assert match_key(KEY, (("a", digest_of(b"x")), ("b", digest_of(KEY)))) == "b"
    assert match_key(KEY + b"x", (("b", digest_of(KEY)),)) is None
    assert parse_key_file(b"short\n\n" + KEY + b"  \r\n") == (digest_of(KEY),)


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
    assert is_stable(age=age, still=still, agrees=agrees, whole=whole, settle=2.0) is believed


def test_nearly_full_is_a_twentieth_or_three_configs() -> None:
    assert nearly_full(VolumeSpace(free_bytes=4, total_bytes=100), 0)
    assert not nearly_full(VolumeSpace(free_bytes=6, total_bytes=100), 2)
    assert nearly_full(VolumeSpace(free_bytes=6, total_bytes=100), 3)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with the two required settings only."""
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GATEWAY_CONFIG_FILE", "/e/c.json")
    monkeypatch.setenv("GATEWAY_BACKUP_DIR", "/e/b")
    return monkeypatch


def test_flags_override_environment_which_overrides_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('\ufeffconfig = "/t/c.json"\nport = 9001\ntls-port = 9002\nhost = "::"\ngateway-version = 2.2\n')
    environment.setenv("GATEWAY_API_PORT", "9000")
    environment.setenv("GATEWAY_TLS_PORT", "")
    environment.setenv("GATEWAY_SETTINGS_FILE", str(file))
    loaded = load({"config_file": "/f/c.json", "gateway_version": None, "host": ""})
    assert (loaded.config_file, loaded.backup_dir, loaded.port) == (Path("/f/c.json"), Path("/e/b"), 9000)
    assert (loaded.tls_port, loaded.host, loaded.gateway_version) == (9002, "::", "2.2")
    assert (loaded.tls, loaded.settle_seconds) == (False, 2.0)


def test_service_link_in_port_variable_is_ignored(
    environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    environment.setenv("GATEWAY_API_PORT", "tcp://10.0.0.1:8001")
    assert load({}).port == 8001
    assert [record.getMessage() for record in caplog.records] == ["service_link_ignored"]
    environment.setenv("GATEWAY_API_HOST", "tcp://10.0.0.1:8001")
    assert load({}).host == "tcp://10.0.0.1:8001"
    with pytest.raises(SettingsError):
        load({"port": "tcp://10.0.0.1:8001"})


@pytest.mark.parametrize("name", ["host", "HOST", "PORT", "port", "config_file", "CONFIG_FILE"])
def test_variables_without_our_prefix_are_not_read(name: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv(name, "/other")
    assert load({}) == AdminSettings(config_file=Path("/e/c.json"), backup_dir=Path("/e/b"))


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"port": "65536"}, "GATEWAY_API_PORT: input should be less than or equal to 65535"),
        ({"encryption": "canary"}, "GATEWAY_ENCRYPTION: input should be 'require' or 'allow'"),
        ({"tls_cert": "/canary"}, "TLS needs both a certificate and its key"),
        ({"age_recipients": ["canary"]}, "GATEWAY_AGE_RECIPIENTS: recipient 1 is no X25519 recipient"),
        ({"age_recipients_file": "/canary"}, "GATEWAY_AGE_RECIPIENTS: the file of age recipients cannot be read"),
        ({"settle_seconds": "canary"}, "GATEWAY_SETTLE_SECONDS: input should be a valid number"),
    ],
)
def test_settings_error_is_one_sentence_without_the_value(
    flags: dict[str, object], sentence: str, environment: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError) as refused:
        load(flags)
    assert str(refused.value).startswith(sentence)
    assert "canary" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_missing_setting_names_flag_and_variable(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("GATEWAY_BACKUP_DIR")
    with pytest.raises(SettingsError, match=r"^set --backups or GATEWAY_BACKUP_DIR$"):
        load({})


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
def test_a_setting_that_makes_no_sense_is_named(flags: dict[str, str | None], environment: pytest.MonkeyPatch) -> None:
    environment.delenv("GATEWAY_CONFIG_FILE")
    environment.delenv("GATEWAY_BACKUP_DIR")
    whole: dict[str, str | None] = {"config_file": "/c", "backup_dir": "/b"}
    with pytest.raises(SettingsError):
        load({**whole, **flags})


def test_every_code_has_a_status_and_a_cure() -> None:
    assert set(ERRORS) == set(ErrorCode)
    assert all(400 <= spec.status < 600 and spec.cure for spec in ERRORS.values())
