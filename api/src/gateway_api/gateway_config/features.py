"""Reads from a config which features the gateway has on: cache, telemetry and guardrails.

Each release of the gateway has its own names for some of these settings, and a config may keep the old names for
years. All names of the releases 2.0 to 2.2.4 count. The module reads no file and imports the standard library only,
because it runs in the parse worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

SERVER_GUARDRAILS: Final = (
    "input_guardrails_config",
    "output_guardrails_config",
    "server_tools_guardrails_config",
    # The names of 2.0 and 2.1.
    "input_guardrails_policy",
    "output_guardrails_policy",
    "tool_guardrails_policy",
)
"""Fields of a server, and of the overrides for all servers, whose `enabled` turns a guardrail on."""
GUARDRAIL_FLAGS: Final = ("enable_tool_guardrails", "enable_server_info_validation")
"""Fields of a server in 2.1 that turn a guardrail on by themselves."""


def describe_features(config: dict[str, Any]) -> dict[str, Any]:
    """The fields ``cache_enabled``, ``cache_type``, ``telemetry_enabled`` and ``guardrails_configured`` of a summary.

    ``config`` has passed `schema.check`. Where a field is absent, the gateway's own default counts.
    """
    common = _object(config, "common_mcp_gateway_config")
    return {
        "cache_enabled": _is_positive(common.get("enkrypt_tool_cache_expiration", 4))
        or _is_positive(common.get("enkrypt_gateway_cache_expiration", 24)),
        "cache_type": "external" if common.get("enkrypt_mcp_use_external_cache") is True else "local",
        "telemetry_enabled": _telemetry_enabled(config, common),
        "guardrails_configured": common.get("enkrypt_guardrails_enabled") is True
        or any(_has_guardrail(holder) for holder in _guardrail_holders(config)),
    }


def _object(value: dict[str, Any], name: str) -> dict[str, Any]:
    inner = value.get(name)
    return inner if isinstance(inner, dict) else {}


def _is_enabled(holder: dict[str, Any], name: str) -> bool:
    return _object(holder, name).get("enabled") is True


def _telemetry_enabled(config: dict[str, Any], common: dict[str, Any]) -> bool:
    plugin = _object(_object(config, "plugins"), "telemetry")
    # The second is the name of 2.0, the third that of 2.1.0.
    return (
        _is_enabled(plugin, "config")
        or _is_enabled(common, "enkrypt_telemetry")
        or common.get("enkrypt_telemetry_enabled") is True
    )


def _guardrail_holders(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The objects of a config that can turn a guardrail on: servers, and overrides for servers."""
    for entry in config.get("mcp_configs", {}).values():
        yield _object(entry, "common_overrides")
        yield from entry.get("mcp_config") or ()
    # Projects of 2.0 may contain their MCP configs themselves.
    for project in config.get("projects", {}).values():
        nested = project.get("mcp_configs")
        for entry in nested if isinstance(nested, list) else ():
            servers = entry.get("mcp_config") if isinstance(entry, dict) else None
            yield from (one for one in servers if isinstance(one, dict)) if isinstance(servers, list) else ()
    # With a remote provider the only local servers are these overrides.
    for override in _object(config, "local_server_overrides").values():
        if isinstance(override, dict):
            yield override


def _has_guardrail(holder: dict[str, Any]) -> bool:
    return any(_is_enabled(holder, name) for name in SERVER_GUARDRAILS) or any(
        holder.get(name) is True for name in GUARDRAIL_FLAGS
    )


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and value > 0
