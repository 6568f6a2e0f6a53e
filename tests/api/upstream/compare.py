"""Compares the real gateway's own backups with ours under one load and prints a table: `make compare-upstream`.

Threads create users and projects through the gateway's own API. Backups, resets and restores run at the same time:
first through the gateway's own API, then through our server on the same config. The figures depend on the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.api.support.admin_process import AdminProcess
from tests.api.upstream.upstream_process import Upstream

PREFIX = "/api/v1/system"


class Load:
    """Threads that send requests until they are stopped, and the numbers of their answers by code."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def add(self, name: str, call: Callable[[int], httpx.Response], pause: float) -> None:
        """Adds a thread that sends a request every ``pause`` seconds."""

        def work() -> None:
            number = 0
            while not self._stop.wait(pause):
                number += 1
                try:
                    answer = call(number)
                    code = "200" if answer.is_success else str(answer.json().get("code", answer.status_code))
                except (httpx.HTTPError, ValueError, OSError, KeyError) as error:
                    code = type(error).__name__
                self.answers[f"{name} {code}"] += 1

        self._threads.append(threading.Thread(target=work))

    def run(self, seconds: float, upstream: Upstream) -> int:
        """Runs all threads and restarts the gateway's API whenever it is down; returns the number of restarts."""
        for thread in self._threads:
            thread.start()
        down, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.2)
            if not upstream.alive:
                down += 1
                upstream.stop()
                with contextlib.suppress(RuntimeError):
                    upstream.start()
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return down


def _is_config(value: object) -> bool:
    return isinstance(value, dict) and "users" in value and "common_mcp_gateway_config" in value


def _is_complete(file: Path) -> bool:
    with contextlib.suppress(ValueError, OSError):
        value = json.loads(file.read_bytes())
        return _is_config(value.get("config", value))
    return False


def _load(upstream: Upstream, key: Callable[[], str], load: Load) -> None:
    for writer in range(3):

        def write(number: int, writer: int = writer) -> httpx.Response:
            with upstream.client(key()) as client:
                return client.post("/users", json={"email": f"u{writer}-{number}@example.com"})

        load.add("write", write, 0.01)


def run_own_backups(seconds: float) -> dict[str, object]:
    """Backs up and resets the gateway through its own API."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        upstream = Upstream(Path(name))
        upstream.generate()
        stack.enter_context(upstream)
        last_key = [json.loads(upstream.config.read_bytes())["admin_apikey"]]

        def key() -> str:
            with contextlib.suppress(ValueError, KeyError, OSError):
                last_key[0] = json.loads(upstream.config.read_bytes())["admin_apikey"]
            return str(last_key[0])

        load = Load()
        _load(upstream, key, load)

        def backup(who: int) -> Callable[[int], httpx.Response]:
            def call(number: int) -> httpx.Response:
                with upstream.client(key()) as client:
                    file = str(Path(name) / f"backup-{who}-{number}.json")
                    return client.post("/system/backup", json={"output_file": file})

            return call

        def reset(number: int) -> httpx.Response:
            with upstream.client(key()) as client:
                return client.post("/system/reset", json={"confirm": True})

        load.add("backup", backup(0), 0.01)
        load.add("backup", backup(1), 0.01)
        load.add("reset", reset, 2.0)
        down = load.run(seconds, upstream)
        files = list(Path(name).glob("backup-*.json"))
        return _figures(load, files, upstream, down, ours=None)


def run_our_backups(seconds: float) -> dict[str, object]:
    """Backs up, restores and resets the gateway through our server, under the same load."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        upstream = Upstream(Path(name))
        upstream.generate()
        stack.enter_context(upstream)
        key = json.loads(upstream.config.read_bytes())["admin_apikey"]
        backups, keys = Path(name) / "backups", Path(name) / "keys"
        backups.mkdir()
        keys.write_text(key)
        process = stack.enter_context(AdminProcess(upstream.config, backups, admin_key_file=keys))
        client = stack.enter_context(process.client(key))
        first = client.post(f"{PREFIX}/backup", json={"path": "first.json"}).json()["data"]["backup_id"]
        load = Load()
        _load(upstream, lambda: key, load)

        def backup(who: int) -> Callable[[int], httpx.Response]:
            return lambda number: client.post(f"{PREFIX}/backup", json={"path": f"b/{who}-{number}.json"})

        def replace(number: int) -> httpx.Response:
            if number % 2:
                return client.post(f"{PREFIX}/reset", json={"confirm": True})
            return client.post(f"{PREFIX}/restore", json={"backup_id": first})

        load.add("backup", backup(0), 0.01)
        load.add("backup", backup(1), 0.01)
        load.add("reset or restore", replace, 2.0)
        down = load.run(seconds, upstream)
        files = list(backups.rglob("*.json"))
        return _figures(load, [file for file in files if ".gateway" not in file.parts], upstream, down, ours=client)


def _figures(
    load: Load, files: list[Path], upstream: Upstream, down: int, *, ours: httpx.Client | None
) -> dict[str, object]:
    return {
        "backups acknowledged": load.answers["backup 200"],
        "files that are no whole config": sum(not _is_complete(file) for file in files),
        "config whole at the end": "yes" if _is_complete(upstream.config) else "no",
        "the gateway's own API went down": f"{down} times",
        "ours answers at the end": "-" if ours is None else ("yes" if ours.get("/health").is_success else "no"),
        "answers": ", ".join(f"{name} {number}" for name, number in sorted(load.answers.items())),
    }


def main() -> None:
    """Runs all trials and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--trials", type=int, default=3)
    options = parser.parse_args()
    print(f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, {options.seconds:g} s a trial\n")
    columns = [
        (who, call(options.seconds))
        for who, call in (("itself", run_own_backups), ("ours", run_our_backups))
        for _ in range(options.trials)
    ]
    print("| | " + " | ".join(f"{who} {1 + at % options.trials}" for at, (who, _) in enumerate(columns)) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name in columns[0][1]:
        if name != "answers":
            print(f"| {name} | " + " | ".join(str(result[name]) for _, result in columns) + " |")
    print()
    for at, (who, result) in enumerate(columns):
        print(f"- {who} {1 + at % options.trials}: {result['answers']}")


if __name__ == "__main__":
    main()
