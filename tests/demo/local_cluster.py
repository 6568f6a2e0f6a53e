"""A kind or minikube cluster that the person already has: the demo builds its images and loads them into it."""

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
    """A cluster on this machine whose own program loads images into its nodes."""

    program: str
    name: str

    def load_command(self, archive: Path) -> list[str]:
        """The command that loads an archive into every node of the cluster."""
        if self.program == "kind":
            return ["kind", "load", "image-archive", str(archive), "--name", self.name]
        return ["minikube", "-p", self.name, "image", "load", str(archive)]

    def why_not(self) -> str | None:
        """Why the demo cannot build and load the images here, or None when it can."""
        if shutil.which(self.program) is None:
            return f"{self.program} is not on the PATH, and the context is one of {self.program}"
        if _builder() is None:
            return "neither docker nor podman is on the PATH, and one of them must build the images"
        return None

    def build_and_load(self) -> None:
        """Build the three images, and load each one when it is ready."""
        with tempfile.TemporaryDirectory(prefix="gateway-demo-") as folder:
            with ThreadPoolExecutor(len(images.SOURCES)) as pool:
                archives = list(pool.map(lambda source: _build(source, Path(folder)), images.SOURCES))
            for archive in archives:
                run(self.load_command(archive), timeout=_LOAD_SECONDS)


def of_context(context: str) -> LocalCluster | None:
    """The local cluster of a context, by the names that kind and minikube give to their contexts."""
    if context.startswith("kind-"):
        return LocalCluster("kind", context.removeprefix("kind-"))
    if context == "minikube" or context.startswith("minikube-"):
        return LocalCluster("minikube", context)
    return None


def _builder() -> str | None:
    return next((program for program in ("docker", "podman") if shutil.which(program)), None)


def _build(source: images.Source, folder: Path) -> Path:
    builder = _builder()
    assert builder is not None  # why_not() was asked before
    archive = folder / f"{source.tag.rpartition('/')[2].replace(':', '-')}.tar"
    build = [builder, "build", "-t", source.tag, "-f", str(source.dockerfile), str(source.context)]
    run(build, timeout=_BUILD_SECONDS)
    run([builder, "save", "-o", str(archive), source.tag], timeout=_LOAD_SECONDS)
    return archive
