"""Manifests are parsed strictly and keep unknown fields."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from gateway_api.contract import BackupLevel, Counts
from gateway_api.repository import manifest as manifests
from gateway_api.repository.manifest import InvalidManifest, LocatedBackup, Manifest


def _manifest(**changes: object) -> Manifest:
    fields: dict[str, object] = {
        "format_version": 1,
        "id": "x",
        "path": "a/b.json",
        "gateway_id": "g",
        "volume_id": "v",
        "created": datetime(2026, 1, 1, tzinfo=UTC),
        "content_sha256": "0" * 64,
        "content_bytes": 1,
        "stored_sha256": "1" * 64,
        "stored_bytes": 1,
        "compression": "none",
        "counts": Counts(),
        "proof": "payload",
    }
    return Manifest.model_validate({**fields, **changes})


def test_manifest_round_trip_keeps_fields_of_a_later_version() -> None:
    original = _manifest(signatures=[{"key_id": "k"}])
    loaded = manifests.validate(manifests.parse_json(manifests.dump(original)))
    assert loaded == original
    assert json.loads(manifests.dump(loaded))["signatures"] == [{"key_id": "k"}]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"format_version": 1', '"format_version": 2'),
        lambda text: text.replace('"stored_bytes": 1', '"stored_bytes": 1.0'),
        lambda text: text.replace('"id": "x"', '"id": "x", "id": "y"'),
        lambda text: text.replace('"id": "x"', '"id": "../x"'),
        lambda text: text.replace('"none"', '"xz"'),
        lambda text: text.replace("0" * 64, "zero"),
        lambda text: text[:-3],
        lambda text: "[]",
        lambda text: "[" * 100_000,
    ],
)
def test_inexact_manifest_is_invalid(change: object) -> None:
    assert callable(change)
    with pytest.raises(InvalidManifest):
        manifests.validate(manifests.parse_json(change(manifests.dump(_manifest()).decode()).encode()))


def test_record_has_the_current_path_of_a_moved_file() -> None:
    record = manifests.to_backup_record(LocatedBackup(_manifest(), ("moved", "b.json")))
    assert (record.backup_id, record.path, record.level) == ("x", "moved/b.json", BackupLevel.Verified)
