"""The programs that the bench compares: how each is started and stopped, and its CPU time and memory."""

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
"""Seconds for which backups of one gateway share a resolved pod and key; the same in all subjects."""
NAMES = ("operator", "Go baseline", "client baseline")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """CPU seconds and peak resident memory in MiB of a process."""

    cpu: float
    peak: float


def usage(pid: int) -> Usage:
    """The usage of a running process, from /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS, int(peak.split()[1]) / 1024)


@contextmanager
def run_program(command: Sequence[str], log: Path, patience: float = 60) -> Iterator[int]:
    """Run a command during the block, which begins when the command prints ``ready``; yields its pid."""
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
    """A program that backs up each new GatewayBackup of a namespace."""

    name: str
    run: Callable[[Cluster, str, Path], AbstractContextManager[int]]


@contextmanager
def operator(cluster: Cluster, namespace: str, log: Path) -> Iterator[int]:
    """Run the operator itself as a process, with leader election and metrics as in the chart."""
    with OperatorProcess(cluster, log, namespace, flags=["--leader-elect", f"--lease-name={namespace}"]) as process:
        yield process.pid


def _client_baseline(cluster: Cluster, namespace: str, log: Path) -> AbstractContextManager[int]:
    command = [sys.executable, "-m", "tests.bench.operator.baseline_client", f"--kubeconfig={cluster.kubeconfig}"]
    return run_program([*command, f"--namespace={namespace}", f"--share={SHARE}"], log)


def available_subjects(names: Sequence[str], log: Log) -> list[Subject]:
    """The subjects with these names; a log line names each that this machine cannot run."""
    subjects = []
    for name in names:
        if name == "operator":
            subjects.append(Subject(name, operator))
        elif name == "client baseline":
            subjects.append(Subject(name, _client_baseline))
        elif name == "Go baseline":
            try:
                path = go_baseline.build(log)
            except ClusterError as error:
                log(f"skipped the Go baseline: {str(error).splitlines()[0]}")
                continue
            subjects.append(Subject(name, partial(_go_baseline, path)))
    return subjects


def _go_baseline(path: Path, cluster: Cluster, namespace: str, log: Path) -> AbstractContextManager[int]:
    command = [str(path), f"--kubeconfig={cluster.kubeconfig}", f"--namespace={namespace}", f"--share={SHARE}s"]
    return run_program(command, log)
