"""Counts the differences between two configs: users, projects, API keys and settings. It never returns a value.

A dry run shows the result before a restore. Only settings sections appear by name, and only names that the gateway
defines. Any other name may be a secret: an API key is itself the name of its entry. Each config is reduced to an
outline before the next one is parsed: two large configs at once can exceed the container's memory limit. This
module is pure and imports the standard library only, because it may run in the parse worker.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from gateway_api.gateway_config.admin_keys import find_admin_keys

DATA: Final = frozenset({"admin_apikey", "mcp_configs", "projects", "users", "apikeys"})
"""Top-level fields that are compared on their own; all others count as settings."""
SETTINGS: Final = ("common_mcp_gateway_config", "enkrypt_config", "local_server_overrides", "plugins")
"""Settings sections that the gateway defines, and whose names are therefore no secret."""
OTHER: Final = "other"
"""Reported for every changed section of another name."""


@dataclass(frozen=True, slots=True)
class Outline:
    """The names in a config with a digest of each value, for a comparison. Much smaller than the parsed config.

    ``entries`` are those of a section, by section and name. API keys are digested without their ``disabled`` field.
    """

    admin_keys: frozenset[str]
    entries: dict[str, dict[str, bytes]]
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
        "configs": _count_entries(old, new, "mcp_configs"),
        "projects": _count_entries(old, new, "projects"),
        "users": _count_entries(old, new, "users"),
        "emails_added": len(new.emails - old.emails),
        "emails_removed": len(old.emails - new.emails),
        "api_keys": {
            # Disabling a key has counts of its own, so it does not also count as a change.
            **_count_entries(old, new, "apikeys"),
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


def _count_entries(old: Outline, new: Outline, section: str) -> dict[str, int]:
    before, after = old.entries[section], new.entries[section]
    return {
        "added": len(after.keys() - before.keys()),
        "removed": len(before.keys() - after.keys()),
        "changed": sum(before[name] != after[name] for name in before.keys() & after.keys()),
    }


def _digests(values: dict[str, Any]) -> dict[str, bytes]:
    return {name: _digest(value) for name, value in values.items()}


def _digest(value: Any) -> bytes:
    """A digest that is equal for equal JSON values, whatever the order of names. ``true`` is not ``1``."""
    hasher = hashlib.blake2b(digest_size=16)
    try:
        hasher.update(json.dumps(value, sort_keys=True).encode())
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
