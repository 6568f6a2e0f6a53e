"""The first config of a new gateway: made only where there never was one.

A config that is lost must be restored, not papered over by an empty one, so any trace of an earlier life in the state
folder stops this.
"""

from __future__ import annotations

import json
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from .auth import LAST_KEY
from .config_shape import NotAConfig, check, parse, unwrap
from .context import GATEWAY_ID
from .durable import close, make_temporary, publish_new, sync_directory, unlink_quietly
from .journal import JOURNAL
from .state_folder import StateFolder

TRACES: Final = (GATEWAY_ID, LAST_KEY, JOURNAL)


class CannotSeed(Exception):  # noqa: N818 - reads as what it says
    """There is nothing to seed from, or nowhere to write. The text is for the person who reads the pod's log."""


def default_config(admin_key: str) -> dict[str, Any]:
    """A minimal config that gateway 2.2.4 starts with: no projects, no users, nothing that leaves the pod."""
    return {
        "admin_apikey": admin_key,
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


def first_content(source: Path | None) -> bytes:
    """The bytes of the first config. Raises :class:`CannotSeed` when ``source`` is no config."""
    if source is None:
        key = secrets.token_urlsafe(192)
        return json.dumps(default_config(key), indent=2).encode()
    try:
        data = source.read_bytes()
        value, enveloped = unwrap(parse(data))
        config = check(value)
    except OSError as error:
        raise CannotSeed(f"{source} cannot be read: {error.strerror}") from None
    except NotAConfig as problem:
        raise CannotSeed(f"{source} is not a gateway config: {problem}") from None
    return json.dumps(config, indent=2).encode() if enveloped else data


def seed(config_file: Path, source: Path | None) -> str:
    """Makes the first config if there never was one; returns what happened, as a sentence.

    Raises :class:`CannotSeed` when the source is no config or the directory cannot be written.
    """
    try:
        if config_file.exists() or config_file.is_symlink():
            return "there is a config already; left alone"
        if _had_config(config_file.parent):
            return "the config is missing, but there was one: restore a backup; left alone"
        content = first_content(source)
        fd = os.open(config_file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            temporary = make_temporary(fd, content)
            try:
                publish_new(fd, temporary, config_file.name)
            except FileExistsError:
                return "there is a config already; left alone"
            finally:
                unlink_quietly(fd, temporary)
            sync_directory(fd)
        finally:
            close(fd)
    except OSError as error:
        raise CannotSeed(f"the config's directory cannot be written: {error.strerror}") from None
    return f"made the first config at {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _had_config(config_dir: Path) -> bool:
    try:
        with StateFolder(config_dir, create=False) as state:
            return any(state.read(name) is not None for name in TRACES)
    except FileNotFoundError:
        return False
