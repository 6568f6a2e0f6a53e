"""Turns off the parts of a config that connect to other systems by themselves: external cache and telemetry.

All names that the releases 2.0 to 2.2.4 of the gateway understand count, as in `gateway_config.features`.
"""

from __future__ import annotations

from typing import Any


def disable_integrations(config: dict[str, Any]) -> list[str]:
    """Changes the config in place. Returns the names of the settings that were on, in a fixed order."""
    changed: list[str] = []
    common = config.get("common_mcp_gateway_config")
    if isinstance(common, dict):
        for name in ("enkrypt_mcp_use_external_cache", "enkrypt_telemetry_enabled"):
            if common.get(name):
                common[name] = False
                changed.append(name)
        _disable(common, "enkrypt_telemetry", changed)
    plugins = config.get("plugins")
    telemetry = plugins.get("telemetry") if isinstance(plugins, dict) else None
    if isinstance(telemetry, dict):
        _disable(telemetry, "config", changed, "plugins.telemetry.config")
    return changed


def _disable(holder: dict[str, Any], name: str, changed: list[str], path: str = "") -> None:
    inner = holder.get(name)
    if isinstance(inner, dict) and inner.get("enabled"):
        inner["enabled"] = False
        changed.append(f"{path or name}.enabled")
