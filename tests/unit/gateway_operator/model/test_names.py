"""Tests of the names that are stored outside the process: paths of backups and names of safety backups."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway_operator.domain.model import names

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)


@given(LABEL, st.from_regex(r"[a-z0-9]([-.a-z0-9]{0,61}[a-z0-9])?", fullmatch=True), st.uuids(), st.datetimes())
def test_paths_are_stable_and_within_the_limits(group: str, name: str, uid: Any, created: datetime) -> None:
    path = names.backup_path(group, created.replace(tzinfo=UTC), name, str(uid))
    folder, file = path.split("/")
    assert folder == group
    assert len(f"{file}.verification".encode()) <= 180
    assert file.endswith(f"-{str(uid)[:8]}.json.zst")
    assert path == names.backup_path(group, created.replace(tzinfo=UTC), name, str(uid))
    safety = names.safety_backup_name(name, str(uid))
    assert len(safety) <= 63
    assert safety[0].isalnum()
    assert safety.endswith(f"-safety-{str(uid)[:8]}")


def test_path_has_group_time_name_and_uid() -> None:
    path = names.backup_path("nightly", NOW, "before-upgrade", "0123456789abcdef")
    assert path == "nightly/20260501T120000Z-before-upgrade-01234567.json.zst"
