"""Creates and removes one cgroup per cluster. It contains all processes of all pods, so that they can be killed."""

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path


def root_name(name: str) -> str:
    """Name of the cluster's cgroup, the same in all hierarchies."""
    return f"gateway-{name}"


def make(name: str) -> None:
    """Create the cgroup, because the kubelet expects an existing one."""
    for hierarchy in _hierarchies():
        if (hierarchy / "cgroup.subtree_control").exists() and not _is_v1():
            _delegate_controllers(hierarchy)
        (hierarchy / root_name(name)).mkdir(exist_ok=True)


def kill_all(name: str) -> None:
    """Kill all processes in the cgroup, which are those of the pods."""
    deadline = time.monotonic() + 10
    while (pids := set(_pids(name))) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def remove(name: str) -> None:
    """Remove the cgroup and all its children."""
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
                # 0 is a process of another pid namespace, which cannot be killed from here.
                yield from (int(pid) for pid in (folder / "cgroup.procs").read_text().split() if pid != "0")


def _below(root: Path) -> Iterator[Path]:
    """The cgroup and its descendants, innermost first. Not rglob, which fails if one is removed meanwhile."""
    return (Path(folder) for folder, _, _ in os.walk(root, topdown=False))


def _rmdir(folder: Path) -> None:
    for _ in range(40):  # a cgroup stays busy for a moment after its last process has ended
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.05)


def _delegate_controllers(root: Path) -> None:
    """Enable limits for children of the root on cgroup v2.

    v2 forbids processes in a cgroup that delegates controllers. In a container the root may have some, so they are
    moved to a leaf.
    """
    controllers = " ".join(f"+{controller}" for controller in (root / "cgroup.controllers").read_text().split())
    try:
        (root / "cgroup.subtree_control").write_text(controllers)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EOPNOTSUPP):
            raise
        leaf = root / "init"
        leaf.mkdir(exist_ok=True)
        for pid in (root / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (leaf / "cgroup.procs").write_text(pid)
        (root / "cgroup.subtree_control").write_text(controllers)
