"""Runs one scenario once per system call and injects a fault at that call. Directories are restored between runs.

After an injected error the same server keeps running. It must answer with a declared error code, lose nothing, answer
further requests, and succeed when the request is repeated. After a kill a new server is started on the same directories
and must keep the same promises.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from gateway_api.contract import ERRORS, ErrorCode
from tests.api.fault_injection.promises import check_promises
from tests.api.fault_injection.scenarios import KEY, Scenario
from tests.api.fault_injection.syscalls import FATAL, Fault, InjectionPoint, InjectionResult, inject_fault, trace_points
from tests.api.fault_injection.worker_faults import ROLE, inject_worker_fault, surviving_processes, trace_worker_points
from tests.api.support.fork_server import ForkServer, RunningServer, copy
from tests.api.support.responses import wait_for_recovery

UNKNOWN: Final = frozenset(
    {ErrorCode.DurabilityUnknown, ErrorCode.ConfigChangedDuringRestore, ErrorCode.RestoreStateUnknown}
)
"""Error codes after which the config may have changed."""
_NOISE: Final = re.compile(r"[0-9a-f]{16,}| \(deleted\)$")


@dataclass
class Results:
    """Numbers of injected faults and of answers, and the faults that were missed or broke a promise.

    ``injected`` counts by (scenario, system call, kind); ``answers`` counts by error code, or ``success``. ``missed``:
    the thread did not make the call again.
    """

    injected: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def add(self, other: Results) -> None:
        """Adds the results of another run to these."""
        self.injected.update(other.injected)
        self.answers.update(other.answers)
        self.missed += other.missed
        self.broken += other.broken


class ScenarioRunner:
    """Runs one scenario in copies of its directories below a folder of its own."""

    def __init__(self, name: str, scenario: Scenario, fork_server: ForkServer, folder: Path) -> None:
        self.name = name
        self.operation = name.partition("+")[0]
        self.scenario = scenario
        self.results = Results()
        self._fork_server = fork_server
        self._directories = folder / "directories"
        self._orders = folder / "workers"

    def _reset(self) -> tuple[Path, Path]:
        return copy(self.scenario.folder, self._directories)

    @contextmanager
    def _start_server(self) -> Iterator[RunningServer]:
        config, backups = self._reset()
        settings = {**self.scenario.settings, "one_reader": True}
        if self.scenario.parses_in_worker:
            settings["workers"] = str(self._orders)
        with self._fork_server.running(config, backups, KEY, **settings) as server:
            # From here on no thread makes system calls unless a request arrives.
            wait_for_recovery(server.client)
            # Undo the changes of startup recovery, so that faults are injected into recovery steps as well.
            self._reset()
            yield server

    def points_of_warm_server(self) -> list[InjectionPoint]:
        """The injection points of a server that has run this request before."""
        with self._start_warm_server() as server:
            return self._trace(server)

    def points_of_new_server(self) -> list[InjectionPoint]:
        """The injection points of a server that has just started."""
        with self._start_server() as server:
            return self._trace(server)

    def _trace(self, server: RunningServer) -> list[InjectionPoint]:
        with trace_points(server.pid, self._directories) as points:
            answer = self.scenario.send(server.client)
        assert answer.status_code == 200, answer.text
        if not self.scenario.parses_in_worker:
            return points
        self._reset()
        with trace_worker_points(self._orders) as worker_points:
            answer = self.scenario.send(server.client)
        assert answer.status_code == 200, answer.text
        return points + worker_points

    @contextmanager
    def _start_warm_server(self) -> Iterator[RunningServer]:
        with self._start_server() as server:
            for _ in range(2):
                self.scenario.send(server.client)
                self._reset()
            yield server

    def run_errors(self, faults: Iterable[Fault]) -> None:
        """Injects faults that are error numbers (``ENOSPC`` and so on), one after the other, into the same server."""
        remaining = list(faults)
        while remaining:
            with self._start_warm_server() as server:
                while remaining and server.alive:
                    self._run_error(server, remaining.pop(0))
                    self._reset()

    def _run_error(self, server: RunningServer, fault: Fault) -> None:
        client = server.client
        descriptors = _descriptors(server.pid)
        try:
            with inject_fault(server.pid, fault) as result:
                answer = self.scenario.send(client)
            if not result.injected:
                self.results.missed.append(f"{self.name}:{fault}")
                return
            self._count(fault, answer)
            self._check_running_server(client, answer)
            if fault.point.call != "close":  # strace skips the failed close call, so that descriptor stays open
                leaked = _leaked_descriptors(server.pid, descriptors)
                assert not leaked, f"left open: {leaked}"
        except (AssertionError, httpx.TransportError, OSError, ValueError) as failure:
            self._record_failure(fault, failure)

    def _check_running_server(self, client: httpx.Client, answer: httpx.Response) -> None:
        """Checks the promises of a server that survived the fault."""
        assert client.get("/health").status_code == 200, "/health does not answer"
        config = self._directories / "config" / "config.json"
        if answer.status_code != 200:
            code = ErrorCode(answer.json()["code"])
            assert answer.status_code == ERRORS[code].status
            assert code is not ErrorCode.InternalError, "InternalError"
            unchanged = config.read_bytes() == self.scenario.live_config
            assert code in UNKNOWN or unchanged, f"{code} and yet the config was changed"
        check_promises(self.operation, self.scenario, client, config, self._directories / "backups", answer)

    def run_kills(self, faults: Iterable[Fault]) -> None:
        """Injects faults that are kills, each into a new server.

        If the server dies, another server is started on the same directories and checked. If only its worker dies, the
        server itself is checked.
        """
        for fault in faults:
            config, backups = self._directories / "config" / "config.json", self._directories / "backups"
            try:
                with self._start_server() as server:
                    if not self._run_kill(server, fault):
                        self.results.missed.append(f"{self.name}:{fault}")
                        continue
                    survived = server.alive
                self.results.injected[self.name, fault.point.call, fault.kind] += 1
                if self.scenario.parses_in_worker:
                    left = surviving_processes(server.pid)
                    assert not left, f"processes outlived the server: {left}"
                if survived:
                    continue  # _run_kill has checked it
                with self._fork_server.server(config, backups, KEY, **self.scenario.settings) as client:
                    check_promises(self.operation, self.scenario, client, config, backups)
            except (AssertionError, httpx.TransportError, OSError, ValueError) as failure:
                self._record_failure(fault, failure)

    def kill_and_keep(self, fault: Fault) -> None:
        """Kills a server by this fault and keeps the directories as the kill leaves them."""
        with self._start_server() as server:
            assert self._run_kill(server, fault), f"{fault} did not kill the server"

    def _run_kill(self, server: RunningServer, fault: Fault) -> bool:
        answer = None
        with self._inject(server.pid, fault) as result, contextlib.suppress(httpx.TransportError):
            answer = self.scenario.send(server.client)
        if answer is None:
            return True
        if fault.point.role.startswith("server") or not result.injected:
            return False
        self._count(fault, answer)
        self._check_running_server(server.client, answer)
        return True

    def _inject(self, pid: int, fault: Fault) -> AbstractContextManager[InjectionResult]:
        if fault.point.role.startswith(ROLE):
            return inject_worker_fault(pid, fault, self._orders)
        return inject_fault(pid, fault)

    def _count(self, fault: Fault, answer: httpx.Response) -> None:
        if fault.kind not in FATAL:
            self.results.injected[self.name, fault.point.call, fault.kind] += 1
        self.results.answers["success" if answer.status_code == 200 else str(answer.json()["code"])] += 1

    def _record_failure(self, fault: Fault, failure: BaseException) -> None:
        where = f"{self.name}:{fault} ({fault.point.detail})"
        self.results.broken.append(f"{where}: {type(failure).__name__}: {str(failure)[:600]}")


def _descriptors(pid: int) -> Counter[str]:
    """The number of open descriptors of each file in the two directories. Sockets are ignored: their number varies."""
    counts: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(entry.readlink())
            if "/directories/" in target:
                counts[_NOISE.sub("…", target.rpartition("/directories/")[2])] += 1
    return counts


def _leaked_descriptors(pid: int, before: Counter[str]) -> Counter[str]:
    """Descriptors opened since ``before`` that stay open for 20 s: a thread closes some after the answer."""
    deadline = time.monotonic() + 20.0
    while (more := _descriptors(pid) - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    return more
