"""Skips tests whose programs or permissions this machine lacks."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def require_programs(*programs: str) -> None:
    """Skips the test if a program is missing; the reason names the package to install."""
    for program in programs:
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            pytest.skip(f"needs the program {program}: install the package {program}")


@contextmanager
def mount_tmpfs(folder: Path, size: int, *, inodes: int = 0) -> Iterator[None]:
    """Mounts a tmpfs of ``size`` bytes on ``folder`` during the block; skips the test if mounting is not permitted.

    ``inodes`` limits the number of files and folders; 0 is the default of the kernel.
    """
    options = f"size={size}" + (f",nr_inodes={inodes}" if inodes else "")
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False, timeout=60).returncode:
        pytest.skip("a small volume needs root and the permission to mount: run as root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=60)
