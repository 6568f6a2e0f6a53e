"""The config of a new gateway: empty data sections and the gateway's default settings.

`seed.py` writes it for a new pod, and a system reset writes it over a live config.
"""

from __future__ import annotations

from typing import Any


def default_config(admin_key: str | None) -> dict[str, Any]:
    """A minimal config that gateway 2.2.4 starts with. It has no projects and users, and telemetry is off.

    With ``admin_key`` None it has no admin key, as the configs of releases up to 2.1.2.
    """
    return {
        **({} if admin_key is None else {"admin_apikey": admin_key}),
        "enkrypt_config": {"api_key": "", "base_url": "https://api.enkryptai.com"},
        "common_mcp_gateway_config": {
            "enkrypt_log_level": "INFO",
            "enkrypt_mcp_use_external_cache": False,
            "enkrypt_cache_host": "localhost",
            "enkrypt_cache_port": 6379,
            "enkrypt_cache_db": 0,
            "enkrypt_cache_password": None,
            "enkrypt_tool_cache_expiration": 4,
            "enkrypt_gateway_cache_expiration": 24,
            "enkrypt_gateway_cache_expiration_minutes": 5,
            "enkrypt_config_watcher_poll_seconds": 2.0,
            "enkrypt_async_input_guardrails_enabled": False,
            "enkrypt_async_output_guardrails_enabled": False,
            "timeout_settings": {
                "default_timeout": 90,
                "guardrail_timeout": 390,
                "auth_timeout": 30,
                "tool_execution_timeout": 360,
                "discovery_timeout": 540,
                "cache_timeout": 15,
                "connectivity_timeout": 6,
                "escalation_policies": {"warn_threshold": 0.8, "timeout_threshold": 1.0, "fail_threshold": 1.2},
            },
        },
        "plugins": {
            "auth": {"provider": "local_apikey", "config": {}},
            "guardrails": {"provider": "enkrypt", "config": {}},
            "telemetry": {
                "provider": "opentelemetry",
                "config": {"enabled": False, "url": "http://localhost:4317", "insecure": True},
            },
        },
        "mcp_configs": {},
        "projects": {},
        "users": {},
        "apikeys": {},
    }
