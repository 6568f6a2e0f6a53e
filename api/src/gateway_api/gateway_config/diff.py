"""What a restore would change, in the words of a gateway: users, projects, keys, settings, and never a value.

Pure, and with the standard library alone: it may run in a worker. Everything is counted; only settings sections are
named, and those only by the names that the gateway gives them, because a key may stand anywhere else, as for API
keys: there the name is the secret.
"""

from __future__ import annotations

from typing import Any, Final

from gateway_api.gateway_config.schema import admin_key_in

DATA: Final = frozenset({"admin_apikey", "mcp_configs", "projects", "users", "apikeys"})
SETTINGS: Final = ("common_mcp_gateway_config", "enkrypt_config", "local_server_overrides", "plugins")
OTHER: Final = "other"


def diff(live: dict[str, Any] | None, wanted: dict[str, Any]) -> dict[str, Any]:
    """The fields of the contract's ``ConfigDiff``, from ``live`` (None: there is no config, or it cannot be read) to
    ``wanted``; both have passed ``check``."""
    old = {} if live is None else live
    old_emails, new_emails = _emails(old), _emails(wanted)
    return {
        "admin_key_changes": admin_key_in(old) != admin_key_in(wanted),
        "configs": _entries(old, wanted, "mcp_configs"),
        "projects": _entries(old, wanted, "projects"),
        "users": _entries(old, wanted, "users"),
        "emails_added": len(new_emails - old_emails),
        "emails_removed": len(old_emails - new_emails),
        "api_keys": _keys(old.get("apikeys", {}), wanted.get("apikeys", {})),
        "settings_changed": _settings(old, wanted),
    }


def _entries(old: dict[str, Any], new: dict[str, Any], section: str) -> dict[str, int]:
    before, after = old.get(section, {}), new.get(section, {})
    return {
        "added": len(after.keys() - before.keys()),
        "removed": len(before.keys() - after.keys()),
        "changed": sum(not _same(before[name], after[name]) for name in before.keys() & after.keys()),
    }


def _keys(before: dict[str, Any], after: dict[str, Any]) -> dict[str, int]:
    both = before.keys() & after.keys()
    was_off = {name for name in both if before[name].get("disabled") is True}
    is_off = {name for name in both if after[name].get("disabled") is True}
    return {
        "added": len(after.keys() - before.keys()),
        "removed": len(before.keys() - after.keys()),
        "changed": sum(not _same({**before[n], "disabled": 0}, {**after[n], "disabled": 0}) for n in both),
        "disabled": len(is_off - was_off),
        "enabled": len(was_off - is_off),
    }


def _settings(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    changed = {
        name if name in SETTINGS else OTHER
        for name in (old.keys() | new.keys()) - DATA
        if (name in old) != (name in new) or not _same(old.get(name), new.get(name))
    }
    return sorted(changed)


def _emails(config: dict[str, Any]) -> set[str]:
    found = (user.get("email") for user in config.get("users", {}).values())
    return {email for email in found if isinstance(email, str)}


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON, where ``true`` is not ``1``, however deeply it is nested."""
    waiting = [(one, other)]
    while waiting:
        a, b = waiting.pop()
        if isinstance(a, dict) and isinstance(b, dict):
            if a.keys() != b.keys():
                return False
            waiting.extend((a[name], b[name]) for name in a)
        elif isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return False
            waiting.extend(zip(a, b, strict=True))
        elif isinstance(a, bool) != isinstance(b, bool) or a != b:
            return False
    return True
