"""Measures a server while one peer without a key attacks it: memory, `/health`, and requests with the right key.

The server runs with TLS, 1,024 open files, and a missing config where the attack needs one. `/health` is asked on a new
connection each time, as the kubelet does, and so is the request with the key.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.api.support.admin_process import AdminProcess, free_port
from tests.api.support.certificates import write_certificate
from tests.api.support.gateway_dirs import GatewayDirs

MEMORY_LIMIT_MIB = 512
"""The memory limit of the container in the chart."""
HEALTH_PERIOD = 0.02
KEY_PERIOD = 0.25
FILES = 1024


@dataclass
class Latencies:
    """Durations of requests in seconds, and how many failed."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0

    def percentile(self, percent: float) -> float:
        """The percentile in milliseconds. Infinite if there is no measurement."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000 if ordered else float("inf")


@dataclass
class Measurement:
    """The figures of one period. Memory is the peak in MiB of anonymous pages of the server and its workers."""

    name: str
    health: Latencies
    keyed: Latencies
    memory_mib: float


class Target:
    """A server in a temporary folder, with TLS and few open files."""

    def __init__(self, folder: Path) -> None:
        self.dirs = GatewayDirs(folder)
        certificate, key = write_certificate(folder)
        self.trusted = ssl.create_default_context(cafile=str(certificate))
        self.tls_port = free_port()
        self.process = AdminProcess(
            self.dirs.config, self.dirs.backups, tls_cert=certificate, tls_key=key, tls_port=self.tls_port
        )

    def peak_memory_mib(self) -> float:
        """Anonymous memory of the server and its worker processes now."""
        assert self.process.process is not None
        pid = self.process.process.pid
        total = 0
        for one in (pid, *_children(pid)):
            with contextlib.suppress(OSError, IndexError):
                total += int(Path(f"/proc/{one}/status").read_text().split("RssAnon:")[1].split()[0])
        return total / 1024

    def ask_health(self) -> None:
        """One `/health` on a new connection."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.process.port, timeout=10)) as connection:
            _get(connection, "/health", {})

    def ask_with_key(self) -> None:
        """One listing with the right key on a new TLS connection."""
        with contextlib.closing(
            http.client.HTTPSConnection("localhost", self.tls_port, timeout=10, context=self.trusted)
        ) as connection:
            _get(connection, "/api/v1/system/backups", {"apikey": self.dirs.key})


def _get(connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> None:
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise http.client.HTTPException(f"status {answer.status}")


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


@contextlib.contextmanager
def running_target() -> Iterator[Target]:
    """A server that answers, with the limit of open files that containers often have."""
    with tempfile.TemporaryDirectory(prefix="admission-") as folder:
        target = Target(Path(folder))
        # In the server's process only: this one may have more files open.
        target.process.command = ["sh", "-c", f'ulimit -S -n {FILES}; exec "$@"', "sh", *target.process.command]
        target.process.start()
        try:
            target.ask_with_key()
            yield target
        finally:
            target.process.stop()
            target.process.log_file.unlink(missing_ok=True)


def _ask_until(stop: threading.Event, ask: Callable[[], None], period: float, into: Latencies) -> None:
    while not stop.wait(period):
        started = time.monotonic()
        try:
            ask()
            into.seconds.append(time.monotonic() - started)
        except (OSError, http.client.HTTPException):
            into.failed += 1


@contextlib.contextmanager
def _attack(name: str | None, target: Target) -> Iterator[None]:
    if name is None:
        yield
        return
    words = [sys.executable, "-m", "tests.bench.admission.attacks", name, str(target.process.port)]
    with subprocess.Popen([*words, str(target.tls_port)], stderr=subprocess.DEVNULL) as attacker:
        try:
            yield
            assert attacker.poll() is None, f"the attack {name} ended by itself"
        finally:
            attacker.send_signal(signal.SIGKILL)


def measure(target: Target, attack: str | None, seconds: float) -> Measurement:
    """The figures of ``seconds`` under an attack of `attacks.py`, or without one."""
    health, keyed, stop = Latencies(), Latencies(), threading.Event()
    missing = attack == "wrong_keys"
    content = target.dirs.config.read_bytes()
    if missing:
        target.dirs.config.unlink()
    askers = [
        threading.Thread(target=_ask_until, args=(stop, target.ask_health, HEALTH_PERIOD, health)),
        threading.Thread(target=_ask_until, args=(stop, target.ask_with_key, KEY_PERIOD, keyed)),
    ]
    peak = 0.0
    try:
        with _attack(attack, target):
            for asker in askers:
                asker.start()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                peak = max(peak, target.peak_memory_mib())
                time.sleep(0.05)
            stop.set()
            for asker in askers:
                asker.join()
    finally:
        stop.set()
        if missing:
            target.dirs.config.write_bytes(content)
    return Measurement(attack or "idle", health, keyed, peak)


def as_json(measurement: Measurement) -> str:
    """One line for a log."""
    return json.dumps(
        {
            "attack": measurement.name,
            "health_ms": [round(measurement.health.percentile(p), 1) for p in (50, 99, 100)],
            "health_failed": measurement.health.failed,
            "key_ms": [round(measurement.keyed.percentile(p), 1) for p in (50, 100)],
            "key_failed": measurement.keyed.failed,
            "memory_mib": round(measurement.memory_mib, 1),
        }
    )
