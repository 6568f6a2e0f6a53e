"""Which paths a request may use below the backup directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_api.errors import ApiError
from gateway_api.storage.layout import RESERVED_SUFFIXES
from gateway_api.storage.paths import MAX_COMPONENT_BYTES, parse_absolute, parse_either, parse_relative

ROOT = Path("/data/backups")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/..",
        "../a",
        ".a",
        "a/.b",
        "a\0",
        "a\nb",
        "a\x7f",
        "a\u2028b",
        "e\u0301",
        "\ud800",
        "x" * 181,
        "ä" * 91,
        "a.manifest",
        "a.MANIFEST",
        "a.verification",
        "a.tmp",
        "/".join("a" * 17),
    ],
)
def test_ambiguous_or_reserved_path_is_refused(path: str) -> None:
    with pytest.raises(ApiError):
        parse_relative(path)


@given(st.text(max_size=60))
def test_allowed_path_has_only_safe_components(path: str) -> None:
    try:
        parts = parse_relative(path)
    except ApiError:
        return
    assert "/".join(parts) == path
    for part in parts:
        assert part
        assert not part.startswith(".")
        assert not set(part) & set("/\0\n\r")
        assert len(part.encode()) <= MAX_COMPONENT_BYTES
        assert not part.lower().endswith(RESERVED_SUFFIXES)


@given(st.text(max_size=60))
def test_absolute_path_is_inside_the_root_or_refused(path: str) -> None:
    try:
        parts = parse_absolute(path, ROOT)
    except ApiError:
        return
    assert path.startswith("/")
    assert Path(path) == ROOT.joinpath(*parts)


def test_absolute_and_relative_path_give_the_same_components() -> None:
    assert parse_either("/data/backups/a/b.json", ROOT) == parse_either("a/b.json", ROOT) == ("a", "b.json")
    assert parse_absolute("/data//backups//a.json", ROOT) == ("a.json",)


@pytest.mark.parametrize("path", ["/data/backups", "/data/backups/", "/data/backupsx/a", "/data", "/etc/passwd", "a"])
def test_absolute_path_outside_the_root_is_refused(path: str) -> None:
    with pytest.raises(ApiError):
        parse_absolute(path, ROOT)
