"""Kills the server at every write of every operation, and lets every durable step fail; plus a sample of other faults.

After each fault nothing is lost, the operation happens once, and the server answers. `make fault-injection` injects
every kind of fault at every system call.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.fault_injection.campaign import ALL, Batch, Plan, run_batch, scratch_folder
from tests.api.fault_injection.repeated_requests import PARSED_IN_WORKER, WORKER, prepare_all_scenarios
from tests.api.fault_injection.run_scenario import Results
from tests.api.fault_injection.scenarios import OPERATIONS, Scenario
from tests.api.fault_injection.syscalls import ERRORS, FATAL, GROUP, KILL, SERVER
from tests.api.support.fork_server import ForkServer
from tests.api.support.requirements import require_programs

pytestmark = pytest.mark.api
# Calls that change which files a restart finds. A kill at an fsync leaves the same files as a kill at the next change.
CHANGES = frozenset(
    (
        *("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdirat"),
        *("pwrite64", "write", "writev"),
    )
)
# The likely error of each call: no space where it allocates, an I/O error where it flushes or frees.
LIKELY_ERRORS = {
    "ENOSPC": frozenset(
        ("rename", "renameat", "renameat2", "link", "linkat", "mkdirat", "pwrite64", "write", "writev")
    ),
    "EIO": frozenset(("fsync", "fdatasync", "unlink", "unlinkat")),
}
ONE_IN = 100


@pytest.fixture(scope="module")
def memory_folder() -> Iterator[Path]:
    require_programs("strace")
    with scratch_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def scenarios(fork_server: ForkServer, memory_folder: Path) -> dict[str, Scenario]:
    (memory_folder / "scenarios").mkdir()
    return prepare_all_scenarios(fork_server, memory_folder / "scenarios")


def _run_faults(
    plan: Plan, name: str, scenarios: dict[str, Scenario], fork_server: ForkServer, folder: Path
) -> Results:
    results = Results()
    for fatal in (True, False):
        if any((kind in FATAL) is fatal for kind in plan.kinds):
            batch = Batch(name, fatal, 0, 1)
            results.add(run_batch(plan, batch, scenarios[name], fork_server, folder / "scenario"))
    print(f"{name}: {results.injected.total()} faults, answers {dict(results.answers)}, missed {results.missed}")
    assert not results.broken, "\n".join(results.broken)
    assert len(results.missed) <= 2 + results.injected.total() // 20
    return results


@pytest.mark.parametrize("name", OPERATIONS)
def test_kill_at_any_write_loses_nothing_and_a_repeat_succeeds_once(
    name: str, fork_server: ForkServer, scenarios: dict[str, Scenario], memory_folder: Path
) -> None:
    plan = Plan(kinds=(KILL,), calls=CHANGES)
    assert _run_faults(plan, name, scenarios, fork_server, memory_folder).injected.total() > 6


@pytest.mark.parametrize("name", OPERATIONS)
def test_disk_error_at_any_write_is_a_declared_error_and_loses_nothing(
    name: str, fork_server: ForkServer, scenarios: dict[str, Scenario], memory_folder: Path
) -> None:
    for error, calls in LIKELY_ERRORS.items():
        plan = Plan(kinds=(error,), calls=calls)
        assert _run_faults(plan, name, scenarios, fork_server, memory_folder).injected.total() > 2


@pytest.mark.parametrize("name", [name for name in ALL if not name.endswith(WORKER)])
def test_sample_of_faults_at_all_calls_and_repeated_requests_loses_nothing(
    name: str, fork_server: ForkServer, scenarios: dict[str, Scenario], memory_folder: Path
) -> None:
    plan = Plan(kinds=(KILL, *ERRORS), one_in=ONE_IN)
    assert _run_faults(plan, name, scenarios, fork_server, memory_folder).injected.total() > 0


def test_kill_of_server_and_workers_together_loses_nothing(
    fork_server: ForkServer, scenarios: dict[str, Scenario], memory_folder: Path
) -> None:
    plan = Plan(kinds=(GROUP,), one_in=150)
    results = [_run_faults(plan, name, scenarios, fork_server, memory_folder) for name in OPERATIONS]
    assert sum(result.injected.total() for result in results) > 4


def test_kill_of_worker_or_server_leaves_no_process_and_loses_nothing(
    fork_server: ForkServer, scenarios: dict[str, Scenario], memory_folder: Path
) -> None:
    # Only a worker maps the config into memory, so these points are in workers alone.
    plan = Plan(kinds=FATAL, calls=frozenset(("mmap",)), one_in=2)
    names = [f"{name}{WORKER}" for name in PARSED_IN_WORKER]
    results = [_run_faults(plan, name, scenarios, fork_server, memory_folder) for name in names]
    assert {kind for result in results for _, _, kind in result.injected} == {KILL, GROUP, SERVER}
