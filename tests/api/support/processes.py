"""Finds and kills a server and its worker processes, through `/proc`."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def process_tree(pid: int) -> list[int]:
    """The pids of a process and of all its descendants, the process itself first."""
    pids = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            pids += process_tree(int(child))
    return pids


def kill_processes(pids: list[int]) -> None:
    """Sends SIGKILL to each process; processes that have ended since are ignored."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
