"""Counts and names the differences between two configs: users, projects, API keys and settings.

A dry run shows the result before a restore. It names MCP configs, projects and users, and the settings sections that
the gateway defines. It returns no value: an API key is itself the name of its entry, so API keys are only counted. Each
config is reduced to an outline before the next one is parsed: two large configs at once can exceed the container's
memory limit. This module is pure and imports the standard library only, because it may run in the parse worker.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from gateway_api.gateway_config.admin_keys import find_admin_keys
from gateway_api.idempotency import canonical_json

DATA: Final = frozenset({"admin_apikey", "mcp_configs", "projects", "users", "apikeys"})
"""Top-level fields that are compared on their own; all others count as settings."""
SETTINGS: Final = ("common_mcp_gateway_config", "enkrypt_config", "local_server_overrides", "plugins")
"""Settings sections that the gateway defines, and whose names are therefore no secret."""
OTHER: Final = "other"
"""Reported for every changed section of another name."""
NAME_FIELDS: Final = {"mcp_configs": "mcp_config_name", "projects": "project_name", "users": "email"}
"""The field that names an entry for a person, by section. Entries of other sections are never named."""
MAX_NAMES: Final = 50
MAX_NAME_LENGTH: Final = 128


@dataclass(frozen=True, slots=True)
class Outline:
    """The names in a config with a digest of each value, for a comparison. Much smaller than the parsed config.

    ``entries`` are those of a section, by section and id. API keys are digested without their ``disabled`` field.
    ``names`` are by section and id; an entry without a name has none.
    """

    admin_keys: frozenset[str]
    entries: dict[str, dict[str, bytes]]
    names: dict[str, dict[str, str]]
    emails: frozenset[str]
    disabled_keys: frozenset[str]
    settings: dict[str, bytes]


def outline(config: dict[str, Any]) -> Outline:
    """The outline of a config that has passed ``check``, or of an empty object."""
    keys = config.get("apikeys", {})
    users = config.get("users", {})
    emails = (user.get("email") for user in users.values())
    return Outline(
        admin_keys=frozenset(find_admin_keys(config).values()),
        entries={
            "mcp_configs": _digests(config.get("mcp_configs", {})),
            "projects": _digests(config.get("projects", {})),
            "users": _digests(users),
            "apikeys": {name: _digest({**key, "disabled": 0}) for name, key in keys.items()},
        },
        names={section: _names(config.get(section, {}), field) for section, field in NAME_FIELDS.items()},
        emails=frozenset(email for email in emails if isinstance(email, str)),
        disabled_keys=frozenset(name for name, key in keys.items() if key.get("disabled") is True),
        settings=_digests({name: value for name, value in config.items() if name not in DATA}),
    )


def diff(live: Outline | None, new: Outline) -> dict[str, Any]:
    """The fields of the contract's ``ConfigDiff`` for the change from ``live`` to ``new``.

    ``live`` is None when there is no config or it is not valid.
    """
    old = outline({}) if live is None else live
    both = old.entries["apikeys"].keys() & new.entries["apikeys"].keys()
    return {
        "admin_key_changes": old.admin_keys != new.admin_keys,
        "configs": _name_entries(old, new, "mcp_configs"),
        "projects": _name_entries(old, new, "projects"),
        "users": _name_entries(old, new, "users"),
        "emails_added": len(new.emails - old.emails),
        "emails_removed": len(old.emails - new.emails),
        "api_keys": {
            # Disabling a key has counts of its own, so it does not also count as a change.
            **{kind: len(ids) for kind, ids in _changes(old, new, "apikeys").items()},
            "disabled": len(both & (new.disabled_keys - old.disabled_keys)),
            "enabled": len(both & (old.disabled_keys - new.disabled_keys)),
        },
        "settings_changed": sorted(
            {
                name if name in SETTINGS else OTHER
                for name in old.settings.keys() | new.settings.keys()
                if old.settings.get(name) != new.settings.get(name)
            }
        ),
    }


def _changes(old: Outline, new: Outline, section: str) -> dict[str, set[str]]:
    """The ids of the entries that are added, removed and changed."""
    before, after = old.entries[section], new.entries[section]
    return {
        "added": after.keys() - before.keys(),
        "removed": before.keys() - after.keys(),
        "changed": {name for name in before.keys() & after.keys() if before[name] != after[name]},
    }


def _name_entries(old: Outline, new: Outline, section: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for kind, ids in _changes(old, new, section).items():
        names = (old if kind == "removed" else new).names[section]
        result[kind] = len(ids)
        result[f"{kind}_names"] = sorted(_printable(names.get(one, one)) for one in ids)[:MAX_NAMES]
    return result


def _names(entries: dict[str, Any], field: str) -> dict[str, str]:
    names = ((one, entry.get(field)) for one, entry in entries.items() if isinstance(entry, dict))
    return {one: name for one, name in names if isinstance(name, str) and name}


def _printable(name: str) -> str:
    """A name that a terminal can print and that JSON in UTF-8 can hold."""
    return "".join(one if one.isprintable() else "?" for one in name[:MAX_NAME_LENGTH])


def _digests(values: dict[str, Any]) -> dict[str, bytes]:
    return {name: _digest(value) for name, value in values.items()}


def _digest(value: Any) -> bytes:
    """A digest that is equal for equal JSON values, whatever the order of names. ``true`` is not ``1``."""
    hasher = hashlib.blake2b(digest_size=16)
    try:
        hasher.update(canonical_json(value))
    except RecursionError:
        _update_without_recursion(hasher, value)
    return hasher.digest()


def _update_without_recursion(hasher: hashlib.blake2b, value: Any) -> None:
    """For a value that is nested too deeply for the JSON encoder. Much slower."""
    left = [value]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            hasher.update(b"{%d" % len(part))
            for name in sorted(part):
                left += (part[name], name)
        elif isinstance(part, list):
            hasher.update(b"[%d" % len(part))
            left += part
        else:
            hasher.update(json.dumps(part).encode() + b",")
