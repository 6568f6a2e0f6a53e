"""Guardrails and telemetry are recognised by their names in every release from 2.0 to 2.2.4."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway_api.gateway_config.features import describe_features
from gateway_api.gateway_config.summary import read
from tests.api.support.admin_process import gateway_config

GENERATED = sorted((Path(__file__).parents[3] / "api" / "upstream" / "generated_configs").glob("*.json"))
ON = {"enabled": True, "guardrail_name": "g", "block": ["pii"]}


def _with_server(**fields: Any) -> dict[str, Any]:
    return {"mcp_configs": {"c": {"mcp_config": [{"server_name": "s", **fields}]}}}


@pytest.mark.parametrize(
    "config",
    [
        _with_server(input_guardrails_config=ON),
        _with_server(output_guardrails_config=ON),
        _with_server(input_guardrails_policy=ON),
        _with_server(output_guardrails_policy=ON),
        _with_server(tool_guardrails_policy=ON),
        _with_server(server_tools_guardrails_config=ON),
        _with_server(enable_tool_guardrails=True),
        _with_server(enable_server_info_validation=True),
        {"mcp_configs": {"c": {"common_overrides": {"server_tools_guardrails_config": ON}}}},
        {"local_server_overrides": {"s": {"input_guardrails_config": ON}}},
        {"projects": {"p": {"mcp_configs": [{"mcp_config": [{"input_guardrails_policy": ON}]}]}}},
        {"common_mcp_gateway_config": {"enkrypt_guardrails_enabled": True}},
    ],
)
def test_each_name_of_a_guardrail_counts(config: dict[str, Any]) -> None:
    assert describe_features(config)["guardrails_configured"] is True
    off = json.loads(json.dumps(config).replace("true", "false"))
    assert describe_features(off)["guardrails_configured"] is False


@pytest.mark.parametrize(
    "config",
    [
        {"plugins": {"telemetry": {"config": {"enabled": True}}}},
        {"common_mcp_gateway_config": {"enkrypt_telemetry": {"enabled": True}}},
        {"common_mcp_gateway_config": {"enkrypt_telemetry_enabled": True}},
    ],
)
def test_each_name_of_telemetry_counts(config: dict[str, Any]) -> None:
    assert describe_features(config)["telemetry_enabled"] is True
    off = json.loads(json.dumps(config).replace("true", "false"))
    assert describe_features(off)["telemetry_enabled"] is False


@pytest.mark.parametrize(
    "config",
    [
        _with_server(input_guardrails_config=None, tool_guardrails_policy=[]),
        {"local_server_overrides": {"s": 5}},
        {"projects": {"p": {"mcp_configs": [5, {"mcp_config": 5}, {"mcp_config": [5]}]}}},
        {"common_mcp_gateway_config": {"enkrypt_telemetry": 5, "enkrypt_tool_cache_expiration": "x"}},
        {"plugins": {"telemetry": None}},
    ],
)
def test_odd_values_turn_no_feature_on(config: dict[str, Any]) -> None:
    features = describe_features(config)
    assert (features["guardrails_configured"], features["telemetry_enabled"]) == (False, False)


def _turn_on(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: True if name == "enabled" else _turn_on(inner) for name, inner in value.items()}
    return [_turn_on(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("file", GENERATED, ids=lambda file: file.stem)
def test_generated_config_with_everything_on_has_telemetry_and_guardrails(file: Path) -> None:
    everything = read(json.dumps(_turn_on(json.loads(file.read_text()))).encode())
    assert everything.guardrails_configured is ("cloud" not in file.stem)
    assert everything.telemetry_enabled is ("2.1.0" not in file.stem)
    assert everything.issues == ()


def test_defaults_of_the_gateway_count_for_absent_fields() -> None:
    assert describe_features(gateway_config("k" * 40))["cache_enabled"] is True
    assert describe_features({})["cache_type"] == "local"
