"""Killed, or refused by the disk, at every single durable step of every mutation: nothing is lost, once means once.

The steps are counted by a traced run first; then, for each, a fresh copy of the same directories, a real server under
strace, the same request, the blow, a restart, and the promises checked.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway_api.contract import ERRORS, ErrorCode
from tests.api.conftest import needs, ok
from tests.api.grounds import KEY, MUTATIONS, PREFIX, Ground, check_after, prepare
from tests.api.nursery import Nursery, copy

pytestmark = pytest.mark.api


@pytest.fixture(scope="module", autouse=True)
def _strace() -> None:
    needs("strace")


@pytest.fixture(scope="module")
def grounds(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ground]:
    return prepare(nursery, tmp_path_factory.mktemp("grounds"))


def _steps(nursery: Nursery, ground: Ground, scratch: Path) -> list[tuple[str, int]]:
    """Every call the writing thread makes for the request, as (name, how many of that name came before it, plus one):
    strace counts each thread and each name for itself."""
    config, backups = copy(ground.folder, scratch)
    trace = scratch.parent / "trace"
    trace.unlink(missing_ok=True)
    with nursery.server(config, backups, KEY, trace=trace, **ground.settings) as client:
        # Refused after recovery: from then on the writing thread does nothing on its own.
        client.post(f"{PREFIX}/restores/absent/commit")
        before = _writer_calls(trace)
        ok(ground.send(client))
        after = _writer_calls(trace)
    assert sum(after.values()) > sum(before.values())
    return [(name, step) for name in after for step in range(before[name] + 1, after[name] + 1)]


def _writer_calls(trace: Path) -> Counter[str]:
    by_thread: dict[str, Counter[str]] = {}
    for line in trace.read_text().splitlines():
        thread, _, call = line.partition(" ")
        if "(" in call and "resumed" not in call:
            by_thread.setdefault(thread, Counter())[call.strip().partition("(")[0]] += 1
    return max(by_thread.values(), key=lambda calls: sum(calls.values()), default=Counter())


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: hundreds of runs, each with dozens of fsyncs."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=shared if os.access(shared, os.W_OK) else None))
    yield folder / "pair"
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", MUTATIONS)
def test_killed_at_any_step_nothing_is_lost_and_a_repeat_succeeds_once(
    name: str, nursery: Nursery, grounds: dict[str, Ground], scratch: Path
) -> None:
    ground = grounds[name]
    steps = _steps(nursery, ground, scratch)
    for call, step in steps:
        config, backups = copy(ground.folder, scratch)
        with (
            nursery.server(config, backups, KEY, inject=f"{call}:signal=KILL:when={step}", **ground.settings) as client,
            contextlib.suppress(httpx.TransportError),
        ):
            client.post(f"{PREFIX}/restores/absent/commit")
            answer = ground.send(client)
            pytest.fail(f"{call} {step} did not kill the server: {answer.text}")
        try:
            with nursery.server(config, backups, KEY, **ground.settings) as client:
                check_after(name, ground, client, config, backups)
        except AssertionError as error:
            raise AssertionError(f"{name}, killed at {call} {step}: {error}") from error
    print(f"{name}: {len(steps)} kill points")


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("name", MUTATIONS)
def test_refused_by_the_disk_at_any_step_is_a_declared_error_and_nothing_is_lost(
    name: str, error: str, nursery: Nursery, grounds: dict[str, Ground], scratch: Path
) -> None:
    ground = grounds[name]
    steps = _steps(nursery, ground, scratch)
    for call, step in steps:
        if error == "ENOSPC" and call.startswith("unlink"):
            continue  # no file system needs room for that
        config, backups = copy(ground.folder, scratch)
        inject = f"{call}:error={error}:when={step}"
        try:
            with nursery.server(config, backups, KEY, inject=inject, **ground.settings) as client:
                client.post(f"{PREFIX}/restores/absent/commit")
                answer = ground.send(client)
                if answer.status_code != 200:
                    code = ErrorCode(answer.json()["code"])
                    assert answer.status_code == ERRORS[code].status
                    assert code is not ErrorCode.InternalError
                check_after(name, ground, client, config, backups)
        except (AssertionError, httpx.TransportError) as failure:
            raise AssertionError(f"{name}, {error} at {call} {step}: {failure}") from failure
