"""Starts a real server within milliseconds: a parent process that has imported all modules forks it.

Run as a program, this module is the parent. It reads a line of JSON settings and writes the pid of a stopped child; the
child serves once it is continued. Fault injection attaches strace to the stopped child, so that strace records every
system call of the server.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.api.support.admin_process import free_port

REPOSITORY = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 60.0
"""After this time a server hangs. On a loaded machine, a server that works took more than 15 s for an answer."""
CALLS = "fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdirat,pwrite64"


@dataclass(frozen=True)
class RunningServer:
    """The pid of a server that answers, and a client of it."""

    pid: int
    client: httpx.Client

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return _alive(self.pid)


class ForkServer:
    """Starts the parent process and forks servers from it."""

    def __init__(self, log: Path) -> None:
        self._log = log
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.api.support.fork_server"],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
            )

    def close(self) -> None:
        """Ends the parent process. Each test has ended its own servers."""
        self._process.communicate(timeout=PATIENCE_SECONDS)  # also closes the pipes

    def _fork(self, **settings: Any) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(settings) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    @contextmanager
    def server(
        self,
        config: Path,
        backups: Path,
        key: str,
        *,
        inject: str | None = None,
        trace: Path | None = None,
        **settings: Any,
    ) -> Iterator[httpx.Client]:
        """Runs a server on the two directories during the block and yields a client.

        ``inject`` is an `inject=` expression of strace. ``trace`` is the file for its log of the calls in ``CALLS``.
        ``settings`` are fields of :class:`AdminSettings`.
        """
        with self.running(config, backups, key, inject=inject, trace=trace, **settings) as served:
            yield served.client

    @contextmanager
    def running(
        self,
        config: Path,
        backups: Path,
        key: str,
        *,
        inject: str | None = None,
        trace: Path | None = None,
        **settings: Any,
    ) -> Iterator[RunningServer]:
        """As :meth:`server`, but yields the server's pid as well."""
        port = free_port()
        settings.setdefault("settle_seconds", 0.02)
        pid = self._fork(config_file=str(config), backup_dir=str(backups), port=port, **settings)
        strace: subprocess.Popen[bytes] | None = None
        if inject is not None or trace is not None:
            strace = _attach(pid, inject, trace)
        os.kill(pid, signal.SIGCONT)
        headers = {"Authorization": f"Bearer {key}"}
        url = f"http://127.0.0.1:{port}"
        try:
            with httpx.Client(
                base_url=url, headers=headers, timeout=PATIENCE_SECONDS, trust_env=False, verify=False
            ) as client:
                _wait_until_up(client, pid, self._log)
                yield RunningServer(pid, client)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            if strace is not None:
                strace.communicate(timeout=PATIENCE_SECONDS)
            _wait_for_exit(pid)


def _attach(pid: int, inject: str | None, trace: Path | None) -> subprocess.Popen[bytes]:
    words = ["strace", "-f", "-p", str(pid), "-e", f"trace={CALLS}", "-e", "signal=none"]
    if inject is not None:
        words += ["-e", f"inject={inject}"]
    words += ["-o", "/dev/null" if trace is None else str(trace)]
    strace = subprocess.Popen(words, stderr=subprocess.PIPE)
    assert strace.stderr is not None
    line = strace.stderr.readline()
    if b"attached" not in line:
        raise RuntimeError(f"strace: {line.decode()}")
    return strace


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def _wait_for_exit(pid: int) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while _alive(pid) and time.monotonic() < end:
        time.sleep(0.002)


def _wait_until_up(client: httpx.Client, pid: int, log: Path) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            client.get("/health")
            return
        if not _alive(pid):
            raise RuntimeError(f"the server died at start:\n{log.read_text()[-4000:]}")
        time.sleep(0.005)
    raise RuntimeError(f"the server does not answer:\n{log.read_text()[-4000:]}")


def copy(source: Path, target: Path) -> tuple[Path, Path]:
    """Replaces ``target`` by a copy of prepared directories; returns its config file and backup directory."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target / "config" / "config.json", target / "backups"


def _serve_children() -> None:
    from gateway_api import maintenance, service
    from gateway_api.codec import compression, encryption
    from gateway_api.http import server
    from gateway_api.repository import signing
    from gateway_api.settings import AdminSettings
    from gateway_api.storage.content import Blob
    from tests.api.fault_injection.worker_faults import install_worker_orders

    list(compression.compress(Blob.of(b"{}"), "zstd"))
    signing.load_signer(signing.new_key()).signature({})
    encryption.ephemeral_identity()
    # Imports the codec that signatures use: a child of another user may not read the interpreter's files.
    "".encode("utf-16-be")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        settings = json.loads(line)
        pid = os.fork()
        if pid:
            _wait_stopped(pid)
            print(pid, flush=True)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(2, 1)
        _allow_strace()
        _name_threads()
        # Core files stay allowed, because forbidding them also stops a strace of another user from attaching.
        setattr(server, "disable_core_dumps", lambda: None)  # noqa: B010
        if (user := settings.pop("user", None)) is not None:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        if settings.pop("ready_uncached", False):
            setattr(service, "CACHE_SECONDS", 0.0)  # noqa: B010
        # The periodic checks would add system calls between those of a request.
        setattr(maintenance, "CHECK_SECONDS", 1e6)  # noqa: B010
        if settings.pop("one_reader", False):
            _limit_readers()
        if workers := settings.pop("workers", None):
            install_worker_orders(Path(workers))
        os.kill(os.getpid(), signal.SIGSTOP)
        try:
            server.run(AdminSettings(**settings))
        finally:
            os._exit(0)


def _allow_strace() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)


def _name_threads() -> None:
    """Lets threads set their names in `/proc`, where tests read them."""
    set_name, run = ctypes.CDLL(None).prctl, threading.Thread.run

    def named(thread: threading.Thread) -> None:
        set_name(15, thread.name.encode()[:15], 0, 0, 0)
        run(thread)

    threading.Thread.run = named  # type: ignore[method-assign, assignment]


def _limit_readers() -> None:
    """Limits the reader pool to one thread, so that a call is identified by its thread and its number."""
    from concurrent.futures import ThreadPoolExecutor

    from gateway_api import service

    setattr(service, "ThreadPoolExecutor", lambda _, name: ThreadPoolExecutor(1, name))  # noqa: B010


def _wait_stopped(pid: int) -> None:
    while True:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("T", "Z"):
                return
        except OSError:
            return
        time.sleep(0.001)


if __name__ == "__main__":
    _serve_children()
