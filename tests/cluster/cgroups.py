"""A cgroup of its own for every cluster: limits hold in it, and every process of every pod is found in it."""

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path


def root_name(name: str) -> str:
    """The cluster's cgroup, in every hierarchy."""
    return f"gateway-{name}"


def make(name: str) -> None:
    """Make the cgroup; the kubelet wants to find it rather than make it."""
    for hierarchy in _hierarchies():
        if (hierarchy / "cgroup.subtree_control").exists() and not _is_v1():
            _delegate_controllers(hierarchy)
        (hierarchy / root_name(name)).mkdir(exist_ok=True)


def kill_all(name: str) -> None:
    """Kill every process in the cgroup: those of the pods."""
    deadline = time.monotonic() + 10
    while (pids := set(_pids(name))) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def remove(name: str) -> None:
    """Remove the cgroup with all below it."""
    for hierarchy in _hierarchies():
        root = hierarchy / root_name(name)
        for folder in _below(root):
            _rmdir(folder)


def _is_v1() -> bool:
    return not Path("/sys/fs/cgroup/cgroup.controllers").exists()


def _hierarchies() -> list[Path]:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(fields[1]) for fields in mounts if fields[2] in ("cgroup", "cgroup2")]


def _pids(name: str) -> Iterator[int]:
    for hierarchy in _hierarchies():
        for folder in _below(hierarchy / root_name(name)):
            with contextlib.suppress(OSError):
                # 0 stands for a process of another pid namespace; there is nothing to be done about it.
                yield from (int(pid) for pid in (folder / "cgroup.procs").read_text().split() if pid != "0")


def _below(root: Path) -> Iterator[Path]:
    """The cgroup and those in it, innermost first. Not with rglob: it fails when one vanishes meanwhile."""
    return (Path(folder) for folder, _, _ in os.walk(root, topdown=False))


def _rmdir(folder: Path) -> None:
    for _ in range(40):  # for a moment after its last process has died, a cgroup is still busy
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.05)


def _delegate_controllers(root: Path) -> None:
    """On cgroup v2, let children of the root have limits.

    In a container the root may hold processes, which v2 forbids in a cgroup that delegates: move them to a leaf.
    """
    wanted = " ".join(f"+{controller}" for controller in (root / "cgroup.controllers").read_text().split())
    try:
        (root / "cgroup.subtree_control").write_text(wanted)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EOPNOTSUPP):
            raise
        leaf = root / "init"
        leaf.mkdir(exist_ok=True)
        for pid in (root / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (leaf / "cgroup.procs").write_text(pid)
        (root / "cgroup.subtree_control").write_text(wanted)
