"""The programs that are compared: each is started, watched by the kernel's counters, and stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.bench.operator import go_baseline
from tests.cluster import Cluster
from tests.cluster.output import Log
from tests.cluster.paths import ClusterError
from tests.operator.support.operator_process import OperatorProcess

SHARE = 1.0
"""Seconds for which the operator shares one look at a gateway between its backups; the others do as it does."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """What the kernel counted for a process: CPU seconds so far, and MiB of memory at its peak."""

    cpu: float
    peak: float


def usage(pid: int) -> Usage:
    """Of a process that lives."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS, int(peak.split()[1]) / 1024)


@contextmanager
def run_program(command: Sequence[str], log: Path, patience: float = 60) -> Iterator[int]:
    """Runs until the block ends; entered when it has said ``ready``. Gives its pid."""
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True)
    try:
        deadline = time.monotonic() + patience
        while "ready" not in log.read_text(errors="replace").split("\n"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} is not ready:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)
        yield process.pid
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended:\n{log.read_text(errors='replace')[-3000:]}")
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Subject:
    """A program that backs up what appears in a namespace."""

    name: str
    run: Callable[[Cluster, str, Path], AbstractContextManager[int]]


@contextmanager
def operator(cluster: Cluster, namespace: str, log: Path) -> Iterator[int]:
    """The operator itself."""
    with OperatorProcess(cluster, log, namespace) as process:
        yield process.pid


def _client_baseline(cluster: Cluster, namespace: str, log: Path) -> AbstractContextManager[int]:
    command = [sys.executable, "-m", "tests.bench.operator.baseline_client", f"--kubeconfig={cluster.kubeconfig}"]
    return run_program([*command, f"--namespace={namespace}", f"--share={SHARE}"], log)


def available_subjects(names: Sequence[str], log: Log) -> list[Subject]:
    """Those of the names that this machine can run; a line says which it cannot."""
    found = []
    for name in names:
        if name == "operator":
            found.append(Subject(name, operator))
        elif name == "floor":
            found.append(Subject(name, _client_baseline))
        elif name == "twin":
            try:
                path = go_baseline.build(log)
            except ClusterError as error:
                log(f"without the Go twin: {str(error).splitlines()[0]}")
                continue
            found.append(Subject(name, partial(_go_baseline, path)))
    return found


def _go_baseline(path: Path, cluster: Cluster, namespace: str, log: Path) -> AbstractContextManager[int]:
    command = [str(path), f"--kubeconfig={cluster.kubeconfig}", f"--namespace={namespace}", f"--share={SHARE}s"]
    return run_program(command, log)
