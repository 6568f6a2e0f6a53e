"""Blows on the process that reads a config for a server, and on the server while that process is at work.

A worker opens nothing in the two directories, so its points are its beginning, its end, and its calls on what it was
given: the pipes and the contents in memory. Each worker can be started under a strace of its own, by an order that
the server's parent process leaves in a folder.
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

from tests.api.fault_injection.syscalls import KILL, SERVER, Blow, Point, Struck, end, family, when_stopped

CALLS: Final = ("brk", "read", "mmap", "prctl", "getppid", "write", "exit_group")
ROLE: Final = "worker"
_GIVEN: Final = re.compile(r"<pipe:|<[^>]*memfd:")
_ALWAYS: Final = ("brk", "prctl", "getppid", "exit_group")
_PATIENCE_SECONDS: Final = 10.0


def obey(folder: Path) -> None:
    """In a server about to start: it has a session of its own, a worker for every reading, also of what it has read
    before, and heeds the orders in ``folder``."""
    from gateway_api.gateway_config import parser

    os.setsid()
    setattr(parser, "REMEMBERED", 0)  # noqa: B010
    setattr(parser, "COMMAND", _Commands(folder, parser.COMMAND))  # noqa: B010


class _Commands:
    """What starts the next worker, asked for by ``subprocess`` each time."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self._folder = folder
        self._command = command
        self._number = 0

    def __iter__(self) -> Iterator[str]:
        try:
            wanted, words = json.loads((self._folder / "order").read_text())
        except FileNotFoundError:
            self._number = 0
            return iter(self._command)
        self._number += 1
        if wanted not in (None, self._number):
            return iter(self._command)
        # -D: the worker stays the server's own child.
        return iter((*words, "-o", str(_record(self._folder, self._number)), *self._command))


def _record(folder: Path, number: int) -> Path:
    return folder / f"{number}.trace"


@contextmanager
def _ordered(folder: Path, number: int | None, *words: str) -> Iterator[None]:
    """In the block, the worker of that number (None: each), counted from here, is started under strace."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    strace = shutil.which("strace")
    assert strace is not None
    waiting = folder / "order.new"
    waiting.write_text(json.dumps([number, [strace, "-D", "-y", *words]]))
    waiting.rename(folder / "order")
    try:
        yield
    finally:
        (folder / "order").unlink()


@contextmanager
def traced_workers(folder: Path) -> Iterator[list[Point]]:
    """The list holds, once the block is left, the points of the workers that were started in it."""
    found: list[Point] = []
    with _ordered(folder, None, "-e", "signal=none", "-e", f"trace={','.join(CALLS)}"):
        yield found
    for number in range(1, 1 + len(list(folder.glob("*.trace")))):
        found += _parse(_record(folder, number).read_text(errors="replace"), f"{ROLE}{number}")


def _parse(trace: str, role: str) -> list[Point]:
    seen: Counter[str] = Counter()
    found = []
    for line in trace.splitlines():
        call, bracket, rest = line.partition("(")
        if not bracket or call not in CALLS:
            continue
        seen[call] += 1
        given = _GIVEN.search(rest)
        if given or (call in _ALWAYS and seen[call] == 1):
            found.append(Point(role, call, seen[call], "" if given is None else given[0].strip("<")))
    return found


@contextmanager
def struck_worker(pid: int, blow: Blow, folder: Path) -> Iterator[Struck]:
    """In the block, the blow falls when the call of a worker comes: on the worker alone, on the server ``pid`` alone
    while the worker stands at the call, or on all."""
    number, call = int(blow.point.role.removeprefix(ROLE)), blow.point.call
    what = "KILL" if blow.kind == KILL else "STOP"
    inject = f"inject={call}:signal={what}:when={blow.point.number}"
    words = ("-e", f"trace={call}", "-e", "signal=STOP,KILL", "-e", inject)
    record, result = _record(folder, number), Struck()

    def fall() -> None:
        workers = family(pid)[1:]
        end([pid] if blow.kind == SERVER else [pid, *workers])
        # Stopped by us, not by what is tested: from here it is on its own.
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGCONT)

    with _ordered(folder, number, *words), when_stopped(record, fall) as fell:
        yield result
    killed = blow.kind == KILL and record.exists() and "killed by SIGKILL" in record.read_text(errors="replace")
    result.fell = killed or fell.is_set()


def outlived(session: int) -> list[str]:
    """The command lines of what still runs of a server's session, a while after the server's death."""
    limit = time.monotonic() + _PATIENCE_SECONDS
    while (left := _members(session)) and time.monotonic() < limit:
        time.sleep(0.005)
    return left


def _members(session: int) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _, _, its = (process / "stat").read_text().rpartition(")")[2].split()[:4]
            if its == str(session) and state not in ("Z", "X"):
                found.append((process / "cmdline").read_text().replace("\0", " ") or process.name)
    return found
