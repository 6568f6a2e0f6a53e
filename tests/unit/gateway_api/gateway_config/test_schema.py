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
        ({"admin_apikey": ...}, "admin_apikey"),
        ({"admin_apikey": ""}, "admin_apikey"),
        ({"admin_apikey": "  "}, "admin_apikey"),
        ({"admin_apikey": 5}, "admin_apikey"),
        ({"common_mcp_gateway_config": ...}, "common_mcp_gateway_config"),
        ({"common_mcp_gateway_config": []}, "common_mcp_gateway_config"),
        ({"users": ...}, "users"),
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
    "changes",
    [
        {},
        {"_doc_anything": 5, "local_server_overrides": {"x": 1}},
        {"plugins": None, "enkrypt_config": None},
        {"projects": {"p": {"mcp_config_id": None}}},
        {
            "plugins": {"auth": {"provider": "enkrypt"}},
            "users": ...,
            "projects": ...,
            "mcp_configs": ...,
            "apikeys": ...,
        },
    ],
)
def test_every_shape_that_the_gateway_writes_is_accepted(changes: dict[str, Any]) -> None:
    assert read(json.dumps(config(**changes)).encode()).admin_key_sha256


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
