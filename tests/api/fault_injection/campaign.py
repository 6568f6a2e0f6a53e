"""All rounds together: dealt out to processes, each with its own servers and directories, and one table at the end."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.api.fault_injection.repeated_requests import NAMES, prepare_all
from tests.api.fault_injection.run_scenario import Round, Tally
from tests.api.fault_injection.scenarios import MUTATIONS, Ground
from tests.api.fault_injection.syscalls import ERRORS, FATAL, Blow, blows
from tests.api.support.fork_server import Nursery

ALL: Final = (*MUTATIONS, *NAMES)
KINDS: Final = (*FATAL, *ERRORS)
CHUNK: Final = 60


@dataclass(frozen=True)
class Plan:
    """Which blows: of these mutations, kinds and calls (None: all), one in ``share``, chosen by ``seed``."""

    mutations: tuple[str, ...] = ALL
    kinds: tuple[str, ...] = KINDS
    share: int = 1
    seed: int = 0
    only: str | None = None
    calls: frozenset[str] | None = None

    def takes(self, mutation: str, blow: Blow) -> bool:
        """Whether a blow is in the plan."""
        if self.calls is not None and blow.point.call not in self.calls:
            return False
        name = f"{mutation}:{blow}"
        if self.only is not None:
            return name == self.only
        number = int.from_bytes(hashlib.sha256(f"{self.seed}/{name}".encode()).digest()[:8], "big")
        return number % self.share == 0


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: thousands of runs, each with dozens of fsyncs."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="torture-", dir=shared if os.access(shared, os.W_OK) else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def nursery(folder: Path) -> Iterator[Nursery]:
    """A nursery that is closed."""
    opened = Nursery(folder / "nursery.log")
    try:
        yield opened
    finally:
        opened.close()


@dataclass(frozen=True)
class Share:
    """One process's part of a mutation's blows: those whose number, modulo ``of``, is ``part``."""

    mutation: str
    fatal: bool
    part: int
    of: int


def run_share(plan: Plan, share: Share, ground: Ground, young: Nursery, folder: Path) -> Tally:
    """Strikes the blows of one share."""
    folder.mkdir(exist_ok=True)
    one = Round(share.mutation, ground, young, folder)
    kinds = tuple(kind for kind in plan.kinds if (kind in FATAL) is share.fatal)
    found = one.points_of_fresh() if share.fatal else one.points_of_long_served()
    mine = [blow for blow in blows(found, kinds) if plan.takes(share.mutation, blow)][share.part :: share.of]
    (one.kill if share.fatal else one.refuse)(mine)
    return one.tally


def run(plan: Plan, jobs: int, *, progress: bool = True) -> Tally:
    """Everything the plan says, in ``jobs`` processes."""
    total = Tally()
    with scratch() as folder, nursery(folder) as young:
        (folder / "grounds").mkdir()
        grounds = prepare_all(young, folder / "grounds")
        shares = _deal(plan, grounds, young, folder)
        if jobs == 1:
            for share in shares:
                total.add(run_share(plan, share, grounds[share.mutation], young, folder / "round"))
            return total
        context = multiprocessing.get_context("fork")
        with context.Pool(jobs, _begin, (plan, grounds, folder)) as pool:
            for number, tally in enumerate(pool.imap_unordered(_work, shares), 1):
                total.add(tally)
                if progress:
                    broken = f", {len(total.broken)} broken" if total.broken else ""
                    print(f"{number} of {len(shares)} shares, {total.fell.total()} blows{broken}", flush=True)
    return total


def _deal(plan: Plan, grounds: dict[str, Ground], young: Nursery, folder: Path) -> list[Share]:
    shares = []
    for mutation in plan.mutations:
        one = Round(mutation, grounds[mutation], young, folder / "count")
        found = one.points_of_long_served()
        for fatal in (True, False):
            kinds = tuple(kind for kind in plan.kinds if (kind in FATAL) is fatal)
            number = sum(plan.takes(mutation, blow) for blow in blows(found, kinds))
            of = -(-number // CHUNK)
            shares += [Share(mutation, fatal, part, of) for part in range(of)]
    random.Random(plan.seed).shuffle(shares)
    return shares


_worker: tuple[Plan, dict[str, Ground], Nursery, Path]


def _begin(plan: Plan, grounds: dict[str, Ground], folder: Path) -> None:
    global _worker
    own = folder / f"process-{os.getpid()}"
    own.mkdir()
    _worker = (plan, grounds, Nursery(own / "nursery.log"), own)


def _work(share: Share) -> Tally:
    plan, grounds, young, own = _worker
    return run_share(plan, share, grounds[share.mutation], young, own / "round")


def table(tally: Tally) -> str:
    """Blows by mutation and call, then what was answered, missed and broken."""
    calls = sorted({call for _, call, _ in tally.fell}, key=lambda call: -_sum(tally, call=call))
    rows = [["mutation", *calls, "all", "kills"]]
    for mutation in sorted({name for name, _, _ in tally.fell}, key=ALL.index):
        cells = [_sum(tally, mutation=mutation, call=call) for call in calls]
        kills = sum(_sum(tally, mutation=mutation, kind=kind) for kind in FATAL)
        rows.append([mutation, *(str(cell or "") for cell in cells), str(sum(cells)), str(kills)])
    every = [_sum(tally, call=call) for call in calls]
    rows.append(["all", *map(str, every), str(sum(every)), str(sum(_sum(tally, kind=kind) for kind in FATAL))])
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    kinds = Counter[str]()
    for (_, _, kind), number in tally.fell.items():
        kinds[kind] += number
    lines += ["", "by kind: " + _said(kinds), "answers: " + _said(tally.answers)]
    lines += [f"missed (the call did not come again in the same place): {len(tally.missed)}"]
    lines += [f"broken: {len(tally.broken)}", *tally.broken]
    return "\n".join(lines)


def _sum(tally: Tally, *, mutation: str | None = None, call: str | None = None, kind: str | None = None) -> int:
    wanted = (mutation, call, kind)
    return sum(
        number
        for key, number in tally.fell.items()
        if all(want is None or want == has for want, has in zip(wanted, key, strict=True))
    )


def _said(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counter.most_common())
