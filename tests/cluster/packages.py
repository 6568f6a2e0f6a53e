"""Debian's packages for a node, installed when root asks for a node and they are missing."""

import os

from tests.cluster.locks import locked
from tests.cluster.output import Log, run
from tests.cluster.paths import cache_dir
from tests.cluster.requirements import missing_packages

# Waits for another apt-get rather than failing because of it.
_APT = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "-qq")


def install_missing(log: Log) -> None:
    """Install what is missing, and say so: a test run that changes the machine must not do it silently."""
    with locked(cache_dir() / "packages.lock"):
        missing = missing_packages()
        if not missing:
            return
        log(f"installing with apt-get, once: {' '.join(missing)}")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run([*_APT, "update"], timeout=300, env=environment)
        run([*_APT, "install", "--no-install-recommends", "-y", *missing], timeout=600, env=environment)
