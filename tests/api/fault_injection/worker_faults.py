"""Injects faults into the worker process that parses a config, and into the server while that worker runs.

A worker opens no file in the two directories. Its injection points are its start, its exit, and its calls on the pipes
and memory files that it inherits. A test writes an order file; the server's parse command reads it and starts the next
worker under strace.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.api.fault_injection.syscalls import KILL, SERVER, Fault, InjectionPoint, InjectionResult, on_sigstop
from tests.api.support.processes import kill_processes, process_tree

CALLS: Final = ("brk", "read", "mmap", "prctl", "getppid", "write", "exit_group")
ROLE: Final = "worker"
_INHERITED: Final = re.compile(r"<pipe:|<[^>]*memfd:")
_COUNTED_ONCE: Final = ("brk", "prctl", "getppid", "exit_group")
_EXIT_TIMEOUT_SECONDS: Final = 60.0


def install_worker_orders(folder: Path) -> None:
    """Prepares a server that is about to start for worker faults; runs in the server process.

    The server gets a session of its own. It forgets parsed configs, so that a worker parses every config. It starts
    workers as the order file in ``folder`` requires.
    """
    from gateway_api.gateway_config import parser

    os.setsid()
    setattr(parser, "REMEMBERED", 0)  # noqa: B010
    # Dumps stay allowed, because forbidding them also hides the worker's descriptors from an strace of another user.
    start = parser.COMMAND[-1].replace(
        "import main; main()",
        "import *; from gateway_api.gateway_config import parse_worker as worker; "
        "worker.forbid_dumps = lambda: None; worker.main()",
    )
    setattr(parser, "COMMAND", _WorkerCommands(folder, (*parser.COMMAND[:-1], start)))  # noqa: B010


class _WorkerCommands:
    """The command line of the next worker; ``subprocess`` iterates over it once for each worker."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self._folder = folder
        self._command = command
        self._number = 0

    def __iter__(self) -> Iterator[str]:
        try:
            ordered, words = json.loads((self._folder / "order").read_text())
        except FileNotFoundError:
            self._number = 0
            return iter(self._command)
        self._number += 1
        if ordered not in (None, self._number):
            return iter(self._command)
        # -D keeps the worker a direct child of the server, whose death it must notice.
        return iter((*words, "-o", str(_record(self._folder, self._number)), *self._command))


def _record(folder: Path, number: int) -> Path:
    return folder / f"{number}.trace"


@contextmanager
def _start_under_strace(folder: Path, number: int | None, *words: str) -> Iterator[None]:
    """Starts worker ``number`` of the block under strace, counted from 1; None: every worker."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    strace = shutil.which("strace")
    assert strace is not None
    # Written under another name first, so that the server never reads half an order.
    draft = folder / "order.new"
    draft.write_text(json.dumps([number, [strace, "-D", "-y", *words]]))
    draft.rename(folder / "order")
    try:
        yield
    finally:
        (folder / "order").unlink()


@contextmanager
def trace_worker_points(folder: Path) -> Iterator[list[InjectionPoint]]:
    """Traces all workers that start in the block; afterwards the yielded list holds their injection points."""
    points: list[InjectionPoint] = []
    with _start_under_strace(folder, None, "-e", "signal=none", "-e", f"trace={','.join(CALLS)}"):
        yield points
    for number in range(1, 1 + len(list(folder.glob("*.trace")))):
        points += _parse(_record(folder, number).read_text(errors="replace"), f"{ROLE}{number}")


def _parse(trace: str, role: str) -> list[InjectionPoint]:
    counts: Counter[str] = Counter()
    points = []
    for line in trace.splitlines():
        call, bracket, rest = line.partition("(")
        if not bracket or call not in CALLS:
            continue
        counts[call] += 1
        inherited = _INHERITED.search(rest)
        if inherited or (call in _COUNTED_ONCE and counts[call] == 1):
            points.append(
                InjectionPoint(role, call, counts[call], "" if inherited is None else inherited[0].strip("<"))
            )
    return points


@contextmanager
def inject_worker_fault(pid: int, fault: Fault, folder: Path) -> Iterator[InjectionResult]:
    """Injects the fault when a worker makes the call during the block.

    The fault kills the worker alone, the server ``pid`` alone while the worker is stopped at the call, or all.
    """
    number, call = int(fault.point.role.removeprefix(ROLE)), fault.point.call
    kill_signal = "KILL" if fault.kind == KILL else "STOP"
    inject = f"inject={call}:signal={kill_signal}:when={fault.point.number}"
    words = ("-e", f"trace={call}", "-e", "signal=STOP,KILL", "-e", inject)
    record, result = _record(folder, number), InjectionResult()

    def inject_kills() -> None:
        workers = process_tree(pid)[1:]
        kill_processes([pid] if fault.kind == SERVER else [pid, *workers])
        # strace stopped the worker to give us time to kill the server; now it must notice that by itself.
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGCONT)

    with _start_under_strace(folder, number, *words), on_sigstop(record, inject_kills) as injected:
        yield result
    killed = fault.kind == KILL and record.exists() and "killed by SIGKILL" in record.read_text(errors="replace")
    result.injected = killed or injected.is_set()


def surviving_processes(session: int) -> list[str]:
    """The command lines of those processes in a dead server's session that still run after 60 s."""
    deadline = time.monotonic() + _EXIT_TIMEOUT_SECONDS
    while (left := _members(session)) and time.monotonic() < deadline:
        time.sleep(0.005)
    return left


def _members(session: int) -> list[str]:
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _, _, process_session = (process / "stat").read_text().rpartition(")")[2].split()[:4]
            if process_session == str(session) and state not in ("Z", "X"):
                lines.append((process / "cmdline").read_text().replace("\0", " ") or process.name)
    return lines
