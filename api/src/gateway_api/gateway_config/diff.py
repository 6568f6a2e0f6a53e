"""Counts the differences between two configs: users, projects, API keys and settings. It never returns a value.

A dry run shows the result before a restore. Only settings sections appear by name, and only names that the gateway
defines. Any other name may be a secret: an API key is itself the name of its entry. This module is pure and imports
the standard library only, because it may run in the parse worker.
"""

from __future__ import annotations

from typing import Any, Final

from gateway_api.gateway_config.schema import get_admin_key

DATA: Final = frozenset({"admin_apikey", "mcp_configs", "projects", "users", "apikeys"})
"""Top-level fields that are compared on their own; all others count as settings."""
SETTINGS: Final = ("common_mcp_gateway_config", "enkrypt_config", "local_server_overrides", "plugins")
"""Settings sections that the gateway defines, and whose names are therefore no secret."""
OTHER: Final = "other"
"""Reported for every changed section of another name."""


def diff(live: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """The fields of the contract's ``ConfigDiff`` for the change from ``live`` to ``new``.

    Both have passed ``check``. ``live`` is None when there is no config or it is not valid.
    """
    old = {} if live is None else live
    old_emails, new_emails = _emails(old), _emails(new)
    return {
        "admin_key_changes": get_admin_key(old) != get_admin_key(new),
        "configs": _count_entries(old, new, "mcp_configs"),
        "projects": _count_entries(old, new, "projects"),
        "users": _count_entries(old, new, "users"),
        "emails_added": len(new_emails - old_emails),
        "emails_removed": len(old_emails - new_emails),
        "api_keys": _count_api_keys(old.get("apikeys", {}), new.get("apikeys", {})),
        "settings_changed": _changed_settings(old, new),
    }


def _count_entries(old: dict[str, Any], new: dict[str, Any], section: str) -> dict[str, int]:
    before, after = old.get(section, {}), new.get(section, {})
    return {
        "added": len(after.keys() - before.keys()),
        "removed": len(before.keys() - after.keys()),
        "changed": sum(not _same(before[name], after[name]) for name in before.keys() & after.keys()),
    }


def _count_api_keys(before: dict[str, Any], after: dict[str, Any]) -> dict[str, int]:
    both = before.keys() & after.keys()
    were_disabled = {name for name in both if before[name].get("disabled") is True}
    are_disabled = {name for name in both if after[name].get("disabled") is True}
    return {
        "added": len(after.keys() - before.keys()),
        "removed": len(before.keys() - after.keys()),
        # Disabling a key has counts of its own, so it does not also count as a change.
        "changed": sum(not _same({**before[n], "disabled": 0}, {**after[n], "disabled": 0}) for n in both),
        "disabled": len(are_disabled - were_disabled),
        "enabled": len(were_disabled - are_disabled),
    }


def _changed_settings(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    changed = {
        name if name in SETTINGS else OTHER
        for name in (old.keys() | new.keys()) - DATA
        if (name in old) != (name in new) or not _same(old.get(name), new.get(name))
    }
    return sorted(changed)


def _emails(config: dict[str, Any]) -> set[str]:
    emails = (user.get("email") for user in config.get("users", {}).values())
    return {email for email in emails if isinstance(email, str)}


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal as JSON, where ``true`` is not ``1``. Works without recursion at any depth."""
    pairs = [(one, other)]
    while pairs:
        a, b = pairs.pop()
        if isinstance(a, dict) and isinstance(b, dict):
            if a.keys() != b.keys():
                return False
            pairs.extend((a[name], b[name]) for name in a)
        elif isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return False
            pairs.extend(zip(a, b, strict=True))
        elif isinstance(a, bool) != isinstance(b, bool) or a != b:
            return False
    return True
