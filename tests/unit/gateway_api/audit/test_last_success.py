"""The times of the last successes: from an old log, from its growth, and across segments."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway_api.audit import last_success
from gateway_api.audit.last_success import LastSuccesses
from gateway_api.storage.layout import STATE_FOLDER, audit_segment_name

START = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log of an empty backup directory."""
    (tmp_path / STATE_FOLDER).mkdir(mode=0o700)
    return tmp_path / STATE_FOLDER / "audit.jsonl"


def record(minutes: int, operation: str, result: str = "ok", **fields: Any) -> bytes:
    """An outcome line that many minutes after the start."""
    time = (START + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")
    head = {"seq": minutes, "prev": "0" * 64, "time": time, "event": "outcome"}
    return json.dumps({**head, "operation": operation, "result": result, **fields}, separators=(",", ":")).encode()


def append(log: Path, *lines: bytes) -> None:
    with log.open("ab") as file:
        file.write(b"".join(line + b"\n" for line in lines))


def minutes(successes: LastSuccesses) -> dict[str, float]:
    """The times in minutes after the start."""
    return {key: (time - START).total_seconds() / 60 for key, time in successes.read().items()}


@pytest.mark.parametrize("piece", [1, 7, 100, 1 << 18])
def test_newest_success_of_each_operation_is_found(log: Path, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_success, "_PIECE_BYTES", piece)
    append(
        log, record(1, "restore"), record(2, "backup"), record(3, "backup"), record(4, "backup", "ConfigInvalid"),
        record(5, "start"), record(6, "made up"), record(7, "verify", event="intent"), b'{"torn', b"\xff",
        record(8, "delete", time="never"), record(9, "commit", time=7),
    )  # fmt: skip
    assert minutes(LastSuccesses(log.parent.parent)) == {"restore": 1, "backup": 3}


def test_growth_and_new_segments_are_read(log: Path) -> None:
    successes = LastSuccesses(log.parent.parent)
    assert minutes(successes) == {}, "there is no log yet"
    append(log, record(1, "restore"), record(2, "backup"))
    assert minutes(successes) == {"restore": 1, "backup": 2}
    append(log, record(3, "backup"))
    assert minutes(successes) == {"restore": 1, "backup": 3}
    log.rename(log.parent / audit_segment_name(3))
    assert minutes(successes) == {"restore": 1, "backup": 3}
    append(log, record(4, "verify"))
    expected = {"restore": 1.0, "backup": 3.0, "verify": 4.0}
    assert minutes(successes) == minutes(LastSuccesses(log.parent.parent)) == expected
    for file in log.parent.iterdir():
        file.unlink()
    log.parent.rmdir()
    assert minutes(successes) == expected, "the volume cannot be opened"


def test_reading_is_bounded(log: Path) -> None:
    append(log, record(1, "restore"), *(record(minute, "backup") for minute in range(2, 50)))
    assert minutes(LastSuccesses(log.parent.parent, 1000)) == {"backup": 49}
    assert minutes(LastSuccesses(log.parent.parent)) == {"backup": 49, "restore": 1}
