"""The schema check accepts what a gateway can start with and reports the location of every other problem."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_api.gateway_config.schema import (
    SECTIONS,
    InvalidConfig,
    check,
    digest,
    find_issues,
    key_label,
    parse,
    sections_digest,
    unwrap,
)
from gateway_api.gateway_config.summary import read

KEY = "k" * 64
CLOUD = {"auth": {"provider": "enkrypt"}}


def config(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "admin_apikey": KEY,
        "common_mcp_gateway_config": {},
        "mcp_configs": {"c": {"mcp_config": []}},
        "projects": {"p": {"mcp_config_id": "c", "users": ["u"]}},
        "users": {"u": {}},
        "apikeys": {"secret": {"project_id": "p", "user_id": "u"}},
    }
    whole.update(changes)
    return {name: value for name, value in whole.items() if value is not ...}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xef\xbb\xbf{}",
        b'{"a": "\xff"}',
        b'{"a": 1, "a": 1}',
        b'{"a": {"b": 1, "b": 2}}',
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e999]",
        b"[" + b"9" * 5000 + b"]",
        b"[" * 100_000,
        b"{} {}",
    ],
)
def test_invalid_json_is_rejected(data: bytes) -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse(data)
    assert not caught.value.parsed


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"common_mcp_gateway_config": None}, "common_mcp_gateway_config"),
        ({"common_mcp_gateway_config": []}, "common_mcp_gateway_config"),
        ({"users": None}, "users"),
        ({"users": []}, "users"),
        ({"users": {"u": 5}}, "users.u"),
        ({"projects": {"p": {"users": "u"}}}, "projects.p.users"),
        ({"mcp_configs": {"c": {"mcp_config": {}}}}, "mcp_configs.c.mcp_config"),
        ({"mcp_configs": {"c": {"mcp_config": [5]}}}, "mcp_configs.c.mcp_config"),
        ({"plugins": []}, "plugins"),
        ({"plugins": {"auth": 5}}, "plugins.auth"),
        ({"plugins": {"telemetry": {"config": 5}}}, "plugins.telemetry.config"),
        ({"enkrypt_config": "x"}, "enkrypt_config"),
        ({"local_server_overrides": []}, "local_server_overrides"),
        ({"plugins": {"auth": {"provider": "enkrypt"}}, "users": 5}, "users"),
    ],
)
def test_wrong_shape_is_reported_with_its_location(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        check(config(**changes))
    assert str(caught.value).startswith(where + " ")
    assert caught.value.parsed


@pytest.mark.parametrize(
    ("changes", "keys", "issues"),
    [
        ({}, 1, []),
        ({"_doc_anything": 5, "local_server_overrides": {"x": 1}}, 1, []),
        ({"plugins": None, "enkrypt_config": None}, 1, []),
        ({"projects": {"p": {"mcp_config_id": None}}}, 1, []),
        ({"admin_apikey": ...}, 0, []),
        ({"admin_apikey": ""}, 0, []),
        ({"admin_apikey": "  "}, 0, []),
        ({"admin_apikey": 5}, 0, []),
        ({"admin_apikey": ..., "enkrypt_config": {"admin_apikey": "o" * 40}}, 1, []),
        ({"enkrypt_config": {"admin_apikey": "o" * 40, "api_key": "c" * 40}}, 2, []),
        ({"enkrypt_config": {"admin_apikey": KEY}}, 1, []),
        ({"plugins": CLOUD, "enkrypt_config": {"admin_apikey": "o" * 40, "api_key": "c" * 40}}, 3, []),
        ({"plugins": CLOUD, "enkrypt_config": {"api_key": "YOUR_ENKRYPT_API_KEY"}}, 1, []),
        ({"plugins": CLOUD, **dict.fromkeys((*SECTIONS, "common_mcp_gateway_config"), ...)}, 1, []),
        ({"mcp_configs": ..., "projects": {}, "apikeys": {}}, 1, []),
        ({"users": ..., "projects": {}, "apikeys": {}}, 1, ["users"]),
        ({"common_mcp_gateway_config": ...}, 1, ["common_mcp_gateway_config"]),
    ],
)
def test_every_shape_that_the_gateway_starts_with_is_accepted(
    changes: dict[str, Any], keys: int, issues: list[str]
) -> None:
    summary = read(json.dumps(config(**changes)).encode())
    assert len(summary.admin_key_digests) == keys
    assert [(issue.code, issue.where) for issue in summary.issues] == [("MissingSection", name) for name in issues]


@pytest.mark.parametrize("value", [{}, {"name": "a package", "version": "1"}, {"plugins": {}}])
def test_object_without_any_section_is_not_a_config(value: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig, match="none of its sections"):
        check(value)


@pytest.mark.parametrize(
    "changes",
    [
        {"admin_apikey": "short"},
        {"enkrypt_config": {"admin_apikey": "short"}},
        {"plugins": CLOUD, "enkrypt_config": {"api_key": "ek_short"}},
    ],
)
def test_short_admin_key_is_a_warning_and_not_accepted(changes: dict[str, Any]) -> None:
    summary = read(json.dumps(config(**changes)).encode())
    (warning,) = summary.warnings
    assert warning.code == "ShortAdminKey"
    assert "short" not in warning.where
    assert len(summary.admin_key_digests) == (0 if "admin_apikey" in changes else 1)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_is_summarized_or_rejected_without_a_crash(value: Any) -> None:
    for data in (value, {**config(), "projects": value}, {**config(), "apikeys": {"k": value}}, config(plugins=value)):
        try:
            read(json.dumps(data).encode())
        except InvalidConfig:
            continue


@given(st.binary(max_size=200))
def test_any_bytes_are_rejected_without_a_crash(data: bytes) -> None:
    with pytest.raises(InvalidConfig):
        read(data)


def test_dangling_references_are_issues_without_api_keys() -> None:
    dangling = config(
        projects={"p": {"mcp_config_id": "missing", "users": ["u", "missing", 5]}},
        apikeys={"secret": {"project_id": "missing", "user_id": None}},
    )
    issues = [(issue.code, issue.where) for issue in find_issues(dangling)]
    assert issues == [
        ("DanglingConfig", "projects.p.mcp_config_id"),
        ("DanglingUser", "projects.p.users[1]"),
        ("DanglingUser", "projects.p.users[2]"),
        ("DanglingProject", f"apikeys.{key_label('secret')}.project_id"),
        ("DanglingUser", f"apikeys.{key_label('secret')}.user_id"),
    ]
    assert "secret" not in json.dumps(issues)


def test_sections_digest_ignores_settings() -> None:
    assert sections_digest(config()) == sections_digest(config(plugins={}, admin_apikey="other"))
    assert sections_digest(config()) != sections_digest(config(users={}))


@given(st.dictionaries(st.text(), st.dictionaries(st.text(), st.integers() | st.text())))
def test_sections_digest_is_of_the_canonical_json(entries: dict[str, Any]) -> None:
    whole = config(users=entries, apikeys=...)
    data = {name: whole.get(name, {}) for name in SECTIONS}
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    assert sections_digest(whole) == digest(canonical.encode())


def test_only_a_backup_envelope_is_unwrapped() -> None:
    assert unwrap({"backup_version": "1.0", "config": {"a": 1}}) == ({"a": 1}, True)
    assert unwrap({**config(), "config": 5, "backup_version": 1})[1] is False
    assert unwrap(["config", "backup_version"])[1] is False
