"""No memory of this process ever becomes a file: it holds configs, and with them every key of a gateway."""

from __future__ import annotations

import ctypes
import resource
from typing import Final

PR_SET_DUMPABLE: Final = 4


def forbid_core_files() -> None:
    """For this process and its forks. A program that the system pipes cores into heeds no limit, so the process is also
    marked as one that is not dumped; then only root can attach a debugger to it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
