"""Runs all scenarios of a campaign and formats the results.

The selected faults of each scenario are split into batches. Worker processes take batches from a queue; each process
has its own servers and directories. The results of all batches are added up and printed as one table.
"""

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

from tests.api.fault_injection.repeated_requests import NAMES, prepare_all_scenarios
from tests.api.fault_injection.run_scenario import Results, ScenarioRunner
from tests.api.fault_injection.scenarios import OPERATIONS, Scenario
from tests.api.fault_injection.syscalls import ERRORS, FATAL, Fault, faults_at
from tests.api.support.fork_server import ForkServer

ALL: Final = (*OPERATIONS, *NAMES)
KINDS: Final = (*FATAL, *ERRORS)
BATCH_SIZE: Final = 60


@dataclass(frozen=True)
class Plan:
    """Selects the faults of a campaign.

    A fault is selected if its operation, kind and system call are listed (``calls`` None: all calls). Of those, one in
    ``one_in`` is taken, by a hash that depends on ``seed``. ``only`` selects a single fault by its printed name.
    """

    operations: tuple[str, ...] = ALL
    kinds: tuple[str, ...] = KINDS
    one_in: int = 1
    seed: int = 0
    only: str | None = None
    calls: frozenset[str] | None = None

    def selects(self, operation: str, fault: Fault) -> bool:
        """Whether the plan includes this fault."""
        if self.calls is not None and fault.point.call not in self.calls:
            return False
        name = f"{operation}:{fault}"
        if self.only is not None:
            return name == self.only
        number = int.from_bytes(hashlib.sha256(f"{self.seed}/{name}".encode()).digest()[:8], "big")
        return number % self.one_in == 0


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder, in memory if ``/dev/shm`` is writable: a campaign makes many thousands of fsync calls."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fault-injection-", dir=shared if os.access(shared, os.W_OK) else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running_fork_server(folder: Path) -> Iterator[ForkServer]:
    opened = ForkServer(folder / "fork_server.log")
    try:
        yield opened
    finally:
        opened.close()


@dataclass(frozen=True)
class Batch:
    """A part of an operation's faults: every ``of``-th selected fault, starting at index ``part``."""

    operation: str
    fatal: bool
    part: int
    of: int


def run_batch(plan: Plan, batch: Batch, scenario: Scenario, fork_server: ForkServer, folder: Path) -> Results:
    """Injects the faults of one batch and returns the results."""
    folder.mkdir(exist_ok=True)
    runner = ScenarioRunner(batch.operation, scenario, fork_server, folder)
    kinds = tuple(kind for kind in plan.kinds if (kind in FATAL) is batch.fatal)
    points = runner.points_of_new_server() if batch.fatal else runner.points_of_warm_server()
    selected = [fault for fault in faults_at(points, kinds) if plan.selects(batch.operation, fault)][
        batch.part :: batch.of
    ]
    (runner.run_kills if batch.fatal else runner.run_errors)(selected)
    return runner.results


def run(plan: Plan, jobs: int, *, progress: bool = True) -> Results:
    """Runs all faults of the plan in ``jobs`` processes."""
    total = Results()
    with scratch_folder() as folder, _running_fork_server(folder) as fork_server:
        (folder / "scenarios").mkdir()
        scenarios = prepare_all_scenarios(fork_server, folder / "scenarios")
        batches = _make_batches(plan, scenarios, fork_server, folder)
        if jobs == 1:
            for batch in batches:
                total.add(run_batch(plan, batch, scenarios[batch.operation], fork_server, folder / "scenario"))
            return total
        context = multiprocessing.get_context("fork")
        with context.Pool(jobs, _start_process, (plan, scenarios, folder)) as pool:
            for number, results in enumerate(pool.imap_unordered(_run_in_process, batches), 1):
                total.add(results)
                # Also in the table at the end, which an interrupted campaign does not print.
                print(*(f"broken: {one}" for one in results.broken), sep="\n", end="\n" * bool(results.broken))
                if progress:
                    broken = f", {len(total.broken)} broken" if total.broken else ""
                    print(f"{number} of {len(batches)} batches, {total.injected.total()} faults{broken}", flush=True)
    return total


def _make_batches(plan: Plan, scenarios: dict[str, Scenario], fork_server: ForkServer, folder: Path) -> list[Batch]:
    batches = []
    for operation in plan.operations:
        runner = ScenarioRunner(operation, scenarios[operation], fork_server, folder / "count")
        points = runner.points_of_warm_server()
        for fatal in (True, False):
            kinds = tuple(kind for kind in plan.kinds if (kind in FATAL) is fatal)
            number = sum(plan.selects(operation, fault) for fault in faults_at(points, kinds))
            of = -(-number // BATCH_SIZE)
            batches += [Batch(operation, fatal, part, of) for part in range(of)]
    random.Random(plan.seed).shuffle(batches)
    return batches


_process_state: tuple[Plan, dict[str, Scenario], ForkServer, Path]


def _start_process(plan: Plan, scenarios: dict[str, Scenario], folder: Path) -> None:
    global _process_state
    own = folder / f"process-{os.getpid()}"
    own.mkdir()
    _process_state = (plan, scenarios, ForkServer(own / "fork_server.log"), own)


def _run_in_process(batch: Batch) -> Results:
    plan, scenarios, fork_server, own = _process_state
    return run_batch(plan, batch, scenarios[batch.operation], fork_server, own / "scenario")


def format_table(results: Results) -> str:
    """Numbers of faults by operation and system call, then the answers, missed faults and broken promises."""
    calls = sorted({call for _, call, _ in results.injected}, key=lambda call: -_total(results, call=call))
    rows = [["operation", *calls, "all", "kills"]]
    for operation in sorted({name for name, _, _ in results.injected}, key=ALL.index):
        cells = [_total(results, operation=operation, call=call) for call in calls]
        kills = sum(_total(results, operation=operation, kind=kind) for kind in FATAL)
        rows.append([operation, *(str(cell or "") for cell in cells), str(sum(cells)), str(kills)])
    every = [_total(results, call=call) for call in calls]
    rows.append(["all", *map(str, every), str(sum(every)), str(sum(_total(results, kind=kind) for kind in FATAL))])
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    kinds = Counter[str]()
    for (_, _, kind), number in results.injected.items():
        kinds[kind] += number
    lines += ["", "by kind: " + _format_counts(kinds), "answers: " + _format_counts(results.answers)]
    lines += [f"missed (the thread did not make this call again): {len(results.missed)}"]
    lines += [f"broken: {len(results.broken)}", *results.broken]
    return "\n".join(lines)


def _total(results: Results, *, operation: str | None = None, call: str | None = None, kind: str | None = None) -> int:
    filters = (operation, call, kind)
    return sum(
        number
        for key, number in results.injected.items()
        if all(value is None or value == part for value, part in zip(filters, key, strict=True))
    )


def _format_counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counter.most_common())
