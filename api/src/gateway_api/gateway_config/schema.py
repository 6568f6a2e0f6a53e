"""What makes a file a gateway config: parsing and judging, without reading or writing anything, and with the standard
library alone, so that a worker process starts at once.

The real gateway is stopped for good by a config of the wrong shape, so this is strict where it would die, silent
where it does not look, and reports what it survives (dangling references) as issues. Values never enter a message:
a place in the file is named by section and id, an API key by eight digits of its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple

from gateway_api.idempotency import canonical_json

SECTIONS: Final = ("mcp_configs", "projects", "users", "apikeys")
MIN_KEY_LENGTH: Final = 32
MAX_ISSUES: Final = 1000
MAX_ID_LENGTH: Final = 80
PARSING_DEPTH: Final = 300
"""Frames above which no JSON is parsed: how deeply it may be nested is the same for all who read it, and what is done
with it later has as much room."""


class InvalidConfig(Exception):  # noqa: N818 - reads as what it says
    """The bytes are no config. ``parsed`` tells a wrong shape from broken JSON; the text holds no value of the file."""

    def __init__(self, why: str, *, parsed: bool) -> None:
        self.parsed = parsed
        super().__init__(why)


class SchemaIssue(NamedTuple):
    """What a gateway survives but a person should mend. ``where`` names a place by section and id, never a value."""

    code: str
    where: str
    message: str


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise InvalidConfig("an object names the same key twice", parsed=False)
    return result


def _no_constant(_: str) -> float:
    raise InvalidConfig("NaN or Infinity is no JSON number", parsed=False)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidConfig("a number is too large", parsed=False)
    return number


def _frames() -> int:
    frame, count = sys._getframe(), 0
    while frame.f_back is not None:
        frame, count = frame.f_back, count + 1
    return count


def _below(frames: int, call: Callable[[], Any]) -> Any:
    return call() if frames <= 0 else _below(frames - 1, call)


def parse(data: bytes | memoryview) -> Any:
    """The JSON value in ``data``: strict UTF-8, no byte order mark, no duplicate keys, only finite numbers.

    Raises :class:`InvalidConfig` for everything else, with the line and column where there is one.
    """
    if bytes(data[:3]) == b"\xef\xbb\xbf":
        raise InvalidConfig("the file begins with a byte order mark", parsed=False)
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise InvalidConfig(f"byte {error.start} is not UTF-8", parsed=False) from None
    try:
        return _below(
            PARSING_DEPTH - _frames(),
            lambda: json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite),
        )
    except json.JSONDecodeError as error:
        raise InvalidConfig(f"not JSON at line {error.lineno}, column {error.colno}", parsed=False) from None
    except RecursionError:
        raise InvalidConfig("the JSON is nested too deeply", parsed=False) from None
    except ValueError:
        raise InvalidConfig("a number has too many digits", parsed=False) from None


def unwrap(value: Any) -> tuple[Any, bool]:
    """The config inside the public gateway's backup envelope, and whether there was an envelope."""
    if isinstance(value, dict) and "backup_version" in value and "config" in value and "admin_apikey" not in value:
        return value["config"], True
    return value, False


def digest(data: bytes) -> str:
    """SHA-256 in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def sections_digest(config: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON of the four data sections: equal for two configs that hold the same data.

    Written entry by entry, because one call for a large config would hold the interpreter, and with it every probe.
    """
    hasher = hashlib.sha256()
    for number, section in enumerate(sorted(SECTIONS)):
        hasher.update(f'{"," if number else "{"}"{section}":'.encode() + b"{")
        entries = config.get(section, {})
        for index, name in enumerate(sorted(entries)):
            hasher.update((b"," if index else b"") + canonical_json(name) + b":" + canonical_json(entries[name]))
        hasher.update(b"}")
    hasher.update(b"}")
    return hasher.hexdigest()


def key_digest(key: str) -> str:
    """What is remembered of an admin key: SHA-256 in lower-case hex."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def key_name(key: str) -> str:
    """How a message names an API key."""
    return "sha256:" + key_digest(key)[:8]


def _id(name: str) -> str:
    return name if len(name) <= MAX_ID_LENGTH and name.isprintable() else key_name(name)


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidConfig(f"{where} must be an object", parsed=True)
    return value


def _optional_object(parent: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    value = parent.get(name)
    return {} if value is None else _object(value, where)


def admin_key_in(config: dict[str, Any]) -> Any:
    """The admin key, whatever its type: at the top, or where old releases had it and 2.2 still looks."""
    key = config.get("admin_apikey")
    old = config.get("enkrypt_config")
    return old.get("admin_apikey") if key is None and isinstance(old, dict) else key


def check(config: Any) -> dict[str, Any]:
    """``config`` if a gateway could start with it. Raises :class:`InvalidConfig` at the first place where not."""
    top = _object(config, "the config")
    key = admin_key_in(top)
    if not isinstance(key, str) or not key.strip():
        raise InvalidConfig("admin_apikey must be a string that is not empty", parsed=True)
    _object(top.get("common_mcp_gateway_config"), "common_mcp_gateway_config")
    for name in ("plugins", "enkrypt_config", "local_server_overrides"):
        _optional_object(top, name, name)
    plugins = _optional_object(top, "plugins", "plugins")
    for name in plugins:
        if isinstance(plugins[name], dict):
            _optional_object(plugins[name], "config", f"plugins.{_id(name)}.config")
    auth = _optional_object(plugins, "auth", "plugins.auth")
    remote = auth.get("provider") == "enkrypt"
    for section in SECTIONS:
        if section not in top and remote:
            continue
        if section not in top:
            raise InvalidConfig(f"{section} is missing", parsed=True)
        for name, entry in _object(top[section], section).items():
            if not isinstance(entry, dict):
                _object(entry, f"{section}.{key_name(name) if section == 'apikeys' else _id(name)}")
    for name, entry in top.get("mcp_configs", {}).items():
        servers = entry.get("mcp_config", [])
        if not isinstance(servers, list) or not all(isinstance(server, dict) for server in servers):
            raise InvalidConfig(f"mcp_configs.{_id(name)}.mcp_config must be a list of objects", parsed=True)
    for name, entry in top.get("projects", {}).items():
        if not isinstance(entry.get("users") or [], list):
            raise InvalidConfig(f"projects.{_id(name)}.users must be a list", parsed=True)
    return top


def find_issues(config: dict[str, Any]) -> tuple[SchemaIssue, ...]:
    """What the gateway survives but a person should mend: references to things that are not there."""
    return tuple(islice(_dangling(config), MAX_ISSUES))


def _dangling(config: dict[str, Any]) -> Iterator[SchemaIssue]:
    mcp_configs, projects, users, keys = (config.get(name, {}) for name in SECTIONS)
    for name, project in projects.items():
        reference = project.get("mcp_config_id")
        if reference is not None and (not isinstance(reference, str) or reference not in mcp_configs):
            where = f"projects.{_id(name)}.mcp_config_id"
            yield SchemaIssue("DanglingConfig", where, "names an MCP config that is not there")
        for index, user in enumerate(project.get("users") or []):
            if not isinstance(user, str) or user not in users:
                yield SchemaIssue(
                    "DanglingUser", f"projects.{_id(name)}.users[{index}]", "names a user that is not there"
                )
    for name, entry in keys.items():
        project, user = entry.get("project_id"), entry.get("user_id")
        if not isinstance(project, str) or project not in projects:
            where = f"apikeys.{key_name(name)}.project_id"
            yield SchemaIssue("DanglingProject", where, "names a project that is not there")
        if not isinstance(user, str) or user not in users:
            yield SchemaIssue("DanglingUser", f"apikeys.{key_name(name)}.user_id", "names a user that is not there")


def _warnings(config: dict[str, Any]) -> tuple[SchemaIssue, ...]:
    if len(admin_key_in(config).encode("utf-8", "surrogatepass")) < MIN_KEY_LENGTH:
        message = f"is shorter than {MIN_KEY_LENGTH} bytes, so this API does not accept it"
        return (SchemaIssue("ShortAdminKey", "admin_apikey", message),)
    return ()


def _enabled(server: dict[str, Any], name: str) -> bool:
    value = server.get(name)
    return isinstance(value, dict) and value.get("enabled") is True


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and value > 0


def summarize(config: dict[str, Any], *, sections: bool) -> dict[str, Any]:
    """All that is remembered of a config that :func:`check` has passed, as JSON has it; no key, only digests.

    ``sections`` asks for their digest, which takes longer than all the rest.
    """
    common = config["common_mcp_gateway_config"]
    keys = config.get("apikeys", {})
    telemetry = _optional_object(_optional_object(config, "plugins", "plugins"), "telemetry", "plugins.telemetry")
    settings = telemetry.get("config")
    servers = [
        server for entry in config.get("mcp_configs", {}).values() for server in entry.get("mcp_config", []) or []
    ]
    return {
        "sections_digest": sections_digest(config) if sections else None,
        "counts": {
            "configs": len(config.get("mcp_configs", {})),
            "projects": len(config.get("projects", {})),
            "users": len(config.get("users", {})),
            "api_keys": len(keys),
            "disabled_api_keys": sum(1 for entry in keys.values() if entry.get("disabled") is True),
        },
        "admin_key_sha256": key_digest(admin_key_in(config)),
        "cache_enabled": _positive(common.get("enkrypt_tool_cache_expiration", 4))
        or _positive(common.get("enkrypt_gateway_cache_expiration", 24)),
        "cache_type": "external" if common.get("enkrypt_mcp_use_external_cache") is True else "local",
        "telemetry_enabled": isinstance(settings, dict) and settings.get("enabled") is True,
        "guardrails_configured": any(
            _enabled(server, "input_guardrails_config") or _enabled(server, "output_guardrails_config")
            for server in servers
        ),
        "issues": find_issues(config),
        "warnings": _warnings(config),
    }


def admin_key_of(data: bytes | memoryview) -> str | None:
    """The admin key of a config, also of one of the wrong shape; None when it cannot be told."""
    try:
        value = parse(data)
    except InvalidConfig:
        return None
    key = admin_key_in(value) if isinstance(value, dict) else None
    return key if isinstance(key, str) and key.strip() else None
