"""The cluster's programs: found where a person already has them, else built once into the cache.

They come from the Go module in `binaries/`, which holds their versions. The order is:
KUBEBUILDER_ASSETS (etcd, kube-apiserver, kubectl), the cache, PATH, a build of what is still missing.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.golang import find_go
from tests.cluster.locks import locked
from tests.cluster.output import Log, to_stderr
from tests.cluster.paths import HERE, ClusterError, cache_dir

KUBERNETES_VERSION = "v1.34.4"
_MODULE = HERE / "binaries"
BUILD_TIME = "once, about 8 minutes on two idle cores and up to 15 on busy ones, and 7 GB of disk"
_VERSION_FLAG = f"-X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}"


@dataclass(frozen=True)
class Program:
    """A program, the package it is built from, and which versions found elsewhere will do."""

    name: str
    package: str
    version_arguments: tuple[str, ...]
    accepted: str

    @property
    def built_name(self) -> str:
        """What `go build` calls it: the package's last element that is not a version."""
        parts = [part for part in self.package.split("/") if not re.fullmatch(r"v\d+", part)]
        return parts[-1]


def _kubernetes(name: str, accepted: str = r"v1\.34\.") -> Program:
    return Program(name, f"k8s.io/kubernetes/cmd/{name}", ("--version",), accepted)


# All of Kubernetes must be of one minor version, with the liberties of its version skew policy: an API server
# may be one newer than the rest, kubectl one older or newer. The kubelet cannot: 1.35 refuses cgroup v1.
PROGRAMS = {
    program.name: program
    for program in (
        Program("etcd", "go.etcd.io/etcd/server/v3", ("--version",), r"etcd Version: 3\.[56]\."),
        _kubernetes("kube-apiserver", r"v1\.3[45]\."),
        _kubernetes("kube-controller-manager"),
        _kubernetes("kube-scheduler"),
        _kubernetes("kubelet"),
        _kubernetes("kube-proxy"),
        Program("kubectl", "k8s.io/kubernetes/cmd/kubectl", ("version", "--client"), r"Version: v1\.3[345]\.\d+\s"),
        Program("helm", "helm.sh/helm/v3/cmd/helm", ("version", "--short"), r"v3\.(1[4-9]|[2-9]\d)\."),
        Program("coredns", "./coredns", ("-version",), r"CoreDNS-1\.1\d\."),
    )
}
CONTROL_PLANE_PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "helm")
NODE_PROGRAMS = (*CONTROL_PLANE_PROGRAMS, "kube-scheduler", "kubelet", "kube-proxy", "coredns")


def find(names: Iterable[str]) -> dict[str, Path]:
    """Where those of the programs are that need no building."""
    found = ((name, _find(PROGRAMS[name])) for name in names)
    return {name: path for name, path in found if path is not None}


def ensure(names: Iterable[str], log: Log = to_stderr) -> dict[str, Path]:
    """Find the programs, and build what is missing."""
    names = list(names)
    found = find(names)
    if len(found) == len(names):
        return found
    with locked(cache_dir() / "build.lock"):
        found = find(names)  # somebody else may have built them while we waited for the lock
        missing = [PROGRAMS[name] for name in names if name not in found]
        if missing:
            _build(missing, log)
    return find(names)


def _find(program: Program) -> Path | None:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and program.name in ("etcd", "kube-apiserver", "kubectl"):
        candidate = Path(assets) / program.name
        if _is_fit(program, candidate):
            return candidate
    built = _programs_dir() / program.name
    if built.exists():
        return built
    on_path = shutil.which(program.name)
    return Path(on_path) if on_path and _is_fit(program, Path(on_path)) else None


def _is_fit(program: Program, path: Path) -> bool:
    try:
        done = subprocess.run(
            [str(path), *program.version_arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and re.search(program.accepted, done.stdout + "\n") is not None


def _programs_dir() -> Path:
    """The folder for what this version of the module builds; another version gets another folder."""
    digest = hashlib.sha256(_VERSION_FLAG.encode())
    for name in ("go.mod", "go.sum", "coredns/main.go"):
        digest.update((_MODULE / name).read_bytes())
    return cache_dir() / "programs" / digest.hexdigest()[:16]


def _build(programs: list[Program], log: Log) -> None:
    go = find_go(log)
    target = _programs_dir()
    log(f"building {', '.join(program.name for program in programs)} from source, into {target}: {BUILD_TIME}")
    target.mkdir(parents=True, exist_ok=True)
    for abandoned in target.glob(".building-*"):  # by a build that was killed; ours is the only one, by the lock
        shutil.rmtree(abandoned)
    with tempfile.TemporaryDirectory(dir=target, prefix=".building-") as scratch:
        command = [str(go), "build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly"]
        command += ["-ldflags", f"-s -w {_VERSION_FLAG}", "-o", f"{scratch}/"]
        command += [program.package for program in programs]
        environment = {**os.environ, "GOWORK": "off"}
        _run_with_progress(command, _MODULE, environment, log)
        for program in programs:
            # A rename is whole or not at all: nobody ever finds half a program.
            (Path(scratch) / program.built_name).replace(target / program.name)


def _run_with_progress(command: list[str], folder: Path, environment: dict[str, str], log: Log) -> None:
    began = time.monotonic()
    downloaded = compiled = 0
    tail: deque[str] = deque(maxlen=15)
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    finished = threading.Event()

    def report() -> None:
        while not finished.wait(10):
            phase = f"{compiled} packages compiled" if compiled else f"{downloaded} modules fetched"
            log(f"  {time.monotonic() - began:4.0f} s  {phase}")

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                tail.append(line.rstrip())
                if line.startswith("go: downloading"):
                    downloaded += 1
                else:
                    compiled += 1
        failed = process.wait() != 0
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        finished.set()
        reporter.join()
    if failed:
        raise ClusterError("the build failed:\n" + "\n".join(tail))
    log(f"  {time.monotonic() - began:4.0f} s  done")
