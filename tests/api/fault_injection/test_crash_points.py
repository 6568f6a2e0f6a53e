"""Killed at every change, and refused by the disk at every durable step of every mutation; and a slice of the rest.

Nothing is lost, once means once, the server lives. `make torture` strikes at every call with every error.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.conftest import needs
from tests.api.fault_injection.campaign import ALL, Plan, Share, run_share, scratch
from tests.api.fault_injection.repeated_requests import BY_WORKERS, WORKER, prepare_all
from tests.api.fault_injection.run_scenario import Tally
from tests.api.fault_injection.scenarios import MUTATIONS, Ground
from tests.api.fault_injection.syscalls import ERRORS, FATAL, GROUP, KILL, SERVER
from tests.api.support.fork_server import Nursery

pytestmark = pytest.mark.api
# Calls that change what a restart finds. A kill at a flush leaves the same directories as a kill at the next change.
CHANGES = frozenset(
    (
        *("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdirat"),
        *("pwrite64", "write", "writev"),
    )
)
# Which error a disk has for which call: no space where it must find some, a broken device where it must flush or free.
REFUSALS = {
    "ENOSPC": frozenset(
        ("rename", "renameat", "renameat2", "link", "linkat", "mkdirat", "pwrite64", "write", "writev")
    ),
    "EIO": frozenset(("fsync", "fdatasync", "unlink", "unlinkat")),
}
ONE_IN = 50


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    needs("strace")
    with scratch() as folder:
        yield folder


@pytest.fixture(scope="module")
def grounds(nursery: Nursery, memory: Path) -> dict[str, Ground]:
    (memory / "grounds").mkdir()
    return prepare_all(nursery, memory / "grounds")


def _strike(plan: Plan, name: str, grounds: dict[str, Ground], nursery: Nursery, memory: Path) -> Tally:
    tally = Tally()
    for fatal in (True, False):
        if any((kind in FATAL) is fatal for kind in plan.kinds):
            tally.add(run_share(plan, Share(name, fatal, 0, 1), grounds[name], nursery, memory / "round"))
    print(f"{name}: {tally.fell.total()} blows, answers {dict(tally.answers)}, missed {tally.missed}")
    assert not tally.broken, "\n".join(tally.broken)
    assert len(tally.missed) <= 2 + tally.fell.total() // 20
    return tally


@pytest.mark.parametrize("name", MUTATIONS)
def test_killed_at_any_step_nothing_is_lost_and_a_repeat_succeeds_once(
    name: str, nursery: Nursery, grounds: dict[str, Ground], memory: Path
) -> None:
    assert _strike(Plan(kinds=(KILL,), calls=CHANGES), name, grounds, nursery, memory).fell.total() > 6


@pytest.mark.parametrize("name", MUTATIONS)
def test_refused_by_the_disk_at_any_step_is_a_declared_error_and_nothing_is_lost(
    name: str, nursery: Nursery, grounds: dict[str, Ground], memory: Path
) -> None:
    for error, calls in REFUSALS.items():
        assert _strike(Plan(kinds=(error,), calls=calls), name, grounds, nursery, memory).fell.total() > 2


@pytest.mark.parametrize("name", [name for name in ALL if not name.endswith(WORKER)])
def test_struck_at_any_other_call_also_on_a_second_try_nothing_is_lost(
    name: str, nursery: Nursery, grounds: dict[str, Ground], memory: Path
) -> None:
    assert _strike(Plan(kinds=(KILL, *ERRORS), share=ONE_IN), name, grounds, nursery, memory).fell.total() > 2


def test_killed_with_all_its_processes_at_once_nothing_is_lost_and_a_repeat_succeeds_once(
    nursery: Nursery, grounds: dict[str, Ground], memory: Path
) -> None:
    plan = Plan(kinds=(GROUP,), share=3 * ONE_IN)
    assert sum(_strike(plan, name, grounds, nursery, memory).fell.total() for name in MUTATIONS) > 4


def test_worker_and_server_killed_each_alone_and_together_leave_no_process_and_lose_nothing(
    nursery: Nursery, grounds: dict[str, Ground], memory: Path
) -> None:
    # Where a worker takes up the config: a call that a server's own points do not have.
    plan = Plan(kinds=FATAL, calls=frozenset(("mmap",)), share=2)
    tallies = [_strike(plan, f"{name}{WORKER}", grounds, nursery, memory) for name in BY_WORKERS]
    assert {kind for tally in tallies for _, _, kind in tally.fell} == {KILL, GROUP, SERVER}
