"""The scenario in which manifests move to `missing/` and back, and an expired tombstone is removed.

A request triggers the daily check. One manifest has lost its data a week ago, two others in `missing/` have their data
again. After a fault each manifest is in one of its two places, and a repeated request completes the moves.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from gateway_api.storage.layout import missing_manifest_name
from tests.api.support.backup_files import build_manifest
from tests.api.support.fork_server import copy

LONG_AGO: Final = "2020-01-01T00:00:00Z"
DEAD: Final = "manual/dead.json"
WITHOUT_DATA: Final = ("dead.json.manifest",)
RETURNED: Final = ("manual/returned.json", "other/returned.json")


def _places(backups: Path, path: str) -> tuple[Path, Path]:
    return backups / f"{path}.manifest", backups / ".gateway/missing" / missing_manifest_name(path[-8:-5], path)


def _manifest(path: str, config: bytes) -> bytes:
    return json.dumps(build_manifest(config, id=path[-8:-5], path=path)).encode()


def prepare(base: Path, folder: Path) -> Path:
    """Adds the manifests to a copy of the prepared directories ``base``; returns its folder."""
    config_file, backups = copy(base, folder)
    config, state = config_file.read_bytes(), backups / ".gateway"
    (state / "missing").mkdir(mode=0o700)
    _places(backups, DEAD)[0].write_bytes(_manifest(DEAD, config))
    for path in RETURNED:
        (backups / path).parent.mkdir(exist_ok=True)
        (backups / path).write_bytes(config)
        _places(backups, path)[1].write_bytes(_manifest(path, config))
    (state / "tombstones").mkdir(exist_ok=True)
    expired = build_manifest(config) | {"deleted": LONG_AGO, "replaced_by": None}
    (state / "tombstones" / "expired.json").write_text(json.dumps(expired))
    (state / "missing.json").write_text(json.dumps({"checked": LONG_AGO, "since": {DEAD: LONG_AGO}}))
    os.utime(state / "missing.json", (1.7e9, 1.7e9))
    return folder


def check_each_exists(prepared: Path, backups: Path) -> None:
    """Checks that each manifest is at one of its two places, unchanged."""
    for path in (DEAD, *RETURNED):
        expected = next(place.read_bytes() for place in _places(prepared / "backups", path) if place.exists())
        assert {place.read_bytes() for place in _places(backups, path) if place.exists()} == {expected}, path


def check_finished(prepared: Path, backups: Path) -> None:
    """Checks that each manifest is where it belongs, and that the expired tombstone is removed."""
    check_each_exists(prepared, backups)
    assert [place.exists() for place in _places(backups, DEAD)] == [False, True]
    for path in RETURNED:
        assert [place.exists() for place in _places(backups, path)] == [True, False]
    assert not (backups / ".gateway/tombstones/expired.json").exists()
