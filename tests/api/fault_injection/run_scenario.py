"""One mutation, struck at every point: a round of blows on servers whose directories are put back in between.

After a refusal the same server goes on: it must have answered with a declared code, kept everything, still answer, and
do the same request on the next try. After a kill another server takes over.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from gateway_api.contract import ERRORS, ErrorCode
from tests.api.fault_injection.scenarios import KEY, PREFIX, Ground, check_after
from tests.api.fault_injection.syscalls import FATAL, Blow, Point, Struck, struck, traced
from tests.api.fault_injection.worker_faults import ROLE, outlived, struck_worker, traced_workers
from tests.api.support.fork_server import Nursery, Served, copy

UNKNOWN: Final = frozenset(
    {ErrorCode.DurabilityUnknown, ErrorCode.ConfigChangedDuringRestore, ErrorCode.RestoreStateUnknown}
)
"""Answers that do not say that nothing was changed."""
_NOISE: Final = re.compile(r"[0-9a-f]{16,}| \(deleted\)$")


@dataclass
class Tally:
    """What a round did: blows by (mutation, call, kind), answers by code, and which blow broke a promise."""

    fell: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Takes another round's in."""
        self.fell.update(other.fell)
        self.answers.update(other.answers)
        self.missed += other.missed
        self.broken += other.broken


class Round:
    """One mutation's ground, in a folder of its own."""

    def __init__(self, name: str, ground: Ground, nursery: Nursery, folder: Path) -> None:
        self.name = name
        self.mutation = name.partition("+")[0]
        self.ground = ground
        self.tally = Tally()
        self._nursery = nursery
        self._pair = folder / "pair"
        self._orders = folder / "workers"

    def _reset(self) -> tuple[Path, Path]:
        return copy(self.ground.folder, self._pair)

    @contextmanager
    def _serving(self) -> Iterator[Served]:
        config, backups = self._reset()
        settings = {**self.ground.settings, "one_reader": True}
        if self.ground.by_workers:
            settings["workers"] = str(self._orders)
        with self._nursery.running(config, backups, KEY, **settings) as served:
            # Refused after recovery: from then on no thread does anything on its own, and all have been made.
            served.client.post(f"{PREFIX}/restores/absent/commit")
            # Also what a start puts right is to be struck.
            self._reset()
            yield served

    def points_of_long_served(self) -> list[Point]:
        """The points of a server that has done the same before."""
        with self._warm() as served:
            return self._trace(served)

    def points_of_fresh(self) -> list[Point]:
        """The points of a server that has just started."""
        with self._serving() as served:
            return self._trace(served)

    def _trace(self, served: Served) -> list[Point]:
        with traced(served.pid, self._pair) as found:
            answer = self.ground.send(served.client)
        assert answer.status_code == 200, answer.text
        if not self.ground.by_workers:
            return found
        self._reset()
        with traced_workers(self._orders) as more:
            answer = self.ground.send(served.client)
        assert answer.status_code == 200, answer.text
        return found + more

    @contextmanager
    def _warm(self) -> Iterator[Served]:
        with self._serving() as served:
            for _ in range(2):
                self.ground.send(served.client)
                self._reset()
            yield served

    def refuse(self, blows: Iterable[Blow]) -> None:
        """Every blow, which must be an error's name, on a server that goes on."""
        waiting = list(blows)
        while waiting:
            with self._warm() as served:
                while waiting and served.alive:
                    self._refuse_once(served, waiting.pop(0))
                    self._reset()

    def _refuse_once(self, served: Served, blow: Blow) -> None:
        client = served.client
        descriptors = _descriptors(served.pid)
        try:
            with struck(served.pid, blow) as result:
                answer = self.ground.send(client)
            if not result.fell:
                self.tally.missed.append(f"{self.name}:{blow}")
                return
            self._count(blow, answer)
            self._check_going_on(client, answer)
            if blow.point.call != "close":  # which was never called, so what was to be closed is open
                more = _left_open(served.pid, descriptors)
                assert not more, f"left open: {more}"
        except (AssertionError, httpx.TransportError, OSError, ValueError) as failure:
            self._break(blow, failure)

    def _check_going_on(self, client: httpx.Client, answer: httpx.Response) -> None:
        """The promises, of the server that was struck."""
        assert client.get("/health").status_code == 200, "/health does not answer"
        config = self._pair / "config" / "config.json"
        if answer.status_code != 200:
            code = ErrorCode(answer.json()["code"])
            assert answer.status_code == ERRORS[code].status
            assert code is not ErrorCode.InternalError, "InternalError"
            unchanged = config.read_bytes() == self.ground.now
            assert code in UNKNOWN or unchanged, f"{code} and yet the config was changed"
        check_after(self.mutation, self.ground, client, config, self._pair / "backups", answer)

    def kill(self, blows: Iterable[Blow]) -> None:
        """Every blow, which must be a kill, each on a server of its own and followed by another's start, unless the
        server lives on."""
        for blow in blows:
            config, backups = self._pair / "config" / "config.json", self._pair / "backups"
            try:
                with self._serving() as served:
                    if not self._kill_once(served, blow):
                        self.tally.missed.append(f"{self.name}:{blow}")
                        continue
                    lived_on = served.alive
                self.tally.fell[self.name, blow.point.call, blow.kind] += 1
                if self.ground.by_workers:
                    left = outlived(served.pid)
                    assert not left, f"outlived the server: {left}"
                if lived_on:
                    continue  # and has been checked
                with self._nursery.server(config, backups, KEY, **self.ground.settings) as client:
                    check_after(self.mutation, self.ground, client, config, backups)
            except (AssertionError, httpx.TransportError, OSError, ValueError) as failure:
                self._break(blow, failure)

    def leave(self, blow: Blow) -> None:
        """The directories stay as a kill leaves them."""
        with self._serving() as served:
            assert self._kill_once(served, blow), f"{blow} did not kill the server"

    def _kill_once(self, served: Served, blow: Blow) -> bool:
        answer = None
        with self._struck(served.pid, blow) as result, contextlib.suppress(httpx.TransportError):
            answer = self.ground.send(served.client)
        if answer is None:
            return True
        if blow.point.role.startswith("server") or not result.fell:
            return False
        self._count(blow, answer)
        self._check_going_on(served.client, answer)
        return True

    def _struck(self, pid: int, blow: Blow) -> AbstractContextManager[Struck]:
        if blow.point.role.startswith(ROLE):
            return struck_worker(pid, blow, self._orders)
        return struck(pid, blow)

    def _count(self, blow: Blow, answer: httpx.Response) -> None:
        if blow.kind not in FATAL:
            self.tally.fell[self.name, blow.point.call, blow.kind] += 1
        self.tally.answers["success" if answer.status_code == 200 else str(answer.json()["code"])] += 1

    def _break(self, blow: Blow, failure: BaseException) -> None:
        where = f"{self.name}:{blow} ({blow.point.what})"
        self.tally.broken.append(f"{where}: {type(failure).__name__}: {str(failure)[:600]}")


def _descriptors(pid: int) -> Counter[str]:
    """How many descriptors are open on each file of the two directories; those of sockets come and go."""
    found: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(entry.readlink())
            if "/pair/" in target:
                found[_NOISE.sub("…", target.rpartition("/pair/")[2])] += 1
    return found


def _left_open(pid: int, before: Counter[str]) -> Counter[str]:
    """What is open beyond ``before`` and stays so: a thread closes some things a moment after the answer."""
    end = time.monotonic() + 2.0
    while (more := _descriptors(pid) - before) and time.monotonic() < end:
        time.sleep(0.01)
    return more


def clear(folder: Path) -> None:
    """Removes a round's folder."""
    shutil.rmtree(folder, ignore_errors=True)
