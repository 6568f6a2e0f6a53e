"""What a note changes about a backup's standing, and what it never does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway_api.contract import BackupLevel, BackupRecord, Counts, Problem, Verification
from gateway_api.repository.verification_records import with_verification

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COUNTS = Counts(configs=1, projects=1, users=1, api_keys=1, disabled_api_keys=0)
WRONG = [Problem(code="BackupCorrupt", message="x")]
RECORD = BackupRecord(
    backup_id="a",
    path="a.json",
    created=NOW,
    gateway_id="g",
    volume_id="v",
    content_sha256="1" * 64,
    content_bytes=1,
    stored_sha256="1" * 64,
    stored_bytes=1,
    compression="none",
    counts=COUNTS,
    level=BackupLevel.Verified,
    proof="payload",
)


def _note(**changes: Any) -> Verification:
    whole = {"backup_id": "a", "stored_sha256": "1" * 64, "checked": NOW, "signature": "valid"}
    return Verification.model_validate(whole | changes)


@pytest.mark.parametrize(
    ("note", "level", "proof", "shown"),
    [
        (None, "Verified", "payload", False),
        (_note(level="Verified", proof="recipient"), "Verified", "recipient", True),
        (_note(level="Stored"), "Stored", None, True),
        (_note(level="Verified", proof="recipient", backup_id="b"), "Verified", "payload", False),
        (_note(level="Verified", proof="recipient", stored_sha256="2" * 64), "Verified", "payload", False),
        (_note(problems=WRONG), None, None, True),
        (_note(problems=WRONG, stored_sha256="2" * 64), None, None, True),
        (_note(problems=WRONG, backup_id="b"), "Verified", "payload", False),
        (_note(stored_sha256="2" * 64), "Verified", "payload", False),
    ],
)
def test_a_note_counts_for_its_own_backup_and_praise_only_for_its_own_bytes(
    note: Verification | None, level: str | None, proof: str | None, shown: bool
) -> None:
    found = with_verification(RECORD, note)
    assert (found.level, found.proof, found.verification is not None) == (level, proof, shown)
