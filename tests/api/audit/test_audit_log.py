"""The audit log of a real server: records before and after each operation, hash chain, rotation and gaps."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway_api.audit import log, verify
from gateway_api.contract import BackupRequest, ErrorCode
from gateway_api.errors import ApiError
from gateway_api.service import Service
from gateway_api.settings import AdminSettings
from tests.api.support.admin_process import AdminProcess
from tests.api.support.command import run_command
from tests.api.support.fork_server import ForkServer
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.requirements import require_programs
from tests.api.support.responses import assert_error, assert_ok

pytestmark = pytest.mark.api
BACKUP = "/api/v1/system/backup"
RESTORE = "/api/v1/system/restore"


def _log(dirs: GatewayDirs) -> Path:
    return dirs.backups / ".gateway" / "audit.jsonl"


def _records(dirs: GatewayDirs) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _log(dirs).read_text().splitlines()]


def _verify(dirs: GatewayDirs) -> tuple[int, str]:
    result = run_command("audit", "verify", "--backups", dirs.backups, "--config", dirs.config)
    return result.code, result.stdout + result.stderr


def test_each_operation_has_an_intent_and_an_outcome_record(api: httpx.Client, dirs: GatewayDirs) -> None:
    created = assert_ok(api.post(BACKUP, json={"path": "a.json", "request_id": "one"}))
    assert_error(api.post(BACKUP, json={"path": "a.json"}), "BackupExists")
    assert_ok(api.post(RESTORE, json={"backup_id": created["backup_id"], "request_id": "two"}))
    assert_ok(api.post("/api/v1/system/restores/two/commit"))
    assert_ok(api.delete(f"/api/v1/system/backups/{created['backup_id']}"))
    records = [one for one in _records(dirs) if one["operation"] != "start"]
    assert [(one["event"], one["operation"], one.get("result")) for one in records] == [
        ("intent", "backup", None),
        ("outcome", "backup", "ok"),
        ("intent", "backup", None),
        ("outcome", "backup", "BackupExists"),
        ("intent", "restore", None),
        ("outcome", "restore", "ok"),
        ("intent", "commit", None),
        ("outcome", "commit", "ok"),
        ("intent", "delete", None),
        ("outcome", "delete", "ok"),
    ]
    assert [one["id"] for one in records[0::2]] == [one["id"] for one in records[1::2]]
    assert records[1]["backup_id"] == created["backup_id"]
    assert records[5]["restored_sha256"] == created["content_sha256"]
    assert {one["by"] for one in records} == {"config"}
    assert _log(dirs).stat().st_mode & 0o777 == 0o600
    assert _verify(dirs)[0] == 0


def test_truncated_or_changed_log_is_detected(api: httpx.Client, dirs: GatewayDirs) -> None:
    assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    assert_ok(api.post(BACKUP, json={"path": "b.json"}))
    whole = _log(dirs).read_bytes()
    lines = whole.splitlines(keepends=True)
    _log(dirs).write_bytes(b"".join(lines[:-2]))
    status, output = _verify(dirs)
    assert status == 1
    assert "b.json" in output
    _log(dirs).write_bytes(whole)
    assert _verify(dirs)[0] == 0
    lines[2] = lines[2].replace(b'"by":"config"', b'"by":"nobody"')
    _log(dirs).write_bytes(b"".join(lines))
    status, output = _verify(dirs)
    assert (status, output.partition(":")[0]) == (1, "audit.jsonl, line 4")


def test_verify_command_reports_a_missing_log(dirs: GatewayDirs) -> None:
    status, output = _verify(dirs)
    assert status == 2
    assert "cannot be read" in output


def test_torn_last_line_is_kept_and_hashed_into_the_chain(api: httpx.Client, dirs: GatewayDirs) -> None:
    assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    with _log(dirs).open("ab") as log:
        log.write(b'{"seq":9,"prev"')
    assert _verify(dirs)[0] == 0
    assert_ok(api.post(BACKUP, json={"path": "b.json"}))
    assert b'{"seq":9,"prev"\n' in _log(dirs).read_bytes()
    assert "fragment_sha256" in _log(dirs).read_text()
    assert _verify(dirs)[0] == 0


def test_two_servers_write_one_chain(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    with (
        fork_server.server(dirs.config, dirs.backups, dirs.key) as one,
        fork_server.server(dirs.config, dirs.backups, dirs.key) as other,
    ):

        def send(client: httpx.Client, who: str) -> None:
            for number in range(8):
                client.post(BACKUP, json={"path": f"{who}/{number}.json"})

        threads = [threading.Thread(target=send, args=(client, who)) for client, who in ((one, "a"), (other, "b"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert _verify(dirs)[0] == 0
    created = len(list(dirs.backups.rglob("*.manifest")))
    assert sum(one.get("result") == "ok" and one["operation"] == "backup" for one in _records(dirs)) == created > 0


def _audited(process: AdminProcess) -> list[dict[str, Any]]:
    """The audit records in the server's own log, each with the time of its log line."""
    return [{"time": one["time"], **one["audit"]} for one in process.events if one["event"] == "audit"]


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_volume_away_lines_are_logged_and_become_one_gap_record(end: str, dirs: GatewayDirs) -> None:
    away = dirs.backups.with_name("away")
    with AdminProcess(dirs.config, dirs.backups) as first, first.client(dirs.key) as api:
        created = assert_ok(api.post(BACKUP, json={"path": "a.json"}))
        assert_ok(api.post(RESTORE, json={"backup_id": created["backup_id"], "request_id": "r"}))
        dirs.backups.rename(away)
        assert_ok(api.post(f"/api/v1/system/restores/r/{end}"))
        assert_error(api.post(BACKUP, json={"path": "b.json"}), "VolumeUnavailable")
        logged = _audited(first)
    assert [(one["event"], one["operation"], one.get("result")) for one in logged] == [
        ("intent", end, None),
        ("outcome", end, "ok"),
        ("intent", "backup", None),
        ("outcome", "backup", "VolumeUnavailable"),
    ]
    assert {"id", "by", "name"} <= set(logged[0])
    gap = json.loads((dirs.state / "audit_gap").read_text())
    assert (dirs.state / "audit_gap").stat().st_mode & 0o777 == 0o600
    assert gap["lines"] == len(logged)
    with AdminProcess(dirs.config, dirs.backups) as second, second.client(dirs.key) as api:
        assert_error(api.post("/api/v1/system/restores/none/commit"), "VolumeUnavailable")
        away.rename(dirs.backups)
        assert_ok(api.post(BACKUP, json={"path": "c.json"}))
        logged += _audited(second)
    assert not (dirs.state / "audit_gap").exists()
    (record,) = [one for one in _records(dirs) if one["event"] == "gap"]
    assert (record["id"], record["since"], record["lines"]) == (gap["id"], gap["since"], len(logged))
    since, first_line = (datetime.fromisoformat(text) for text in (record["since"], logged[0]["time"]))
    assert timedelta(0) <= first_line - since < timedelta(seconds=10)
    status, text = _verify(dirs)
    assert status == 0
    assert "gaps: 1," in text


def test_damaged_gap_state_is_recorded_as_a_gap(api: httpx.Client, dirs: GatewayDirs) -> None:
    assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    (dirs.state / "audit_gap").write_bytes(b'{"lines')
    assert_ok(api.post(BACKUP, json={"path": "b.json"}))
    (record,) = [one for one in _records(dirs) if one["event"] == "gap"]
    assert (record["since"], record["lines"]) == ("", 0)
    assert _verify(dirs)[0] == 0


def test_removed_gap_record_breaks_the_chain(api: httpx.Client, dirs: GatewayDirs) -> None:
    assert_ok(api.post(BACKUP, json={"path": "first.json"}))  # answered after the start, which creates the state folder
    (dirs.state / "audit_gap").write_text('{"id": "x", "since": "2026-01-01T00:00:00.000000Z", "lines": 2}')
    assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    kept = [line for line in _log(dirs).read_bytes().splitlines(keepends=True) if b'"gap"' not in line]
    _log(dirs).write_bytes(b"".join(kept))
    assert _verify(dirs)[0] == 1


def test_log_that_is_a_symlink_is_not_followed(api: httpx.Client, dirs: GatewayDirs, tmp_path: Path) -> None:
    assert_ok(api.post(BACKUP, json={"path": "a.json"}))
    _log(dirs).unlink()
    target = tmp_path / "target"
    _log(dirs).symlink_to(target)
    assert_ok(api.post(BACKUP, json={"path": "b.json"}))
    assert not target.exists()
    assert (dirs.state / "audit_gap").exists()


def test_log_contains_no_key_and_no_text_of_the_caller(api: httpx.Client, dirs: GatewayDirs) -> None:
    canary = "canary-" + "c" * 40
    assert_ok(
        api.post(
            BACKUP, json={"path": f"{canary}.json", "metadata": {canary: canary}}, headers={"X-Request-ID": canary}
        )
    )
    assert_ok(api.post(RESTORE, json={"input_file": f"{canary}.json"}))
    text = _log(dirs).read_text()
    assert canary not in text
    assert dirs.key not in text
    assert verify.verify_audit_log(dirs.backups, dirs.config.parent)[0]


def test_intent_is_durable_before_the_backup_and_outcome_after_it(
    dirs: GatewayDirs, fork_server: ForkServer, tmp_path: Path
) -> None:
    require_programs("strace")
    trace = tmp_path / "trace"
    with fork_server.server(dirs.config, dirs.backups, dirs.key, trace=trace) as api:
        assert_error(api.post("/api/v1/system/restores/none/commit"), "RestoreNotFound")
        done = len(trace.read_text().splitlines())
        assert_ok(api.post(BACKUP, json={"path": "order.json"}))
        lines = trace.read_text().splitlines()[done:]
    calls = [line.split(maxsplit=1)[1] for line in lines if "resumed" not in line]
    written = [at for at, call in enumerate(calls) if call.startswith("pwrite64") and "seq" in call]
    published = [at for at, call in enumerate(calls) if call.startswith(("link", "rename")) and '"order.json' in call]
    intent, outcome = written
    assert calls[intent + 1].startswith("fdatasync")
    assert intent + 1 < min(published) <= max(published) < outcome
    assert calls[outcome + 1].startswith("fdatasync")


def _write_segments(dirs: GatewayDirs, fork_server: ForkServer, lines: int = 12) -> list[Path]:
    """Creates backups until the log has several segments; returns the ended ones, oldest first."""
    with fork_server.server(dirs.config, dirs.backups, dirs.key, audit_bytes=4096) as api:
        for number in range(lines):
            assert_ok(api.post(BACKUP, json={"path": f"{number}.json", "request_id": f"b{number}"}))
    return sorted(_log(dirs).parent.glob("audit-*.jsonl"))


def test_log_rotates_into_segments_of_one_chain(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    segments = _write_segments(dirs, fork_server)
    assert len(segments) >= 2
    for file in [*segments, _log(dirs)]:
        assert file.stat().st_size <= 4096
        assert file.stat().st_mode & 0o777 == 0o600
    last = [json.loads(file.read_text().splitlines()[-1])["seq"] for file in segments]
    assert [file.name for file in segments] == [f"audit-{seq:012}.jsonl" for seq in last]
    status, output = _verify(dirs)
    assert status == 0, output
    assert "12 manifests agree" in output
    lines = segments[1].read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"by":"config"', b'"by":"nobody"')
    segments[1].write_bytes(b"".join(lines))
    assert _verify(dirs) == (1, f"{segments[1].name}, line 4: does not link to the line before it\n")


def test_only_the_oldest_segments_may_be_removed(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    segments = _write_segments(dirs, fork_server, 20)
    middle = segments[1].read_bytes()
    segments[1].unlink()
    status, output = _verify(dirs)
    assert (status, output.partition(":")[0]) == (1, f"{segments[2].name}, line 1")
    segments[1].write_bytes(middle)
    first = json.loads(middle.splitlines()[0])["seq"]
    segments[0].unlink()
    status, output = _verify(dirs)
    assert status == 0, output
    assert f"begins with record {first}: older segments were removed" in output
    segments[1].write_bytes(b"".join(middle.splitlines(keepends=True)[1:]))
    assert _verify(dirs)[0] == 1, "a truncated segment must not count as removed"


def test_chain_continues_after_a_crash_during_rotation(dirs: GatewayDirs, fork_server: ForkServer) -> None:
    _write_segments(dirs, fork_server)
    head = json.loads(_log(dirs).read_text().splitlines()[-1])["seq"]
    _log(dirs).rename(_log(dirs).with_name(f"audit-{head:012}.jsonl"))
    for segment_exists in (False, True):
        if segment_exists:
            _log(dirs).write_bytes(b"")
        assert _verify(dirs)[0] == 0
    with fork_server.server(dirs.config, dirs.backups, dirs.key, audit_bytes=4096) as api:
        assert_ok(api.post(BACKUP, json={"path": "next.json"}))
    assert json.loads(_log(dirs).read_text().splitlines()[0])["seq"] == head + 1
    assert _verify(dirs)[0] == 0


@pytest.mark.parametrize("audit_bytes", [64 << 20, 1000], ids=["one segment", "a new segment for each line"])
async def test_line_that_may_not_last_fails_no_operation(
    audit_bytes: int, dirs: GatewayDirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fsync of the folder fails after the line is written. The server's own log then has the line as well."""

    def fail(_: int) -> None:
        raise ApiError(ErrorCode.DurabilityUnknown)

    service = Service(AdminSettings(config_file=dirs.config, backup_dir=dirs.backups, audit_bytes=audit_bytes))
    try:
        for number in range(4):
            monkeypatch.setattr(log, "sync_directory", fail)
            await service.create_backup(BackupRequest(path=f"a{number}.json"), "test")
            monkeypatch.undo()
            await service.create_backup(BackupRequest(path=f"b{number}.json"), "test")
    finally:
        service.stop()
    code, output = _verify(dirs)
    assert code == 0, output
