"""Creates temporary files without keeping them open."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def new_temporary_file(prefix: str, suffix: str) -> Path:
    """A new, empty file that the caller removes.

    `mkstemp` also opens the file. Without the close a pytest worker reached the limit of 1,024 open files.
    """
    fd, name = tempfile.mkstemp(prefix=prefix, suffix=suffix)
    os.close(fd)
    return Path(name)
