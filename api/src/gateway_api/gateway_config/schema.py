"""Parses and validates a gateway config: which bytes are a config, and what is wrong with those that are not.

A gateway that reads a config of the wrong shape stops and does not start again. This module therefore rejects
everything that stops the gateway. It ignores fields that the gateway does not read. It reports problems that the
gateway tolerates (missing sections, dangling references) as issues.
A message never contains a value of the config. It gives the section and the id, or eight hex digits of an API key's
SHA-256. The module reads no file and imports the standard library only, because it runs in the parse worker.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice
from typing import Any, Final, NamedTuple

from gateway_api.gateway_config.admin_keys import (
    MIN_KEY_LENGTH,
    find_admin_keys,
    key_bytes,
    key_digest,
    uses_cloud_provider,
)
from gateway_api.gateway_config.features import describe_features
from gateway_api.gateway_config.json_location import find_constant, find_duplicate_key, find_large_number
from gateway_api.idempotency import canonical_json

SECTIONS: Final = ("mcp_configs", "projects", "users", "apikeys")
"""The data sections; all other top-level fields are settings."""
SIGNS_OF_A_CONFIG: Final = (*SECTIONS, "common_mcp_gateway_config", "enkrypt_config", "admin_apikey")
"""Fields of which a config has at least one. The gateway starts with any object, so this rule is ours."""
EXPECTED_LOCALLY: Final = ("common_mcp_gateway_config", "projects", "users", "apikeys")
"""Sections without which the gateway's own restore refuses a config. The gateway itself starts without them."""
MAX_ISSUES: Final = 1000
MAX_ID_LENGTH: Final = 80
"""Characters; a longer id appears in a message as a digest."""
PARSING_DEPTH: Final = 300
"""Stack depth at which JSON is always parsed. Python limits nesting by the remaining stack, so a fixed depth gives
every caller the same limit. It also leaves room for later steps that recurse over the value."""


class InvalidConfig(Exception):  # noqa: N818 - reads as what it says
    """The bytes are not a config. The message contains no value of the file.

    ``parsed`` is True if the bytes are JSON of the wrong shape, False if they are not JSON.
    """

    def __init__(self, reason: str, *, parsed: bool) -> None:
        self.parsed = parsed
        super().__init__(reason)


class SchemaIssue(NamedTuple):
    """A problem that the gateway tolerates, but that should be fixed. ``where`` is a section and an id, not a value."""

    code: str
    where: str
    message: str


class _Refused(Exception):  # noqa: N818 - reads as what it says
    """The parser accepts this, but it is no JSON. ``find`` returns its position in the text."""

    def __init__(self, reason: str, find: Callable[[str], str]) -> None:
        self.find = find
        super().__init__(reason)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _Refused("an object contains a duplicate key", find_duplicate_key)
    return result


def _no_constant(_: str) -> float:
    raise _Refused("NaN and Infinity are not JSON numbers: the first one is", find_constant)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _Refused("a number is too large", partial(find_large_number, most_digits=sys.maxsize))
    return number


def _stack_depth() -> int:
    frame, count = sys._getframe(), 0
    while frame.f_back is not None:
        frame, count = frame.f_back, count + 1
    return count


def _call_deeper(frames: int, call: Callable[[], Any]) -> Any:
    """Runs ``call`` with ``frames`` more frames on the stack."""
    return call() if frames <= 0 else _call_deeper(frames - 1, call)


def parse(data: bytes | memoryview) -> Any:
    """The JSON value in ``data``, which must be UTF-8 without byte order mark, duplicate keys or infinite numbers.

    Raises :class:`InvalidConfig` otherwise, with line and column.
    """
    if bytes(data[:3]) == b"\xef\xbb\xbf":
        raise InvalidConfig("the file begins with a byte order mark", parsed=False)
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise InvalidConfig(f"byte {error.start} is not UTF-8", parsed=False) from None
    try:
        return _call_deeper(
            PARSING_DEPTH - _stack_depth(),
            lambda: json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite),
        )
    except _Refused as error:
        raise InvalidConfig(f"{error}{error.find(text)}", parsed=False) from None
    except json.JSONDecodeError as error:
        raise InvalidConfig(f"not JSON at line {error.lineno}, column {error.colno}", parsed=False) from None
    except RecursionError:
        raise InvalidConfig("the JSON is nested too deeply", parsed=False) from None
    except ValueError:
        position = find_large_number(text, sys.get_int_max_str_digits())
        raise InvalidConfig(f"a number has too many digits{position}", parsed=False) from None


def unwrap(value: Any) -> tuple[Any, bool]:
    """The config inside the public gateway's backup envelope, and whether ``value`` was an envelope."""
    if isinstance(value, dict) and "backup_version" in value and "config" in value and "admin_apikey" not in value:
        return value["config"], True
    return value, False


def digest(data: bytes) -> str:
    """SHA-256 of ``data`` in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def sections_digest(config: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON of the four data sections. Two configs with the same data have the same digest.

    It encodes entry by entry. One call for a large config would hold the interpreter lock and delay every probe.
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


def key_label(key: str) -> str:
    """The label of an API key in a message: the first eight hex digits of its SHA-256."""
    return "sha256:" + key_digest(key_bytes(key))[:8]


def _id_label(name: str) -> str:
    return name if len(name) <= MAX_ID_LENGTH and name.isprintable() else key_label(name)


def _require_object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidConfig(f"{where} must be an object", parsed=True)
    return value


def _optional_object(parent: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    value = parent.get(name)
    return {} if value is None else _require_object(value, where)


def check(config: Any) -> dict[str, Any]:
    """Returns ``config`` if a gateway can start with it. Raises :class:`InvalidConfig` for the first problem.

    A config need not have an admin key: those of releases up to 2.1.2 have none. Then only the keys in the key file
    are accepted.
    """
    top = _require_object(config, "the config")
    if not any(name in top for name in SIGNS_OF_A_CONFIG):
        raise InvalidConfig("the object is not a gateway config: it has none of its sections", parsed=True)
    for name in ("common_mcp_gateway_config", *SECTIONS):
        if name in top:
            _require_object(top[name], name)
    for name in ("plugins", "enkrypt_config", "local_server_overrides"):
        _optional_object(top, name, name)
    plugins = _optional_object(top, "plugins", "plugins")
    for name in plugins:
        if isinstance(plugins[name], dict):
            _optional_object(plugins[name], "config", f"plugins.{_id_label(name)}.config")
    _optional_object(plugins, "auth", "plugins.auth")
    for section in SECTIONS:
        for name, entry in top.get(section, {}).items():
            if not isinstance(entry, dict):
                _require_object(entry, f"{section}.{key_label(name) if section == 'apikeys' else _id_label(name)}")
    for name, entry in top.get("mcp_configs", {}).items():
        servers = entry.get("mcp_config", [])
        if not isinstance(servers, list) or not all(isinstance(server, dict) for server in servers):
            raise InvalidConfig(f"mcp_configs.{_id_label(name)}.mcp_config must be a list of objects", parsed=True)
    for name, entry in top.get("projects", {}).items():
        if not isinstance(entry.get("users") or [], list):
            raise InvalidConfig(f"projects.{_id_label(name)}.users must be a list", parsed=True)
    return top


def find_issues(config: dict[str, Any]) -> tuple[SchemaIssue, ...]:
    """Missing sections and dangling references of a config that :func:`check` accepts, at most ``MAX_ISSUES``."""
    return tuple(islice(chain(_missing_sections(config), _dangling_references(config)), MAX_ISSUES))


def _missing_sections(config: dict[str, Any]) -> Iterator[SchemaIssue]:
    if uses_cloud_provider(config):
        return  # the gateway reads this data from a remote service
    for name in EXPECTED_LOCALLY:
        if name not in config:
            yield SchemaIssue("MissingSection", name, "is missing, so the gateway treats it as empty")


def _dangling_references(config: dict[str, Any]) -> Iterator[SchemaIssue]:
    mcp_configs, projects, users, keys = (config.get(name, {}) for name in SECTIONS)
    for name, project in projects.items():
        reference = project.get("mcp_config_id")
        if reference is not None and (not isinstance(reference, str) or reference not in mcp_configs):
            where = f"projects.{_id_label(name)}.mcp_config_id"
            yield SchemaIssue("DanglingConfig", where, "refers to an MCP config that does not exist")
        for index, user in enumerate(project.get("users") or []):
            if not isinstance(user, str) or user not in users:
                where = f"projects.{_id_label(name)}.users[{index}]"
                yield SchemaIssue("DanglingUser", where, "refers to a user that does not exist")
    for name, entry in keys.items():
        project, user = entry.get("project_id"), entry.get("user_id")
        if not isinstance(project, str) or project not in projects:
            where = f"apikeys.{key_label(name)}.project_id"
            yield SchemaIssue("DanglingProject", where, "refers to a project that does not exist")
        if not isinstance(user, str) or user not in users:
            where = f"apikeys.{key_label(name)}.user_id"
            yield SchemaIssue("DanglingUser", where, "refers to a user that does not exist")


def _usable_keys(config: dict[str, Any]) -> dict[str, str]:
    return {field: key for field, key in find_admin_keys(config).items() if len(key_bytes(key)) >= MIN_KEY_LENGTH}


def _warnings(config: dict[str, Any]) -> tuple[SchemaIssue, ...]:
    message = f"is shorter than {MIN_KEY_LENGTH} bytes, so the admin API does not accept it"
    short = find_admin_keys(config).keys() - _usable_keys(config).keys()
    return tuple(SchemaIssue("ShortAdminKey", field, message) for field in sorted(short))


def summarize(config: dict[str, Any], *, sections: bool) -> dict[str, Any]:
    """The fields of ``ConfigSummary`` as JSON values, for a config that :func:`check` accepts. Keys appear as digests.

    ``sections`` adds the digest of the data sections, which takes longer than everything else together.
    """
    keys = config.get("apikeys", {})
    return {
        "sections_digest": sections_digest(config) if sections else None,
        "counts": {
            "configs": len(config.get("mcp_configs", {})),
            "projects": len(config.get("projects", {})),
            "users": len(config.get("users", {})),
            "api_keys": len(keys),
            "disabled_api_keys": sum(1 for entry in keys.values() if entry.get("disabled") is True),
        },
        "admin_key_digests": sorted({key_digest(key_bytes(key)) for key in _usable_keys(config).values()}),
        **describe_features(config),
        "issues": find_issues(config),
        "warnings": _warnings(config),
    }


def read_admin_key(data: bytes | memoryview) -> str | None:
    """The first admin key in ``data``, also if the config is invalid. None if there is none or ``data`` is not JSON."""
    try:
        value = parse(data)
    except InvalidConfig:
        return None
    return next(iter(find_admin_keys(value).values()), None)
