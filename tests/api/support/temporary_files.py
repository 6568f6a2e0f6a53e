"""Creates temporary files without keeping them open, and shows the end of a log."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


def new_temporary_file(prefix: str, suffix: str) -> Path:
    """A new, empty file that the caller removes.

    `mkstemp` also opens the file. Without the close a pytest worker reached the limit of 1,024 open files.
    """
    fd, name = tempfile.mkstemp(prefix=prefix, suffix=suffix)
    os.close(fd)
    return Path(name)


def show_end_of_log(owner: str, log: str) -> None:
    """Prints the last 8,000 characters of the log. pytest shows them with a failed test."""
    print(f"the end of the log of {owner}:\n{log[-8000:]}", file=sys.stderr)
