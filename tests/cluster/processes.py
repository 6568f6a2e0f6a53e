"""Starts programs that outlive this process, and finds and stops them later.

Each program has a file with its pid, its start time and the boot id. A pid alone is not enough: after a crash or a
reboot it may belong to another process, which must never be killed.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cluster.paths import ClusterError, ClusterPaths

# Environment variable of all programs of a cluster. It identifies programs whose pid file was never written.
_MARK = "GATEWAY_TEST_CLUSTER"


def start_time(pid: int) -> str | None:
    """Start time of a process in kernel ticks; None if it has ended or is a zombie without other threads.

    After the end of its first thread a process has the state of a zombie, although its other threads still hold ports.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    dead = fields[0] == "X" or (fields[0] == "Z" and threads <= 1)
    return None if dead else fields[19]


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class Processes:
    """The programs of one cluster."""

    def __init__(self, paths: ClusterPaths) -> None:
        self._paths = paths

    def spawn(self, program: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> int:
        """Start a program in its own session, with its output in the cluster's logs; returns its pid."""
        self._paths.pids.mkdir(parents=True, exist_ok=True)
        self._paths.logs.mkdir(parents=True, exist_ok=True)
        log = str(self._paths.logs / f"{program}.log")
        writing = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        # posix_spawn and not subprocess, because nothing waits for the program and it outlives this process.
        pid = os.posix_spawnp(
            command[0],
            list(command),
            {**(os.environ if env is None else env), _MARK: str(self._paths.root)},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, writing, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        record = {"pid": pid, "started": start_time(pid), "boot": _boot_id()}
        # Written to a temporary file and renamed, so that no reader finds a partial record.
        temporary = self._paths.pids / f".{program}"
        temporary.write_text(json.dumps(record))
        temporary.replace(self._paths.pids / program)
        return pid

    def names(self) -> list[str]:
        """Names of all started programs, running or not."""
        if not self._paths.pids.is_dir():
            return []
        return sorted(path.name for path in self._paths.pids.iterdir() if not path.name.startswith("."))

    def pid(self, program: str) -> int | None:
        """The pid of a running program; None if it does not run."""
        try:
            record = json.loads((self._paths.pids / program).read_text())
        except (OSError, ValueError):
            return None
        pid = int(record["pid"])
        _reap(pid)
        alive = record["boot"] == _boot_id() and start_time(pid) == record["started"]
        return pid if alive and record["started"] is not None else None

    def stop(self, program: str, *, patience: float = 5.0, sig: signal.Signals = signal.SIGTERM) -> None:
        """Stop a program with `sig`, and after `patience` seconds with SIGKILL."""
        self.stop_all([program], patience=patience, sig=sig)

    def stop_all(self, programs: Sequence[str], *, patience: float = 5.0, sig: signal.Signals = signal.SIGTERM) -> None:
        """Stop several programs concurrently and delete their pid files."""
        pids = {program: pid for program in programs if (pid := self.pid(program)) is not None}
        for pid in pids.values():
            _signal(pid, sig)
        deadline = time.monotonic() + patience
        while (left := [p for p in pids if self.pid(p) is not None]) and time.monotonic() < deadline:
            time.sleep(0.02)
        for program in left:
            _signal(pids[program], signal.SIGKILL)
        while any(self.pid(program) is not None for program in left):
            time.sleep(0.02)
        for program in programs:
            (self._paths.pids / program).unlink(missing_ok=True)

    def kill_strays(self) -> None:
        """Kill programs of this cluster without a pid file, which a killed run can leave behind."""
        mark = f"{_MARK}={self._paths.root}".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                strays = int(entry.name) != os.getpid() and mark in (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue  # it has ended, or belongs to another user
            if strays:
                _signal(int(entry.name), signal.SIGKILL)

    def log_tail(self, program: str, lines: int = 15) -> str:
        """The last lines of a program's log."""
        try:
            text = (self._paths.logs / f"{program}.log").read_text(errors="replace")
        except OSError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:])

    def must_live(self, programs: Sequence[str]) -> None:
        """Raise ClusterError with the end of the log if one of the programs has ended."""
        for program in programs:
            if self.pid(program) is None:
                raise ClusterError(f"{program} has ended; end of its log:\n{self.log_tail(program)}")


def _signal(pid: int, sig: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sig)


def _reap(pid: int) -> None:
    """Reap an ended child of this process; other processes reap their own children."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
