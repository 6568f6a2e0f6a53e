"""Where a blow can fall: the system calls that one request makes in the two directories, seen by strace.

A point is found again by the thread that makes the call and by the call's number there, which strace counts for each
thread and each kind of call since it was attached.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHANGING: Final[tuple[str, ...]] = (
    *("write", "pwrite64", "writev", "pwritev", "pwritev2", "copy_file_range", "fallocate", "ftruncate"),
    *("openat", "openat2", "creat", "close", "mkdir", "mkdirat", "rmdir", "fchmod", "fchmodat", "fchown"),
    *("fsync", "fdatasync", "rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "symlinkat"),
)
READING: Final = ("pread64", "read", "getdents64", "fstatfs")
ERRORS: Final = ("ENOSPC", "EIO", "EDQUOT", "EROFS", "EACCES", "EMFILE")
KILL: Final = "KILL"
GROUP: Final = "GROUP"
SERVER: Final = "SERVER"
FATAL: Final = (KILL, GROUP, SERVER)
_PLACE: Final = re.compile(r"^\d+ +(?P<call>\w+)\((?P<rest>.*)$")
_NOISE: Final = re.compile(r"[0-9a-f]{16,}|\d{8}T\d{6}Z")


@dataclass(frozen=True, order=True)
class Point:
    """One call. ``role`` is process and thread, ``number`` counts from one, ``what`` says on which file, for people."""

    role: str
    call: str
    number: int
    what: str = ""

    def __str__(self) -> str:
        return f"{self.role}:{self.call}:{self.number}"


@dataclass(frozen=True, order=True)
class Blow:
    """What is to happen at a point.

    An error; or ``KILL`` for the process that makes the call, ``GROUP`` for the server and its workers all at once,
    just after it, ``SERVER`` for the server alone, while a worker stands at the call.
    """

    point: Point
    kind: str

    def __str__(self) -> str:
        return f"{self.point}:{self.kind}"


def blows(points: list[Point], kinds: tuple[str, ...]) -> list[Blow]:
    """Every blow of ``kinds`` at every point. Readings are refused as a bad disk does; a kill there is the same as one
    at the next change. A worker only dies: it has no disk; and what has begun to exit cannot be made to wait."""
    found = []
    for point in points:
        if point.role.startswith("worker"):
            fit = (KILL,) if point.call == "exit_group" else FATAL
            found += [Blow(point, kind) for kind in kinds if kind in fit]
        elif point.call in READING:
            found += [Blow(point, kind) for kind in kinds if kind == "EIO"]
        else:
            found += [Blow(point, kind) for kind in kinds if kind != SERVER]
    return found


def family(pid: int) -> list[int]:
    """The server and its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


def threads(pid: int) -> dict[int, str]:
    """Every thread of the server and its descendants, by the role it plays."""
    roles: dict[int, str] = {}
    for number, member in enumerate(family(pid)):
        process = "server" if number == 0 else f"child{number}"
        for task in Path(f"/proc/{member}/task").iterdir():
            roles[int(task.name)] = f"{process}/{(task / 'comm').read_text().strip()}"
    return roles


def _attach(words: list[str]) -> subprocess.Popen[bytes]:
    strace = subprocess.Popen(["strace", "-y", "-e", "signal=none", *words], stderr=subprocess.PIPE)
    assert strace.stderr is not None
    line = strace.stderr.readline()
    if b"attached" not in line:
        strace.kill()
        strace.communicate()
        raise RuntimeError(f"strace: {line.decode()}")
    return strace


def _detach(strace: subprocess.Popen[bytes]) -> None:
    strace.send_signal(signal.SIGTERM)
    try:
        strace.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        strace.kill()
        strace.communicate()


@contextmanager
def traced(pid: int, folder: Path) -> Iterator[list[Point]]:
    """The list holds, once the block is left, the points that were passed in it in ``folder``."""
    found: list[Point] = []
    file = Path(tempfile.mkstemp(prefix="torture-", suffix=".trace")[1])
    roles = threads(pid)
    words = ["-f", "-o", str(file), "-e", f"trace={','.join('?' + call for call in [*CHANGING, *READING])}"]
    strace = _attach([*words, *(f"-p{member}" for member in family(pid))])
    try:
        yield found
        _detach(strace)
        found += parse(file.read_text(errors="replace"), roles, folder)
    finally:
        if strace.poll() is None:
            _detach(strace)
        file.unlink()


def parse(trace: str, roles: dict[int, str], folder: Path) -> list[Point]:
    """The points of a trace: calls on paths below ``folder``, numbered among all calls of their kind and thread."""
    seen: Counter[tuple[int, str]] = Counter()
    found = []
    for line in trace.splitlines():
        match = _PLACE.match(line)
        if match is None or line.split(maxsplit=2)[1].startswith(("<", "+++", "---")):
            continue
        thread, call, rest = int(line.split(maxsplit=1)[0]), match["call"], match["rest"]
        seen[thread, call] += 1
        if str(folder) in rest.rpartition(" = ")[0] + rest.partition(" = ")[0]:
            role = roles.get(thread, "new")
            if role == "new" and call == "close":
                continue  # a worker to be closes its copies of what the server has open
            found.append(Point(role, call, seen[thread, call], _said(call, rest, folder)))
    return found


def _said(call: str, rest: str, folder: Path) -> str:
    paths = re.findall(rf'{re.escape(str(folder))}([^>"]*)>?(?:, "([^"]*)")?', rest)
    text = " → ".join("/".join(part for part in pair if part).lstrip("/") or "." for pair in paths)
    return _NOISE.sub("…", text) + (" O_CREAT" if "O_CREAT" in rest else "")


@dataclass
class Struck:
    """Whether the blow fell, known once the block is left."""

    fell: bool = False


def end(members: list[int]) -> None:
    """Kills processes that were found a moment ago."""
    for member in members:
        with suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)


@contextmanager
def when_stopped(record: Path, act: Callable[[], None]) -> Iterator[threading.Event]:
    """In the block, ``act`` is called when strace writes to ``record`` that its process was stopped; then the event
    is set."""
    fell, over = threading.Event(), threading.Event()

    def watch() -> None:
        while not over.wait(0.002):
            if record.exists() and b"stopped by SIGSTOP" in record.read_bytes():
                act()
                fell.set()
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield fell
    finally:
        over.set()
        watcher.join()


@contextmanager
def struck(pid: int, blow: Blow) -> Iterator[Struck]:
    """In the block, the blow falls on the server when its call comes. Raises ``LookupError`` for an unknown role."""
    tids = [tid for tid, role in threads(pid).items() if role == blow.point.role]
    if not tids:
        raise LookupError(f"no thread plays {blow.point.role}")
    what = {KILL: "signal=KILL", GROUP: "signal=STOP"}.get(blow.kind, f"error={blow.kind}")
    file = Path(tempfile.mkstemp(prefix="torture-", suffix=".blow")[1])
    call = blow.point.call
    inject = f"inject={call}:{what}:when={blow.point.number}"
    seen = ["-e", "signal=STOP"] if blow.kind == GROUP else []
    strace = _attach(["-o", str(file), "-e", f"trace={call}", *seen, "-e", inject, f"-p{tids[0]}"])
    result = Struck()
    try:
        with when_stopped(file, lambda: end(family(pid))) if blow.kind == GROUP else nullcontext():
            yield result
    finally:
        _detach(strace)
        text = file.read_text(errors="replace")
        result.fell = "(INJECTED)" in text or "killed by SIGKILL" in text or not os.path.exists(f"/proc/{tids[0]}")
        file.unlink()
