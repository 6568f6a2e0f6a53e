"""What makes a file a gateway config: parsing and judging, without reading or writing anything.

The real gateway is stopped for good by a config of the wrong shape, so this is strict where it would die, silent
where it does not look, and reports what it survives (dangling references) as issues. Values never enter a message:
a place in the file is named by section and id, an API key by eight digits of its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any, Final

from .contract import Counts, Issue

SECTIONS: Final = ("mcp_configs", "projects", "users", "apikeys")
MIN_KEY_LENGTH: Final = 32
MAX_ISSUES: Final = 1000
MAX_ID_LENGTH: Final = 80


class NotAConfig(Exception):  # noqa: N818 - reads as what it says
    """The bytes are no config. ``parsed`` tells a wrong shape from broken JSON; the text holds no value of the file."""

    def __init__(self, why: str, *, parsed: bool) -> None:
        self.parsed = parsed
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class Summary:
    """All that is remembered of a config once it has been read. Digests are lower-case hex SHA-256."""

    sha256: str
    size: int
    sections_digest: str
    counts: Counts
    admin_key_sha256: str
    cache_enabled: bool
    cache_type: str
    telemetry_enabled: bool
    guardrails_configured: bool
    issues: tuple[Issue, ...] = ()
    warnings: tuple[Issue, ...] = ()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise NotAConfig("an object names the same key twice", parsed=False)
    return result


def _no_constant(_: str) -> float:
    raise NotAConfig("NaN or Infinity is no JSON number", parsed=False)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotAConfig("a number is too large", parsed=False)
    return number


def parse(data: bytes) -> Any:
    """The JSON value in ``data``: strict UTF-8, no byte order mark, no duplicate keys, only finite numbers.

    Raises :class:`NotAConfig` for everything else, with the line and column where there is one.
    """
    if data.startswith(b"\xef\xbb\xbf"):
        raise NotAConfig("the file begins with a byte order mark", parsed=False)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotAConfig(f"byte {error.start} is not UTF-8", parsed=False) from None
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise NotAConfig(f"not JSON at line {error.lineno}, column {error.colno}", parsed=False) from None
    except RecursionError:
        raise NotAConfig("the JSON is nested too deeply", parsed=False) from None
    except ValueError:
        raise NotAConfig("a number has too many digits", parsed=False) from None


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
            hasher.update(f"{',' if index else ''}{_canonical(name)}:{_canonical(entries[name])}".encode())
        hasher.update(b"}")
    hasher.update(b"}")
    return hasher.hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def key_name(key: str) -> str:
    """How a message names an API key."""
    return "sha256:" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _id(name: str) -> str:
    return name if len(name) <= MAX_ID_LENGTH and name.isprintable() else key_name(name)


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise NotAConfig(f"{where} must be an object", parsed=True)
    return value


def _optional_object(parent: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    value = parent.get(name)
    return {} if value is None else _object(value, where)


@dataclass(slots=True)
class _Findings:
    issues: list[Issue] = field(default_factory=list)

    def add(self, code: str, where: str, message: str) -> None:
        if len(self.issues) < MAX_ISSUES:
            self.issues.append(Issue(code=code, where=where, message=message))


def check(config: Any) -> dict[str, Any]:
    """``config`` if a gateway could start with it. Raises :class:`NotAConfig` at the first place where not."""
    top = _object(config, "the config")
    key = top.get("admin_apikey")
    if not isinstance(key, str) or not key.strip():
        raise NotAConfig("admin_apikey must be a string that is not empty", parsed=True)
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
            raise NotAConfig(f"{section} is missing", parsed=True)
        for name, entry in _object(top[section], section).items():
            _object(entry, f"{section}.{key_name(name) if section == 'apikeys' else _id(name)}")
    for name, entry in top.get("mcp_configs", {}).items():
        servers = entry.get("mcp_config", [])
        if not isinstance(servers, list) or not all(isinstance(server, dict) for server in servers):
            raise NotAConfig(f"mcp_configs.{_id(name)}.mcp_config must be a list of objects", parsed=True)
    for name, entry in top.get("projects", {}).items():
        if not isinstance(entry.get("users") or [], list):
            raise NotAConfig(f"projects.{_id(name)}.users must be a list", parsed=True)
    return top


def find_issues(config: dict[str, Any]) -> tuple[Issue, ...]:
    """What the gateway survives but a person should mend: references to things that are not there."""
    found = _Findings()
    mcp_configs, projects, users, keys = (config.get(name, {}) for name in SECTIONS)
    for name, project in projects.items():
        reference = project.get("mcp_config_id")
        if reference is not None and (not isinstance(reference, str) or reference not in mcp_configs):
            found.add("DanglingConfig", f"projects.{_id(name)}.mcp_config_id", "names an MCP config that is not there")
        for index, user in enumerate(project.get("users") or []):
            if not isinstance(user, str) or user not in users:
                found.add("DanglingUser", f"projects.{_id(name)}.users[{index}]", "names a user that is not there")
    for name, entry in keys.items():
        where = f"apikeys.{key_name(name)}"
        if not isinstance(entry.get("project_id"), str) or entry["project_id"] not in projects:
            found.add("DanglingProject", f"{where}.project_id", "names a project that is not there")
        if not isinstance(entry.get("user_id"), str) or entry["user_id"] not in users:
            found.add("DanglingUser", f"{where}.user_id", "names a user that is not there")
    return tuple(found.issues)


def _warnings(config: dict[str, Any]) -> tuple[Issue, ...]:
    if len(config["admin_apikey"].encode("utf-8", "surrogatepass")) < MIN_KEY_LENGTH:
        return (
            Issue(
                code="ShortAdminKey",
                where="admin_apikey",
                message=f"is shorter than {MIN_KEY_LENGTH} bytes, so this API does not accept it",
            ),
        )
    return ()


def _enabled(server: dict[str, Any], name: str) -> bool:
    value = server.get(name)
    return isinstance(value, dict) and value.get("enabled") is True


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and value > 0


def summarize(data: bytes, config: dict[str, Any]) -> Summary:
    """The summary of a config that :func:`check` has passed; ``data`` are the bytes it was read from."""
    common = config["common_mcp_gateway_config"]
    keys = config.get("apikeys", {})
    telemetry = _optional_object(_optional_object(config, "plugins", "plugins"), "telemetry", "plugins.telemetry")
    settings = telemetry.get("config")
    servers = [
        server for entry in config.get("mcp_configs", {}).values() for server in entry.get("mcp_config", []) or []
    ]
    return Summary(
        sha256=digest(data),
        size=len(data),
        sections_digest=sections_digest(config),
        counts=Counts(
            configs=len(config.get("mcp_configs", {})),
            projects=len(config.get("projects", {})),
            users=len(config.get("users", {})),
            api_keys=len(keys),
            disabled_api_keys=sum(1 for entry in keys.values() if entry.get("disabled") is True),
        ),
        admin_key_sha256=hashlib.sha256(config["admin_apikey"].encode("utf-8", "surrogatepass")).hexdigest(),
        cache_enabled=_positive(common.get("enkrypt_tool_cache_expiration", 4))
        or _positive(common.get("enkrypt_gateway_cache_expiration", 24)),
        cache_type="external" if common.get("enkrypt_mcp_use_external_cache") is True else "local",
        telemetry_enabled=isinstance(settings, dict) and settings.get("enabled") is True,
        guardrails_configured=any(
            _enabled(server, "input_guardrails_config") or _enabled(server, "output_guardrails_config")
            for server in servers
        ),
        issues=find_issues(config),
        warnings=_warnings(config),
    )


def read(data: bytes) -> Summary:
    """Parses, checks and summarizes a live config. Raises :class:`NotAConfig`."""
    return summarize(data, check(parse(data)))
