"""Finds the programs of the cluster, or builds them once into the cache.

The Go module in `binaries/` defines the versions. The search order is KUBEBUILDER_ASSETS (etcd, kube-apiserver,
kubectl), the cache, PATH. Programs that are still missing are built.
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
    """A program, its Go package, and a pattern for the versions that are accepted from elsewhere."""

    name: str
    package: str
    version_arguments: tuple[str, ...]
    accepted: str

    @property
    def built_name(self) -> str:
        """File name that `go build` uses: the last element of the package path that is not a version."""
        parts = [part for part in self.package.split("/") if not re.fullmatch(r"v\d+", part)]
        return parts[-1]


def _kubernetes(name: str, accepted: str = r"v1\.34\.") -> Program:
    return Program(name, f"k8s.io/kubernetes/cmd/{name}", ("--version",), accepted)


# All parts of Kubernetes need the same minor version, within its version skew policy. The API server may be one minor
# version newer, and kubectl one older or newer. A newer kubelet is impossible, because 1.35 refuses cgroup v1.
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
        Program("networkpolicies", "./networkpolicies", ("-version",), r"networkpolicies of kube-router v2\."),
    )
}
CONTROL_PLANE_PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "helm")
NODE_PROGRAMS = (*CONTROL_PLANE_PROGRAMS, "kube-scheduler", "kubelet", "kube-proxy", "coredns", "networkpolicies")


def find(names: Iterable[str]) -> dict[str, Path]:
    """Paths of the programs that exist already; missing ones are left out."""
    found = ((name, _find(PROGRAMS[name])) for name in names)
    return {name: path for name, path in found if path is not None}


def ensure(names: Iterable[str], log: Log = to_stderr) -> dict[str, Path]:
    """Find the programs, and build what is missing."""
    names = list(names)
    found = find(names)
    if len(found) == len(names):
        return found
    with locked(cache_dir() / "build.lock"):
        found = find(names)  # another process may have built them during the wait for the lock
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
    """Folder for the programs of this version of the Go module. Its name is a digest of the module's files."""
    digest = hashlib.sha256(_VERSION_FLAG.encode())
    for path in (_MODULE / "go.mod", _MODULE / "go.sum", *sorted(_MODULE.glob("*/main.go"))):
        digest.update(path.read_bytes())
    return cache_dir() / "programs" / digest.hexdigest()[:16]


def _build(programs: list[Program], log: Log) -> None:
    go = find_go(log)
    target = _programs_dir()
    log(f"building {', '.join(program.name for program in programs)} from source, into {target}: {BUILD_TIME}")
    target.mkdir(parents=True, exist_ok=True)
    for abandoned in target.glob(".building-*"):  # of a killed build: the lock excludes a running one
        shutil.rmtree(abandoned)
    with tempfile.TemporaryDirectory(dir=target, prefix=".building-") as scratch:
        command = [str(go), "build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly"]
        command += ["-ldflags", f"-s -w {_VERSION_FLAG}", "-o", f"{scratch}/"]
        command += [program.package for program in programs]
        environment = {**os.environ, "GOWORK": "off"}
        _run_with_progress(command, _MODULE, environment, log)
        for program in programs:
            # The rename is atomic, so that no process finds an incomplete program.
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
