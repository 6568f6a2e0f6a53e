"""A verification record changes how its own backup is shown, and never another backup."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway_api.contract import BackupLevel, BackupRecord, Counts, Problem, Verification
from gateway_api.repository.verification_records import with_verification

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COUNTS = Counts(configs=1, projects=1, users=1, api_keys=1, disabled_api_keys=0)
PROBLEMS = [Problem(code="BackupCorrupt", message="x")]
BACKUP = BackupRecord(
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


def _verification(**changes: Any) -> Verification:
    fields = {"backup_id": "a", "stored_sha256": "1" * 64, "checked": NOW, "signature": "valid"}
    return Verification.model_validate(fields | changes)


@pytest.mark.parametrize(
    ("verification", "level", "proof", "shown"),
    [
        (None, "Verified", "payload", False),
        (_verification(level="Verified", proof="recipient"), "Verified", "recipient", True),
        (_verification(level="Stored"), "Stored", None, True),
        (_verification(level="Verified", proof="recipient", backup_id="b"), "Verified", "payload", False),
        (_verification(level="Verified", proof="recipient", stored_sha256="2" * 64), "Verified", "payload", False),
        (_verification(problems=PROBLEMS), None, None, True),
        (_verification(problems=PROBLEMS, stored_sha256="2" * 64), None, None, True),
        (_verification(problems=PROBLEMS, backup_id="b"), "Verified", "payload", False),
        (_verification(stored_sha256="2" * 64), "Verified", "payload", False),
    ],
)
def test_success_applies_to_the_same_bytes_and_failure_to_the_same_backup(
    verification: Verification | None, level: str | None, proof: str | None, shown: bool
) -> None:
    result = with_verification(BACKUP, verification)
    assert (result.level, result.proof, result.verification is not None) == (level, proof, shown)
