"""Files that no part of this software writes, on the volume all the same: none stops the others from being used."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx
import pytest

from tests.api.conftest import Pair, failed, ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"
ALL = "/api/v1/system/backups"


def manifest_of(data: bytes, **changes: Any) -> dict[str, Any]:
    """A manifest that a stranger could have written, of a plain file that holds ``data``."""
    digest = hashlib.sha256(data).hexdigest()
    return {
        "format_version": 1,
        "id": "x",
        "path": "x.json",
        "gateway_id": "0" * 32,
        "volume_id": "0" * 32,
        "created": "2026-01-01T00:00:00Z",
        "content_sha256": digest,
        "content_bytes": len(data),
        "stored_sha256": digest,
        "stored_bytes": len(data),
        "compression": "none",
        "counts": {},
    } | changes


def _nested(depth: int) -> Any:
    found: Any = []
    for _ in range(depth):
        found = [found]
    return found


STRANGE = [{"note": "\ud800"}, {"\udfff": 1}, {"note": _nested(300)}, {"note": _nested(900)}]


@pytest.mark.parametrize("strange", STRANGE, ids=["half a character", "half a key", "nested", "deep"])
def test_a_manifest_that_cannot_be_kept_is_none_and_hides_nothing(
    strange: dict[str, Any], api: httpx.Client, pair: Pair
) -> None:
    data = pair.config.read_bytes()
    ok(api.post(BACKUP, json={"path": "ours.json"}))
    (pair.backups / "x.json").write_bytes(data)
    (pair.backups / "x.json.manifest.json").write_text(json.dumps(manifest_of(data, **strange)))
    items = ok(api.get(ALL))["items"]
    assert [(item["path"], item["kind"]) for item in items] == [("ours.json", "backup"), ("x.json", "foreign")]
    failed(api.get(f"{ALL}/x"), "BackupNotFound")
    ok(api.post(BACKUP, json={"path": "after.json"}))


@pytest.mark.parametrize("strange", STRANGE, ids=["half a character", "half a key", "nested", "deep"])
def test_a_manifest_that_cannot_be_kept_is_not_taken(strange: dict[str, Any], api: httpx.Client, pair: Pair) -> None:
    sent = json.dumps(manifest_of(pair.config.read_bytes(), **strange)).encode()
    failed(api.put(f"{ALL}/x/content?part=manifest", content=sent), "InvalidRequest")


def test_a_manifest_that_a_later_version_has_written_is_kept_as_it_is(api: httpx.Client, pair: Pair) -> None:
    data = pair.config.read_bytes()
    later = {"note": [{"a": [{"b": ["\U0001f600", "\u00e9", -(2**70), None, True]}]}]}
    sent = json.dumps(manifest_of(data, **later)).encode()
    ok(api.put(f"{ALL}/x/content?part=manifest", content=sent))
    ok(api.put(f"{ALL}/x/content", content=data))
    assert (pair.backups / "x.json.manifest.json").read_bytes() == sent
    assert ok(api.get(ALL))["items"][0]["kind"] == "backup"
    assert ok(api.get(f"{ALL}/x"))["path"] == "x.json"
    assert ok(api.delete(f"{ALL}/x"))["existed"]
