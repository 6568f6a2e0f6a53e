"""The difference between two configs: counted right, told without a single value."""

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
NONE = EntryDiff(added=0, removed=0, changed=0)
SAME = ConfigDiff(
    admin_key_changes=False,
    configs=NONE,
    projects=NONE,
    users=NONE,
    emails_added=0,
    emails_removed=0,
    api_keys=KeyDiff(added=0, removed=0, changed=0, disabled=0, enabled=0),
    settings_changed=[],
)


def diff(old: dict[str, Any] | None, new: dict[str, Any]) -> ConfigDiff:
    return ConfigDiff.model_validate(config_diff.diff(old, new), strict=True)


def _changed(**expected: Any) -> ConfigDiff:
    return SAME.model_copy(update=expected)


def _gateway_key(config: dict[str, Any]) -> dict[str, Any]:
    (entry,) = config["apikeys"].values()
    assert isinstance(entry, dict)
    return entry


def _edit(what: str, config: dict[str, Any]) -> None:
    if what == "admin key":
        config["admin_apikey"] = "x" * 40
    elif what == "two users more, one fewer":
        del config["users"]["u-0"]
        config["users"] |= {"n-1": {"email": "n1@example.com"}, "n-2": {"email": "n2@example.com"}}
    elif what == "a user of another id":
        config["users"]["other"] = config["users"].pop("u-0")
    elif what == "a key disabled":
        _gateway_key(config)["disabled"] = True
    elif what == "a key moved":
        _gateway_key(config)["project_id"] = "p-1"
    elif what == "another key":
        config["apikeys"] = {"another": _gateway_key(config)}
    elif what == "a server":
        config["mcp_configs"]["c-0"]["mcp_config"][0]["config"] = {"env": {"TOKEN": "secret"}}
    elif what == "one for true":
        config["common_mcp_gateway_config"]["enkrypt_mcp_use_external_cache"] = 0
    elif what == "settings":
        config["plugins"] = {}
        config["enkrypt_config"]["api_key"] = "secret"
        config["secret-name"] = None


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("nothing", SAME),
        ("admin key", _changed(admin_key_changes=True)),
        (
            "two users more, one fewer",
            _changed(users=EntryDiff(added=2, removed=1, changed=0), emails_added=2, emails_removed=1),
        ),
        ("a user of another id", _changed(users=EntryDiff(added=1, removed=1, changed=0))),
        ("a key disabled", _changed(api_keys=KeyDiff(added=0, removed=0, changed=0, disabled=1, enabled=0))),
        ("a key moved", _changed(api_keys=KeyDiff(added=0, removed=0, changed=1, disabled=0, enabled=0))),
        ("another key", _changed(api_keys=KeyDiff(added=1, removed=1, changed=0, disabled=0, enabled=0))),
        ("a server", _changed(configs=EntryDiff(added=0, removed=0, changed=1))),
        ("one for true", _changed(settings_changed=["common_mcp_gateway_config"])),
        ("settings", _changed(settings_changed=["enkrypt_config", "other", "plugins"])),
    ],
)
def test_each_change_is_counted_where_it_is(what: str, expected: ConfigDiff) -> None:
    old = gateway_config(KEY)
    new = copy.deepcopy(old)
    _edit(what, new)
    assert diff(old, new) == expected


def test_against_nothing_everything_is_added() -> None:
    found = diff(None, gateway_config(KEY, projects=3, users=4))
    assert found.admin_key_changes
    assert (found.users.added, found.projects.added, found.configs.added, found.api_keys.added) == (4, 3, 1, 1)


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
def test_both_ways_the_numbers_mirror_each_other(one: dict[str, Any], other: dict[str, Any]) -> None:
    there, back = diff(one, other), diff(other, one)
    assert diff(one, one) == SAME
    assert there.settings_changed == back.settings_changed
    for section in ("configs", "projects", "users", "api_keys"):
        a, b = getattr(there, section), getattr(back, section)
        assert (a.added, a.removed, a.changed) == (b.removed, b.added, b.changed)
    assert (there.api_keys.disabled, there.emails_added) == (back.api_keys.enabled, back.emails_removed)
    assert len(other["users"]) - len(one["users"]) == there.users.added - there.users.removed


def test_no_value_of_either_config_stands_in_it() -> None:
    canary = "canary-value"
    text = json.dumps(gateway_config(canary)).replace("example.com", canary).replace("INFO", canary)
    new = json.loads(text.replace("u-0", f"u-{canary}").replace("gateway-key", canary))
    new[canary] = {canary: canary}
    assert canary not in diff(gateway_config(KEY), new).model_dump_json()
