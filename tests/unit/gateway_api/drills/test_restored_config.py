"""The gateway of a drill starts with the restored config, and with external cache and telemetry off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway_api import cli
from gateway_api.contract import Counts, RestoreResult, RestoreState, SafetyBackup
from gateway_api.drills.integrations import disable_integrations
from gateway_api.drills.restored_config import prepare_config
from gateway_api.gateway_config.features import describe_features
from gateway_api.restores import records
from gateway_api.restores.journal import Journal
from gateway_api.storage.state_dir import StateDir

SETTINGS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"common_mcp_gateway_config": None, "plugins": []}, []),
    ({"common_mcp_gateway_config": {"enkrypt_mcp_use_external_cache": True}}, ["enkrypt_mcp_use_external_cache"]),
    ({"common_mcp_gateway_config": {"enkrypt_telemetry_enabled": True}}, ["enkrypt_telemetry_enabled"]),
    ({"common_mcp_gateway_config": {"enkrypt_telemetry": {"enabled": True}}}, ["enkrypt_telemetry.enabled"]),
    (
        {"plugins": {"telemetry": {"provider": "opentelemetry", "config": {"enabled": True, "url": "http://x"}}}},
        ["plugins.telemetry.config.enabled"],
    ),
    ({"plugins": {"telemetry": {"config": {"enabled": False}}}}, []),
]


@pytest.mark.parametrize(("config", "expected"), SETTINGS)
def test_external_cache_and_telemetry_are_turned_off(config: dict[str, Any], expected: list[str]) -> None:
    assert disable_integrations(config) == expected
    assert disable_integrations(config) == []
    if isinstance(config.get("common_mcp_gateway_config"), dict) or isinstance(config.get("plugins"), dict):
        features = describe_features(config)
        assert (features["cache_type"], features["telemetry_enabled"]) == ("local", False)


def journal(request_id: str, state: RestoreState) -> Journal:
    result = RestoreResult.model_validate(
        {
            "request_id": request_id, "state": state, "source_path": "", "restored_sha256": "a" * 64,
            "sections_digest": "a" * 64, "counts": Counts(configs=1, projects=1, users=1, api_keys=1),
            "safety_backup": SafetyBackup(kind="missing"), "started": "2026-01-01T00:00:00Z",
        }
    )  # fmt: skip
    return Journal(request_sha256="b" * 64, auto_commit=False, phase=state.value, had_config=True, result=result)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """The config, with telemetry on, and the backup directory."""
    config, backups = tmp_path / "config" / "config.json", tmp_path / "backups"
    for folder in (config.parent, backups):
        folder.mkdir()
        StateDir(folder, create=True).close()
    config.write_text(json.dumps({"plugins": {"telemetry": {"config": {"enabled": True}}}, "users": {"u": {}}}))
    config.chmod(0o600)
    return config, backups


def test_config_is_prepared_only_after_the_commit(folders: tuple[Path, Path]) -> None:
    config, backups = folders
    before = config.read_bytes()
    states = iter([RestoreState.applied, RestoreState.committed])

    def sleep(_: float) -> None:
        assert config.read_bytes() == before
        state = next(states)
        with StateDir(config.parent, create=False) as one, StateDir(backups, create=False) as other:
            record = journal("drill", state)
            if state is RestoreState.applied:
                records.save_journal(one, record)
            else:
                records.archive(one, other, record)
                one.remove("restore.json")

    assert prepare_config(config, backups, "drill", 60, sleep=sleep) == ["plugins.telemetry.config.enabled"]
    after = json.loads(config.read_bytes())
    assert after == {"plugins": {"telemetry": {"config": {"enabled": False}}}, "users": {"u": {}}}
    assert config.stat().st_mode & 0o777 == 0o600
    unchanged = config.stat().st_ino
    assert prepare_config(config, backups, "drill", 60) == []
    assert config.stat().st_ino == unchanged


@pytest.mark.parametrize("present", [None, ("other", RestoreState.committed), ("drill", RestoreState.rolled_back)])
def test_without_a_commit_of_this_restore_the_gateway_does_not_start(
    folders: tuple[Path, Path], present: tuple[str, RestoreState] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    config, backups = folders
    if present is not None:
        with StateDir(config.parent, create=False) as one, StateDir(backups, create=False) as other:
            records.archive(one, other, journal(*present))
    before = config.read_bytes()
    arguments = ["--config", str(config), "--backups", str(backups), "--request-id", "drill", "--seconds", "0"]
    assert cli.main(["drill", "prepare", *arguments]) == 2
    assert "no restore was committed" in capsys.readouterr().err
    assert config.read_bytes() == before
