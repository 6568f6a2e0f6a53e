"""Measuring tools of the bench: response times of `/health`, and the peak memory of a server and its workers."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.api.support.admin_process import AdminProcess

PACE_SECONDS = 0.005


@dataclass
class Answers:
    """Start time and duration of each request of `/health`, in seconds."""

    asked: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)

    def between(self, spans: list[tuple[float, float]]) -> list[float]:
        """Sorted durations of the requests that overlap with one of ``spans``."""
        pairs = zip(self.asked, self.took, strict=True)
        return sorted(took for at, took in pairs if any(a <= at + took and at <= b for a, b in spans))


def percentile(sorted_values: list[float], part: float) -> float:
    """A percentile of sorted values; ``part`` is between 0 and 1."""
    return sorted_values[min(len(sorted_values) - 1, int(part * len(sorted_values)))]


@contextmanager
def probing(server: AdminProcess, pause: float = PACE_SECONDS) -> Iterator[Answers]:
    """Request `/health` during the block; the yielded Answers are filled when the block ends."""
    command = [sys.executable, "-m", "tests.bench.api.probe", server.host, str(server.port), str(pause)]
    probe = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    answers = Answers()
    try:
        time.sleep(0.3)
        yield answers
    finally:
        output, _ = probe.communicate()
    parsed = json.loads(output)
    answers.asked, answers.took = parsed["asked"], parsed["took"]


class Memory:
    """Peak resident memory in MiB: the server's since :meth:`reset`, and the largest of its workers'."""

    def __init__(self, server: AdminProcess) -> None:
        assert server.process is not None
        self._pid = server.process.pid
        self._worker = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(0.05):
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
                    if parent == str(self._pid):
                        self._worker = max(self._worker, _peak(int(process.name)))

    def reset(self) -> None:
        """Reset the recorded peaks of the server and its workers."""
        Path(f"/proc/{self._pid}/clear_refs").write_text("5")
        self._worker = 0.0

    def peaks(self) -> tuple[float, float]:
        """Peak memory in MiB of the server and of its largest worker."""
        return _peak(self._pid), self._worker


def _peak(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return 0.0
