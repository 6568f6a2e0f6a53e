"""Installs the Debian packages that a node needs, if root starts a node and they are missing."""

import os

from tests.cluster.locks import locked
from tests.cluster.output import Log, run
from tests.cluster.paths import cache_dir
from tests.cluster.requirements import missing_packages

# Wait for the lock of another apt-get instead of failing.
_APT = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "-qq")


def install_missing(log: Log) -> None:
    """Install the missing packages and log it, because it changes the machine."""
    with locked(cache_dir() / "packages.lock"):
        missing = missing_packages()
        if not missing:
            return
        log(f"installing with apt-get, once: {' '.join(missing)}")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run([*_APT, "update"], timeout=300, env=environment)
        run([*_APT, "install", "--no-install-recommends", "-y", *missing], timeout=600, env=environment)
