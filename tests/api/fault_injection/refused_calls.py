"""A table of refused system calls: what `/ready` answers, and which operations work, while one call always fails.

`make refused-calls` prints the whole table. `/ready` lies where it answers 200 and an operation then fails. CI runs a
fixed share in `test_refused_calls.py`. The calls are those that the operations make on the two directories.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from tests.api.fault_injection.campaign import scratch_folder
from tests.api.fault_injection.scenarios import KEY, Scenario, prepare_scenarios
from tests.api.fault_injection.syscalls import CHANGING, READING, attach, detach, thread_roles, trace_points
from tests.api.support.fork_server import ForkServer, RunningServer, copy
from tests.api.support.responses import wait_for_recovery
from tests.api.support.temporary_files import new_temporary_file

CALLS: Final = (
    *(*CHANGING, *READING, "flock", "fadvise64", "fstatfs", "preadv", "preadv2", "fstat", "newfstatat"),
    "statx",
)
# close() cannot fail in a way that matters: all data that must last was fsynced before.
IGNORED: Final = frozenset(("close",))
ERRNOS: Final = (
    *("EPERM", "EACCES", "ENOSYS", "EOPNOTSUPP", "ENOLCK", "EIO", "EINVAL", "ENOSPC", "EMLINK", "EROFS", "EDQUOT"),
    *("ESTALE", "EXDEV", "EMFILE"),
)
FOLDERS: Final = ("config", "config/.gateway", "backups", "backups/.gateway")
FOLDER_CALLS: Final = ("openat", "fsync", "rename", "renameat", "renameat2", "linkat", "unlinkat", "unlink", "mkdirat")
THREADS: Final = ("reader", "writer")
OPERATIONS: Final = ("backup", "restore", "reset", "delete")


@dataclass(frozen=True, order=True)
class Refusal:
    """A call that always fails with ``errno``: everywhere, or only on names in ``folder`` and on the folder itself."""

    call: str
    errno: str
    folder: str = ""

    def __str__(self) -> str:
        return f"{self.call}:{self.errno}" + (f" in {self.folder}" if self.folder else "")


@dataclass(frozen=True)
class Row:
    """The answers during one refusal: an empty code is success. ``injected``: the call was made and refused."""

    refusal: Refusal
    ready: str
    detail: str
    codes: dict[str, str]
    injected: bool

    @property
    def lies(self) -> bool:
        """Whether `/ready` answered 200 although an operation failed."""
        return not self.ready and any(self.codes.values())

    @property
    def cautious(self) -> bool:
        """Whether `/ready` answered 503 although every operation worked."""
        return bool(self.ready) and not any(self.codes.values())

    def __str__(self) -> str:
        cells = [f"{name} {self.codes[name] or 'ok'}" for name in OPERATIONS]
        mark = "LIE " if self.lies else "cautious " if self.cautious else ""
        return f"{mark}{self.refusal}: ready {self.ready or 'ok'} ({self.detail}); " + ", ".join(cells)


class RefusedCalls:
    """Runs rows of the table in copies of prepared directories, on one server."""

    def __init__(self, fork_server: ForkServer, folder: Path) -> None:
        self._fork_server = fork_server
        self._directories = folder / "directories"
        prepared = folder / "prepared"
        prepared.mkdir(parents=True)
        scenarios = prepare_scenarios(fork_server, prepared)
        self._base = scenarios["backup"].folder
        self._operations: dict[str, Scenario] = {name: scenarios[name] for name in OPERATIONS}

    @contextmanager
    def _server(self) -> Iterator[RunningServer]:
        self._reset()
        config, backups = self._directories / "config" / "config.json", self._directories / "backups"
        settings: dict[str, Any] = {"one_reader": True, "ready_uncached": True}
        with self._fork_server.running(config, backups, KEY, **settings) as server:
            wait_for_recovery(server.client)  # from here on all threads exist
            yield server

    def _reset(self) -> None:
        copy(self._base, self._directories)

    def calls(self) -> tuple[str, ...]:
        """The names of the calls that the readiness check and the operations make on the two directories."""
        made: set[str] = set()
        with self._server() as server:
            for name in ("ready", *OPERATIONS):
                self._reset()
                with trace_points(server.pid, self._directories, CALLS) as points:
                    answer = self._send(server.client, name)
                assert answer.status_code == 200, answer.text
                made |= {point.call for point in points}
        return tuple(call for call in CALLS if call in made - IGNORED)

    def _send(self, client: httpx.Client, name: str) -> httpx.Response:
        return client.get("/ready") if name == "ready" else self._operations[name].send(client)

    def rows(self, refusals: Iterable[Refusal]) -> Iterator[Row]:
        """The answers during each refusal."""
        with self._server() as server:
            for refusal in refusals:
                yield self._row(server, refusal)

    def _row(self, server: RunningServer, refusal: Refusal) -> Row:
        codes: dict[str, str] = {}
        detail, injected = "", False
        for name in ("ready", *OPERATIONS):
            self._reset()
            with self._refused(server.pid, refusal) as record:
                answer = self._send(server.client, name)
            codes[name] = "" if answer.status_code == 200 else str(answer.json()["code"])
            if name == "ready" and codes[name]:
                detail = answer.json()["detail"]
            injected |= "(INJECTED)" in record.read_text(errors="replace")
            record.unlink()
        return Row(refusal, codes.pop("ready"), detail, codes, injected)

    @contextmanager
    def _refused(self, pid: int, refusal: Refusal) -> Iterator[Path]:
        """Refuses the call in the threads that read and write files. The event loop's thread answers the client."""
        record = new_temporary_file("refused-", ".trace")
        words = ["-o", str(record), "-e", f"trace={refusal.call}"]
        words += ["-e", f"inject={refusal.call}:error={refusal.errno}"]
        if refusal.folder:
            words += ["-P", str(self._directories / refusal.folder)]
        tids = [tid for tid, role in thread_roles(pid).items() if role.rpartition("/")[2].startswith(THREADS)]
        strace = attach([*words, *(f"-p{tid}" for tid in tids)])
        try:
            yield record
        finally:
            detach(strace)


def all_refusals(calls: Iterable[str]) -> list[Refusal]:
    """Every call with every errno, and the calls on names with every errno in each single folder."""
    everywhere = [Refusal(call, name) for call in calls for name in ERRNOS]
    by_folder = [
        Refusal(call, name, folder)
        for folder in FOLDERS
        for call in calls
        if call in FOLDER_CALLS
        for name in ("EPERM", "EACCES", "EIO", "ENOSYS", "EINVAL", "ENOSPC")
    ]
    return everywhere + by_folder


def share(refusals: list[Refusal], one_in: int) -> list[Refusal]:
    """A fixed share of the refusals."""
    return [one for one in refusals if zlib.crc32(str(one).encode()) % one_in == 0]


def main() -> int:
    """Prints the table; the exit status is 1 if `/ready` lies in any row."""
    parser = argparse.ArgumentParser(prog="python -m tests.api.fault_injection.refused_calls", description=__doc__)
    parser.add_argument("--one-in", type=int, default=1, metavar="N", help="run one row in N")
    parser.add_argument("--only", help="rows whose name contains this text, such as fsync:EIO")
    options = parser.parse_args()
    with scratch_folder() as folder:
        fork_server = ForkServer(folder / "fork_server.log")
        try:
            table = RefusedCalls(fork_server, folder / "table")
            refusals = share(all_refusals(table.calls()), options.one_in)
            rows = []
            for row in table.rows(one for one in refusals if not options.only or options.only in str(one)):
                rows.append(row)
                print(row, flush=True)
        finally:
            fork_server.close()
    lies, cautious = [row for row in rows if row.lies], [row for row in rows if row.cautious]
    never = sum(not row.injected for row in rows)
    print(f"{len(rows)} rows: {len(lies)} lies, {len(cautious)} cautious, {never} in which the call was never made")
    return 1 if lies else 0


if __name__ == "__main__":
    sys.exit(main())
