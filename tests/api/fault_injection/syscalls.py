"""Records the system calls of a request in the two directories and injects faults at them, both with strace.

`trace_points` lists the calls as injection points. `inject_fault` attaches strace to one thread of a server and lets
one call fail or kill the process. A call is identified by its thread, its name and its number: strace counts each kind
of call of a thread from the moment it is attached.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.api.support.processes import kill_processes, process_tree
from tests.api.support.temporary_files import new_temporary_file

CHANGING: Final[tuple[str, ...]] = (
    *("write", "pwrite64", "writev", "pwritev", "pwritev2", "copy_file_range", "fallocate", "ftruncate"),
    *("openat", "openat2", "creat", "close", "mkdir", "mkdirat", "rmdir", "fchmod", "fchmodat", "fchown"),
    *("fsetxattr", "fremovexattr"),
    *("fsync", "fdatasync", "rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "symlinkat"),
)
READING: Final = ("pread64", "preadv", "read", "getdents64", "fstatfs", "fgetxattr")
ERRORS: Final = ("ENOSPC", "EIO", "EDQUOT", "EROFS", "EACCES", "EMFILE")
KILL: Final = "KILL"
GROUP: Final = "GROUP"
SERVER: Final = "SERVER"
FATAL: Final = (KILL, GROUP, SERVER)
_TRACE_LINE: Final = re.compile(r"^\d+ +(?P<call>\w+)\((?P<rest>.*)$")
_NOISE: Final = re.compile(r"[0-9a-f]{16,}|\d{8}T\d{6}Z")


@dataclass(frozen=True, order=True)
class InjectionPoint:
    """One system call.

    ``role`` is the process and thread that makes it. ``number`` counts this thread's calls of the same name from 1.
    ``detail`` names the file in reports.
    """

    role: str
    call: str
    number: int
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.role}:{self.call}:{self.number}"


@dataclass(frozen=True, order=True)
class Fault:
    """An injection point and the kind of fault.

    ``kind`` is an error name, with which the call fails, or a kill. ``KILL`` kills the process that makes the call.
    ``GROUP`` kills the server and its workers together, just after the call. ``SERVER`` kills the server alone while a
    worker is stopped at the call.
    """

    point: InjectionPoint
    kind: str

    def __str__(self) -> str:
        return f"{self.point}:{self.kind}"


def faults_at(points: list[InjectionPoint], kinds: tuple[str, ...]) -> list[Fault]:
    """All useful faults of ``kinds`` at the given points.

    A read only fails with EIO: a kill at a read leaves the same files as a kill at the next write. A worker is only
    killed, because it opens no files; a worker that is already exiting cannot be stopped, so it is only killed alone.
    """
    faults = []
    for point in points:
        if point.role.startswith("worker"):
            fit = (KILL,) if point.call == "exit_group" else FATAL
            faults += [Fault(point, kind) for kind in kinds if kind in fit]
        elif point.call in READING:
            faults += [Fault(point, kind) for kind in kinds if kind == "EIO"]
        else:
            faults += [Fault(point, kind) for kind in kinds if kind != SERVER]
    return faults


def thread_roles(pid: int) -> dict[int, str]:
    """The thread ids of the server and its descendants, each with its role: process and thread name."""
    roles: dict[int, str] = {}
    for number, member in enumerate(process_tree(pid)):
        process = "server" if number == 0 else f"child{number}"
        for task in Path(f"/proc/{member}/task").iterdir():
            roles[int(task.name)] = f"{process}/{(task / 'comm').read_text().strip()}"
    return roles


def attach(words: list[str]) -> subprocess.Popen[bytes]:
    """Starts strace with ``words`` and returns once it is attached."""
    strace = subprocess.Popen(["strace", "-y", "-e", "signal=none", *words], stderr=subprocess.PIPE)
    assert strace.stderr is not None
    line = strace.stderr.readline()
    if b"attached" not in line:
        strace.kill()
        strace.communicate()
        raise RuntimeError(f"strace: {line.decode()}")
    return strace


def detach(strace: subprocess.Popen[bytes]) -> None:
    """Ends strace; the traced threads run on."""
    strace.send_signal(signal.SIGTERM)
    try:
        strace.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        strace.kill()
        strace.communicate()


@contextmanager
def trace_points(
    pid: int, folder: Path, calls: tuple[str, ...] = (*CHANGING, *READING)
) -> Iterator[list[InjectionPoint]]:
    """Traces the server during the block; afterwards the yielded list holds the injection points in ``folder``."""
    points: list[InjectionPoint] = []
    file = new_temporary_file("fault-injection-", ".trace")
    roles = thread_roles(pid)
    words = ["-f", "-o", str(file), "-e", f"trace={','.join('?' + call for call in calls)}"]
    strace = attach([*words, *(f"-p{member}" for member in process_tree(pid))])
    try:
        yield points
        detach(strace)
        points += parse_trace(file.read_text(errors="replace"), roles, folder)
    finally:
        if strace.poll() is None:
            detach(strace)
        file.unlink()


def parse_trace(trace: str, roles: dict[int, str], folder: Path) -> list[InjectionPoint]:
    """The injection points of a strace log: calls on paths below ``folder``.

    A point's number counts all calls of its name and thread, also those on other paths, as strace itself does.
    """
    counts: Counter[tuple[int, str]] = Counter()
    points = []
    for line in trace.splitlines():
        match = _TRACE_LINE.match(line)
        if match is None or line.split(maxsplit=2)[1].startswith(("<", "+++", "---")):
            continue
        thread, call, rest = int(line.split(maxsplit=1)[0]), match["call"], match["rest"]
        counts[thread, call] += 1
        if str(folder) in rest.rpartition(" = ")[0] + rest.partition(" = ")[0]:
            role = roles.get(thread, "new")
            if role == "new" and call == "close":
                continue  # a forked child closes its copies of the server's descriptors before it becomes a worker
            points.append(InjectionPoint(role, call, counts[thread, call], _describe(call, rest, folder)))
    return points


def _describe(call: str, rest: str, folder: Path) -> str:
    paths = re.findall(rf'{re.escape(str(folder))}([^>"]*)>?(?:, "([^"]*)")?', rest)
    text = " → ".join("/".join(part for part in pair if part).lstrip("/") or "." for pair in paths)
    return _NOISE.sub("…", text) + (" O_CREAT" if "O_CREAT" in rest else "")


@dataclass
class InjectionResult:
    """Whether the fault was injected. Valid after the `with` block."""

    injected: bool = False


@contextmanager
def on_sigstop(record: Path, act: Callable[[], None]) -> Iterator[threading.Event]:
    """Calls ``act`` during the block once strace logs in ``record`` that its process was stopped, then sets the event.

    strace cannot kill several processes at once. It stops the calling process, and ``act`` kills the others.
    """
    stopped, over = threading.Event(), threading.Event()

    def watch() -> None:
        while not over.wait(0.002):
            if record.exists() and b"stopped by SIGSTOP" in record.read_bytes():
                act()
                stopped.set()
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield stopped
    finally:
        over.set()
        watcher.join()


@contextmanager
def inject_fault(pid: int, fault: Fault) -> Iterator[InjectionResult]:
    """Injects the fault when the server makes the call during the block.

    Raises ``LookupError`` if no thread of the server has the point's role.
    """
    tids = [tid for tid, role in thread_roles(pid).items() if role == fault.point.role]
    if not tids:
        raise LookupError(f"no thread has the role {fault.point.role}")
    action = {KILL: "signal=KILL", GROUP: "signal=STOP"}.get(fault.kind, f"error={fault.kind}")
    file = new_temporary_file("fault-injection-", ".fault")
    call = fault.point.call
    inject = f"inject={call}:{action}:when={fault.point.number}"
    stop_filter = ["-e", "signal=STOP"] if fault.kind == GROUP else []
    strace = attach(["-o", str(file), "-e", f"trace={call}", *stop_filter, "-e", inject, f"-p{tids[0]}"])
    result = InjectionResult()
    try:
        with on_sigstop(file, lambda: kill_processes(process_tree(pid))) if fault.kind == GROUP else nullcontext():
            yield result
    finally:
        detach(strace)
        text = file.read_text(errors="replace")
        result.injected = "(INJECTED)" in text or "killed by SIGKILL" in text or not os.path.exists(f"/proc/{tids[0]}")
        file.unlink()
