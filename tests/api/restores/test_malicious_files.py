"""Malicious files and bodies: a declared error, an unchanged config, and a server that still answers."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway_api.contract import ERRORS, ErrorCode
from tests.api.support.admin_process import gateway_config
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
PREFIX = "/api/v1/system"
LIMIT = 100_000
EXAMPLES = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def served(
    fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[GatewayDirs, httpx.Client]]:
    dirs = GatewayDirs(tmp_path_factory.mktemp("served"))
    with fork_server.server(dirs.config, dirs.backups, dirs.key, max_config_bytes=LIMIT, settle_seconds=0.0) as client:
        assert_ok(client.post(f"{PREFIX}/backup", json={"path": "good.json.zst"}))
        yield dirs, client


def _check_declared(answer: httpx.Response) -> str:
    code = ErrorCode(answer.json()["code"])
    assert answer.status_code == ERRORS[code].status
    assert code is not ErrorCode.InternalError
    return code.value


def _check_rejected(served: tuple[GatewayDirs, httpx.Client], name: str) -> str:
    """Checks that restore and dry run of the file fail and leave the config unchanged; returns the error code."""
    dirs, client = served
    before = dirs.config.read_bytes()
    codes = {
        _check_declared(client.post(f"{PREFIX}/restore", json={"input_file": name, "dry_run": dry}))
        for dry in (True, False)
    }
    assert dirs.config.read_bytes() == before
    assert client.get("/health").status_code == 200
    assert client.get(f"{PREFIX}/backups").status_code == 200
    return codes.pop() if len(codes) == 1 else str(codes)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["\ud800", "\x00", "9" * 400, "admin_apikey"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
SECTIONS = ("admin_apikey", "common_mcp_gateway_config", "mcp_configs", "projects", "users", "apikeys", "plugins")


@EXAMPLES
@given(section=st.sampled_from(SECTIONS), value=JSON, suffix=st.sampled_from(["", ".gz", ".zst"]))
def test_any_value_in_a_section_never_breaks_the_server(
    section: str, value: Any, suffix: str, served: tuple[GatewayDirs, httpx.Client]
) -> None:
    dirs, client = served
    config = gateway_config(dirs.key)
    config[section] = value
    data = json.dumps(config).encode()
    name = f"fuzz.json{suffix}"
    packed = {"": data, ".gz": gzip.compress(data), ".zst": zstandard.compress(data)}[suffix]
    (dirs.backups / name).write_bytes(packed)
    answer = client.post(f"{PREFIX}/restore", json={"input_file": name, "dry_run": True})
    if answer.status_code != 200:
        _check_declared(answer)
    assert client.get("/health").status_code == 200


@EXAMPLES
@given(
    data=st.binary(max_size=400), suffix=st.sampled_from(["", ".gz", ".zst", ".age", ".gz.age"]), head=st.integers(0, 5)
)
def test_random_bytes_with_any_suffix_are_rejected(
    data: bytes, suffix: str, head: int, served: tuple[GatewayDirs, httpx.Client]
) -> None:
    dirs, _ = served
    heads = [b"", b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd", b"age-encryption.org/v1\n", b"{", b"\xef\xbb\xbf{"]
    (dirs.backups / f"raw.json{suffix}").write_bytes(heads[head] + data)
    _check_rejected(served, f"raw.json{suffix}")


@EXAMPLES
@given(at=st.integers(0, 10_000), byte=st.integers(0, 255), what=st.sampled_from(["file", "manifest"]))
def test_backup_with_one_changed_byte_is_not_restored(
    at: int, byte: int, what: str, served: tuple[GatewayDirs, httpx.Client]
) -> None:
    dirs, client = served
    for name in ("good.json.zst", "good.json.zst.manifest"):
        (dirs.backups / name.replace("good", "changed")).write_bytes((dirs.backups / name).read_bytes())
    changed = dirs.backups / ("changed.json.zst" + (".manifest" if what == "manifest" else ""))
    data = bytearray(changed.read_bytes())
    if data[at % len(data)] == byte:
        return
    data[at % len(data)] = byte
    changed.write_bytes(data)
    answer = client.post(f"{PREFIX}/restore", json={"input_file": "changed.json.zst", "dry_run": True})
    if answer.status_code == 200:
        # The change only replaced whitespace: the JSON value, and so the signature, is the same.
        changed = json.loads(bytes(data))
        assert what == "manifest"
        assert changed == json.loads((dirs.backups / "good.json.zst.manifest").read_bytes())
    else:
        _check_declared(answer)


@EXAMPLES
@given(
    path=st.text(max_size=30)
    | st.sampled_from(
        ["..", "../x", "a/../../x", "/", "//", "a//b", "x" * 255, "a\u0301", "\uff0e\uff0e/x", "a\u2028b"]
    )
)
def test_no_path_leaves_the_directory_or_breaks_the_server(path: str, served: tuple[GatewayDirs, httpx.Client]) -> None:
    dirs, client = served
    outside = sorted(entry.name for entry in dirs.backups.parent.iterdir())
    for url, body in (("backup", {"path": path}), ("restore", {"input_file": path}), ("backup", {"output_file": path})):
        try:
            content = json.dumps(body).encode()
        except UnicodeEncodeError:
            return
        answer = client.post(f"{PREFIX}/{url}", content=content, headers={"Content-Type": "application/json"})
        if answer.status_code != 200:
            _check_declared(answer)
    assert sorted(entry.name for entry in dirs.backups.parent.iterdir()) == outside


BODIES = [
    b'{"path": "a.json", "path": "b.json"}',
    b'{"path": NaN}',
    b'{"path": 1e999}',
    b'{"path": "\\ud800"}',
    b'{"path": "\xff"}',
    b'\xef\xbb\xbf{"path": "bom.json"}',
    b'{"path": "deep.json", "metadata": ' + b'{"a":' * 9_000 + b"1" + b"}" * 9_000 + b"}",
    b"[" * 60_000,
    b"9" * 60_000,
    b'{"path": "' + b"a" * 60_000 + b'"}',
    b"",
    b"\x00",
]


@pytest.mark.parametrize("number", range(len(BODIES)))
@pytest.mark.parametrize("route", ["backup", "restore", "reset", "backups/x/verify", "backups/x/content?part=manifest"])
def test_malicious_body_is_a_declared_error(route: str, number: int, served: tuple[GatewayDirs, httpx.Client]) -> None:
    dirs, client = served
    before = dirs.config.read_bytes()
    method = "PUT" if "content" in route else "POST"
    headers = {"Content-Type": "application/json"}
    answer = client.request(method, f"{PREFIX}/{route}", content=BODIES[number], headers=headers)
    if answer.status_code != 200:
        _check_declared(answer)
    assert dirs.config.read_bytes() == before
    assert client.get("/health").status_code == 200


def _special(kind: str, path: Path, outside: Path) -> None:
    outside.write_text("outside")
    if kind == "symlink":
        path.symlink_to(outside)
    elif kind == "hard link":
        os.link(outside, path)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "socket":
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
        sock.close()
    else:
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize("kind", ["symlink", "hard link", "fifo", "directory", "socket", "device"])
def test_links_and_special_files_are_neither_read_nor_written(
    kind: str, api: httpx.Client, dirs: GatewayDirs, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    _special(kind, dirs.backups / "x.json", outside)
    _check_declared(api.post(f"{PREFIX}/restore", json={"input_file": "x.json"}))
    written = api.post(f"{PREFIX}/backup", json={"output_file": str(dirs.backups / "x.json")})
    # A rename replaces only this name of a file with two hard links.
    assert_ok(written) if kind == "hard link" else _check_declared(written)
    config = dirs.config.read_bytes()
    digest = hashlib.sha256(config).hexdigest()
    manifest = {
        **{"format_version": 1, "id": "x", "path": "x.json", "gateway_id": "g", "volume_id": "v", "counts": {}},
        **{"created": "2026-01-01T00:00:00Z", "content_sha256": digest, "content_bytes": len(config)},
        **{"stored_sha256": digest, "stored_bytes": len(config), "compression": "none"},
    }
    assert_ok(api.put(f"{PREFIX}/backups/x/content?part=manifest", content=json.dumps(manifest)))
    _check_declared(api.put(f"{PREFIX}/backups/x/content", content=config))
    assert outside.read_text() == "outside"
    expected = {"hard link": ["backup"], "directory": []}.get(kind, ["unusable"])
    assert [one["kind"] for one in assert_ok(api.get(f"{PREFIX}/backups"))["items"]] == expected


def test_folder_replaced_by_a_symlink_is_not_followed(api: httpx.Client, dirs: GatewayDirs, tmp_path: Path) -> None:
    created = assert_ok(api.post(f"{PREFIX}/backup", json={"path": "d/a.json"}))
    (dirs.backups / "d").rename(tmp_path / "d")
    (dirs.backups / "d").symlink_to(tmp_path / "d")
    _check_declared(api.post(f"{PREFIX}/restore", json={"input_file": "d/a.json"}))
    assert_error(api.post(f"{PREFIX}/backup", json={"path": "d/b.json"}), "PathNotAllowed")
    _check_declared(api.get(f"{PREFIX}/backups/{created['backup_id']}"))
    assert not assert_ok(api.delete(f"{PREFIX}/backups/{created['backup_id']}"))["existed"]
    assert (tmp_path / "d" / "a.json").exists()
    assert not (tmp_path / "d" / "b.json").exists()
