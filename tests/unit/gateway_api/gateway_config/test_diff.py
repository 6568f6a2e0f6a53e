"""The difference between two configs has exact counts and names, and contains no value of either config."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_api.contract import ConfigDiff, EntryDiff, KeyDiff
from gateway_api.gateway_config import diff as config_diff
from tests.api.support.admin_process import gateway_config

KEY = "k" * 40
NO_CHANGE = EntryDiff(added=0, removed=0, changed=0)
SAME = ConfigDiff(
    admin_key_changes=False,
    configs=NO_CHANGE,
    projects=NO_CHANGE,
    users=NO_CHANGE,
    emails_added=0,
    emails_removed=0,
    api_keys=KeyDiff(added=0, removed=0, changed=0, disabled=0, enabled=0),
    settings_changed=[],
)


def diff(old: dict[str, Any] | None, new: dict[str, Any]) -> ConfigDiff:
    before = None if old is None else config_diff.outline(old)
    return ConfigDiff.model_validate(config_diff.diff(before, config_diff.outline(new)), strict=True)


def _changed(**expected: Any) -> ConfigDiff:
    return SAME.model_copy(update=expected)


def _gateway_key(config: dict[str, Any]) -> dict[str, Any]:
    (entry,) = config["apikeys"].values()
    assert isinstance(entry, dict)
    return entry


def _edit(change: str, config: dict[str, Any]) -> None:
    if change == "admin key":
        config["admin_apikey"] = "x" * 40
    elif change == "two users added, one removed":
        del config["users"]["u-0"]
        config["users"] |= {"n-1": {"email": "n1@example.com"}, "n-2": {"email": "n2@example.com"}}
    elif change == "a user under another id":
        config["users"]["other"] = config["users"].pop("u-0")
    elif change == "an API key disabled":
        _gateway_key(config)["disabled"] = True
    elif change == "an API key in another project":
        _gateway_key(config)["project_id"] = "p-1"
    elif change == "an API key replaced":
        config["apikeys"] = {"another": _gateway_key(config)}
    elif change == "a setting of an MCP server":
        config["mcp_configs"]["c-0"]["mcp_config"][0]["config"] = {"env": {"TOKEN": "secret"}}
    elif change == "a number instead of a boolean":
        config["common_mcp_gateway_config"]["enkrypt_mcp_use_external_cache"] = 0
    elif change == "settings":
        config["plugins"] = {}
        config["enkrypt_config"]["api_key"] = "secret"
        config["secret-name"] = None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("nothing", SAME),
        ("admin key", _changed(admin_key_changes=True)),
        (
            "two users added, one removed",
            _changed(
                users=EntryDiff(
                    added=2,
                    removed=1,
                    changed=0,
                    added_names=["n1@example.com", "n2@example.com"],
                    removed_names=["user-0@example.com"],
                ),
                emails_added=2,
                emails_removed=1,
            ),
        ),
        (
            "a user under another id",
            _changed(
                users=EntryDiff(
                    added=1,
                    removed=1,
                    changed=0,
                    added_names=["user-0@example.com"],
                    removed_names=["user-0@example.com"],
                )
            ),
        ),
        ("an API key disabled", _changed(api_keys=KeyDiff(added=0, removed=0, changed=0, disabled=1, enabled=0))),
        (
            "an API key in another project",
            _changed(api_keys=KeyDiff(added=0, removed=0, changed=1, disabled=0, enabled=0)),
        ),
        ("an API key replaced", _changed(api_keys=KeyDiff(added=1, removed=1, changed=0, disabled=0, enabled=0))),
        (
            "a setting of an MCP server",
            _changed(configs=EntryDiff(added=0, removed=0, changed=1, changed_names=["default_config"])),
        ),
        ("a number instead of a boolean", _changed(settings_changed=["common_mcp_gateway_config"])),
        ("settings", _changed(settings_changed=["enkrypt_config", "other", "plugins"])),
    ],
)
def test_each_change_is_counted_in_its_section(change: str, expected: ConfigDiff) -> None:
    old = gateway_config(KEY)
    new = copy.deepcopy(old)
    _edit(change, new)
    assert diff(old, new) == expected


def test_without_a_live_config_everything_is_added() -> None:
    result = diff(None, gateway_config(KEY, projects=3, users=4))
    assert result.admin_key_changes
    assert (result.users.added, result.projects.added, result.configs.added, result.api_keys.added) == (4, 3, 1, 1)


NAMES = st.text(max_size=8)
ENTRIES = st.dictionaries(NAMES, st.dictionaries(NAMES, st.none() | st.booleans() | st.integers() | NAMES, max_size=3))
CONFIGS = st.fixed_dictionaries(
    {
        "admin_apikey": NAMES,
        "common_mcp_gateway_config": st.dictionaries(NAMES, st.integers()),
        "mcp_configs": ENTRIES,
        "projects": ENTRIES,
        "users": ENTRIES,
        "apikeys": ENTRIES,
    }
)


@given(CONFIGS, CONFIGS)
def test_diff_in_the_other_direction_swaps_the_counts(one: dict[str, Any], other: dict[str, Any]) -> None:
    forward, backward = diff(one, other), diff(other, one)
    assert diff(one, one) == SAME
    assert forward.settings_changed == backward.settings_changed
    for section in ("configs", "projects", "users", "api_keys"):
        a, b = getattr(forward, section), getattr(backward, section)
        assert (a.added, a.removed, a.changed) == (b.removed, b.added, b.changed)
    assert (forward.api_keys.disabled, forward.emails_added) == (backward.api_keys.enabled, backward.emails_removed)
    assert len(other["users"]) - len(one["users"]) == forward.users.added - forward.users.removed


def test_diff_contains_no_credential_and_no_setting() -> None:
    canary = "canary-value"
    text = json.dumps(gateway_config(canary)).replace("INFO", canary).replace("echo", canary)
    new = json.loads(text.replace("gateway-key", canary))
    new[canary] = {canary: canary}
    new["users"]["u-0"]["note"] = canary
    new["mcp_configs"]["c-0"]["mcp_config"][0]["config"] = {"env": {"TOKEN": canary}}
    assert canary not in diff(gateway_config(KEY), new).model_dump_json()


@pytest.mark.parametrize(
    ("user", "name"),
    [
        ({"email": "a@example.com"}, "a@example.com"),
        ({}, "id"),
        ({"email": None}, "id"),
        ({"email": ["a"]}, "id"),
        ({"email": "red\x1b[31m\ud800"}, "red?[31m?"),
        ({"email": "x" * 500}, "x" * 128),
    ],
)
def test_entries_have_a_printable_name(user: dict[str, Any], name: str) -> None:
    assert diff({}, {"users": {"id": user}}).users.added_names == [name]


def test_at_most_fifty_names_are_listed() -> None:
    users = diff({}, {"users": {f"u-{n:03}": {} for n in range(80)}}).users
    assert (users.added, users.added_names) == (80, [f"u-{n:03}" for n in range(50)])
