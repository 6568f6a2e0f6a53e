"""Puts a canary into every field and header and checks that no log, error, diff, audit record or metric contains it.

The canaries are where keys can be: in headers, in the config, and in rejected bodies. File names chosen by the caller
appear in answers but not in the log or the audit log. The X-Request-ID is the only text of the caller that is echoed
and logged; it is never the key itself.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway_api.gateway_config.parser import COMMAND
from tests.api.support.admin_process import AdminProcess, gateway_config
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.processes import process_tree
from tests.api.support.responses import assert_ok

pytestmark = pytest.mark.api
PREFIX = "/api/v1/system"
SECRET = "canary-secret-" + "s" * 40
WORD = "canary-word-" + "w" * 30
POSTS = ("backup", "restore", "reset", "restores/x/commit", "restores/x/rollback", "backups/x/verify")


def _config_with_canaries(key: str) -> dict[str, Any]:
    """A config with the canary in every field that can hold a secret."""
    config = gateway_config(key)
    config["enkrypt_config"]["api_key"] = SECRET
    config["common_mcp_gateway_config"]["enkrypt_cache_password"] = SECRET
    config["apikeys"] = {SECRET: {"project_id": "gone", "user_id": "gone", "disabled": False}}
    config["mcp_configs"]["c-0"]["mcp_config"][0]["config"] = {"env": {"TOKEN": SECRET}, "args": [SECRET]}
    config["plugins"]["telemetry"]["config"]["headers"] = {SECRET: SECRET}
    config[f"_doc_{SECRET}"] = SECRET
    return config


def _bodies(fields: dict[str, Any]) -> list[Any]:
    bodies: list[Any] = [SECRET, [SECRET], {SECRET: SECRET}, {}]
    for name in fields:
        bodies += [{name: SECRET}, {name: {SECRET: SECRET}}, {name: [SECRET]}, {**fields, name: SECRET}]
    return bodies


def _send_canaries(client: httpx.Client, answers: list[httpx.Response]) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    fields = {
        name: None
        for schema in ("BackupRequest", "RestoreRequest", "ResetRequest", "RollbackRequest", "VerifyRequest")
        for name in schemas[schema]["properties"]
        if name not in ("path", "output_file", "input_file", "backup_id", "request_id", "confirm")
    }
    for path in POSTS:
        answers.extend(client.post(f"{PREFIX}/{path}", json=body) for body in _bodies(fields))
        answers.append(client.post(f"{PREFIX}/{path}", content=f'{{"{SECRET}'.encode()))
    for header in ("Authorization", "apikey", "Cookie", "Range", "Content-Range", "Host", SECRET):
        answers.append(client.get(f"{PREFIX}/health", headers={header: f"Bearer {SECRET}"}))
        answers.append(client.put(f"{PREFIX}/backups/x/content", content=SECRET, headers={header: SECRET}))
    answers.append(client.get(f"{PREFIX}/{SECRET}"))
    answers.append(client.get(f"{PREFIX}/backups", params={"continue": SECRET, "limit": SECRET, SECRET: SECRET}))
    manifest = json.dumps({"id": "x", "path": "x", "metadata": {SECRET: 1}})
    answers.append(client.put(f"{PREFIX}/backups/x/content?part=manifest", content=manifest))


def test_canary_appears_only_where_it_was_put(dirs: GatewayDirs, tmp_path: Path) -> None:
    good = json.dumps(_config_with_canaries(dirs.key)).encode()
    dirs.config.write_bytes(good)
    process = AdminProcess(dirs.config, dirs.backups, settle_seconds=0.02)
    answers: list[httpx.Response] = []
    with process, process.client(dirs.key) as client:
        created = assert_ok(
            client.post(f"{PREFIX}/backup", json={"path": f"{WORD}.json.zst", "metadata": {WORD: WORD}})
        )
        dirs.write(users=5)
        source = {"backup_id": created["backup_id"]}
        for body in ({**source, "dry_run": True}, {**source, "request_id": "r"}):
            answers.append(client.post(f"{PREFIX}/restore", json=body))
        answers += [client.get(f"{PREFIX}/restores/r"), client.post(f"{PREFIX}/restores/r/commit")]
        answers += [client.get(f"{PREFIX}/{path}") for path in ("health", "backups", f"backups/{created['backup_id']}")]
        for bad in (good[:-1], good.replace(b'"users": {', b'"users": 5, "x": {'), good[:40] + b"\xff" + good[40:]):
            dirs.config.write_bytes(bad)
            answers += [client.get(f"{PREFIX}/health"), client.post(f"{PREFIX}/backup", json={"path": "b.json"})]
            (dirs.backups / "bad.json").write_bytes(bad)
            answers.append(client.post(f"{PREFIX}/restore", json={"input_file": "bad.json"}))
        dirs.config.write_bytes(good)
        _send_canaries(client, answers)
        dirs.config.write_bytes(good)
        verify = f"{PREFIX}/backups/{created['backup_id']}/verify"
        answers += [client.post(verify), client.post(verify, json={"identity": SECRET})]
        assert (dirs.backups / f"{WORD}.json.zst.verification").exists()
        answers += [client.get("/metrics"), client.get("/ready"), client.get("/health"), client.get("/openapi.json")]
        assert process.process is not None
        for number in process_tree(process.process.pid):
            for word in (SECRET.encode(), dirs.key.encode()):
                assert word not in Path(f"/proc/{number}/cmdline").read_bytes()
                assert word not in Path(f"/proc/{number}/environ").read_bytes()
        process.stop()
        for answer in answers:
            assert SECRET not in answer.text, (answer.request.method, answer.request.url.path, answer.text[:400])
            assert SECRET not in str(answer.headers)
            assert dirs.key not in answer.text
            assert answer.status_code != 500
        assert SECRET not in process.log
        assert WORD not in process.log
        assert dirs.key not in process.log
    log = (dirs.backups / ".gateway" / "audit.jsonl").read_text()
    assert SECRET not in log
    assert WORD not in log
    for root in (dirs.backups, dirs.state):
        for file in root.rglob("*"):
            holds_config = file.name.startswith(("bad.json", "previous-")) or "safety" in file.parts
            if file.is_file() and not holds_config:
                assert SECRET.encode() not in file.read_bytes(), file.name
                assert dirs.key.encode() not in file.read_bytes(), file.name


def _aborted(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir()
    soft_to_hard = 'ulimit -c $(ulimit -Hc); exec "$@"'
    return subprocess.Popen(["sh", "-c", soft_to_hard, "sh", *command], cwd=folder, stderr=subprocess.DEVNULL)


def test_aborted_server_leaves_no_core_file(dirs: GatewayDirs, tmp_path: Path) -> None:
    process = AdminProcess(dirs.config, dirs.backups)
    command = process.command
    plain = _aborted([sys.executable, "-c", "import os; os.abort()"], tmp_path / "plain")
    assert plain.wait(60) == -signal.SIGABRT
    left_by_others = bool(list((tmp_path / "plain").iterdir()))
    folder = tmp_path / "server"
    process.process = _aborted(command, folder)
    try:
        process.wait_until_up()
        with process.client(dirs.key) as client:
            assert_ok(client.post(f"{PREFIX}/backup", json={"path": "a.json"}))
        limits = Path(f"/proc/{process.process.pid}/limits").read_text()
        assert re.search(r"Max core file size +0 +0 ", limits)
        os.kill(process.process.pid, signal.SIGABRT)
        assert process.process.wait(60) == -signal.SIGABRT
        assert not list(folder.iterdir()), f"a core file; a process without the limit leaves one: {left_by_others}"
    finally:
        process.process.kill()
        process.log_file.unlink()


def test_worker_with_a_config_is_not_dumpable() -> None:
    config = json.dumps(gateway_config("k" * 64)).encode()
    data = os.memfd_create("config")
    os.write(data, config)
    options = {"unwrap": False, "sections": False, "limit": len(config)}
    job = {"task": "parse", "data": data, "old": None, "output": data, "options": options, "server": os.getpid()}
    # Reports the attribute of a real worker right before it maps the config into its memory.
    attributes = "(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))"
    report = f"os.write(2, str({attributes}).encode())"
    start = COMMAND[-1].replace(
        "import main; main()",
        "import main, _map; from gateway_api.gateway_config import parse_worker; import ctypes, os, resource; "
        f"parse_worker._map = lambda fd: ({report} if fd else None, _map(fd))[1]; main()",
    )
    words = (*COMMAND[:-1], start)
    done = subprocess.run(
        words, input=json.dumps(job) + "\n", capture_output=True, text=True, check=True, pass_fds=[data]
    )
    os.close(data)
    assert json.loads(done.stdout)["summary"]["counts"]["users"] == 2
    assert done.stderr == "(0, (0, 0))"


def test_process_that_forbids_core_files_is_not_dumpable() -> None:
    code = (
        "import ctypes, resource; from gateway_api.http.server import disable_core_dumps; disable_core_dumps();"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 (0, 0)"
