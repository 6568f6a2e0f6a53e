"""An existing kind or minikube cluster, into which the demo builds and loads its images."""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.output import run
from tests.demo import images

_BUILD_SECONDS = 1800
_LOAD_SECONDS = 600


@dataclass(frozen=True)
class LocalCluster:
    """A cluster on this machine; its program (kind or minikube) loads images into the nodes."""

    program: str
    name: str

    def load_command(self, archive: Path) -> list[str]:
        """The command that loads an image archive into all nodes of the cluster."""
        if self.program == "kind":
            return ["kind", "load", "image-archive", str(archive), "--name", self.name]
        return ["minikube", "-p", self.name, "image", "load", str(archive)]

    def why_not(self) -> str | None:
        """Why the demo cannot build and load the images; None if it can."""
        if shutil.which(self.program) is None:
            return f"{self.program} is not on the PATH, and the context belongs to {self.program}"
        if _builder() is None:
            return "neither docker nor podman is on the PATH, and the demo needs one of them to build the images"
        return None

    def build_and_load(self) -> None:
        """Build the three images concurrently, then load them."""
        with tempfile.TemporaryDirectory(prefix="gateway-demo-") as folder:
            with ThreadPoolExecutor(len(images.SOURCES)) as pool:
                archives = list(pool.map(lambda source: _build(source, Path(folder)), images.SOURCES))
            for archive in archives:
                run(self.load_command(archive), timeout=_LOAD_SECONDS)


def of_context(context: str) -> LocalCluster | None:
    """The local cluster of a context, by the context names of kind and minikube; None for other names."""
    if context.startswith("kind-"):
        return LocalCluster("kind", context.removeprefix("kind-"))
    if context == "minikube" or context.startswith("minikube-"):
        return LocalCluster("minikube", context)
    return None


def _builder() -> str | None:
    return next((program for program in ("docker", "podman") if shutil.which(program)), None)


def _build(source: images.Source, folder: Path) -> Path:
    builder = _builder()
    assert builder is not None  # why_not() was checked before
    archive = folder / f"{source.tag.rpartition('/')[2].replace(':', '-')}.tar"
    build = [builder, "build", "-t", source.tag, "-f", str(source.dockerfile), str(source.context)]
    run(build, timeout=_BUILD_SECONDS)
    run([builder, "save", "-o", str(archive), source.tag], timeout=_LOAD_SECONDS)
    return archive
