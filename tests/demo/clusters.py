"""The cluster on which the demo runs: its own local cluster, or an existing cluster of the user.

Both classes have the same steps: prepare the programs, start or check the cluster, load the images, take it down.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Protocol

from tests.cluster import lifecycle
from tests.cluster.locks import Lock
from tests.cluster.paths import ClusterPaths, state_root
from tests.cluster.requirements import why_no_node
from tests.demo import cleanup, images, local_cluster
from tests.demo.kube import DemoError, Kube
from tests.demo.terminal_report import Report

FIRST_RUN = """\
First run on this machine: the programs of the cluster are compiled from source while the images are built.
This takes about 10 minutes on two idle cores, and up to 20 minutes on a loaded machine. Later runs take less than a
minute."""


class DemoCluster(Protocol):
    """The steps that differ between the demo's own cluster and an existing one."""

    prepare_title: str
    start_title: str
    images_title: str

    @property
    def lock_name(self) -> str:
        """Name of the lock that excludes a second demo on the same cluster."""

    def prepare(self) -> None:
        """Find or build the programs that the demo needs."""

    def start(self) -> Kube:
        """Start or check the cluster, and remove the objects of an earlier run."""

    def load_images(self) -> images.Images:
        """Make the images available on the cluster."""

    def commands(self) -> list[str]:
        """Shell commands after which kubectl uses this cluster."""

    def down_command(self) -> str:
        """The shell command that removes the demo."""

    def down(self) -> None:
        """Remove everything that the demo created."""


class OwnCluster:
    """A local Kubernetes cluster that is started for the demo."""

    prepare_title = "Find or build the cluster's programs"
    start_title = "Start the cluster"
    images_title = "Build the images and load them into the node"

    def __init__(self, report: Report, name: str) -> None:
        self._report = report
        self._name = name
        self._building: Future[None] | None = None
        self._built: SimpleQueue[str] = SimpleQueue()

    @property
    def lock_name(self) -> str:
        """One demo for each cluster name."""
        return f"demo-{self._name}"

    def prepare(self) -> None:
        """Find or build the programs. The images are built in a thread meanwhile, mostly waiting for downloads."""
        if reason := why_no_node():
            raise DemoError(f"{reason}; or use an existing cluster: make demo CONTEXT=name")
        from tests.cluster import binaries
        from tests.cluster.packages import install_missing

        if len(binaries.find(binaries.NODE_PROGRAMS)) < len(binaries.NODE_PROGRAMS):
            self._report.say(FIRST_RUN)
        install_missing(self._report.note)
        pool = ThreadPoolExecutor(1, thread_name_prefix="images")
        self._building = pool.submit(_build_images, self._built.put)
        pool.shutdown(wait=False)
        programs = binaries.ensure(binaries.NODE_PROGRAMS, self._report.note)
        folders = sorted({str(path.parent) for path in programs.values()})
        self._report.say(f"{len(programs)} programs, in {', '.join(folders)}")

    def start(self) -> Kube:
        """Start the cluster, or use the running one after the removal of an earlier demo."""
        cluster = lifecycle.start(self._name, node=True, log=self._report.note, reuse=True)
        kube = Kube(self._report, cluster.environment)
        self._report.command(f"export KUBECONFIG={cluster.kubeconfig}")
        if cleanup.remove(kube, crds=False):
            self._report.say("removed the objects of an earlier run")
        kube.show("get", "nodes")
        return kube

    def load_images(self) -> images.Images:
        """Wait for the builds, then import each image into the node's containerd."""
        from tests.cluster import images as cluster_images

        if self._building is None:
            raise DemoError("the images are not being built: call prepare() first")
        if not self._building.done():
            self._report.note("building: about two minutes the first time")
        while not (self._building.done() and self._built.empty()):
            with suppress(Empty):
                self._report.note(self._built.get(timeout=0.2))
        self._building.result()
        cluster = lifecycle.attach(self._name)
        for tag in (images.LOCAL.admin, images.LOCAL.operator, images.LOCAL.gateway):
            cluster_images.load(cluster, tag)
            self._report.say(tag)
        return images.LOCAL

    def commands(self) -> list[str]:
        """Set KUBECONFIG, and PATH if kubectl or helm is not installed."""
        cluster = lifecycle.attach(self._name)
        lines = [f"export KUBECONFIG={cluster.kubeconfig}"]
        if not all(shutil.which(program) for program in ("kubectl", "helm")):
            folder = cluster.programs["kubectl"].parent
            lines.append(f'export PATH="{folder}:$PATH"')
        return lines

    def down_command(self) -> str:
        """The make command that removes the demo."""
        return "make demo-down" + ("" if self._name == "demo" else f' DEMO_ARGS="--name {self._name}"')

    def down(self) -> None:
        """Stop the cluster and delete its data."""
        if not ClusterPaths.of(self._name).state.exists():
            self._report.plain(f"the cluster {self._name} does not exist: nothing to remove")
            return
        lifecycle.stop(self._name, self._report.plain)


class ExistingCluster:
    """An existing cluster of the user: kind, minikube, or any other with images from environment variables."""

    prepare_title = "Find kubectl and helm"
    start_title = "Check the cluster"
    images_title = "Load the images into the cluster"

    def __init__(self, report: Report, context: str) -> None:
        self._report = report
        self._context = context
        self._local = local_cluster.of_context(context)

    @property
    def lock_name(self) -> str:
        """One demo for each kubeconfig context."""
        safe = "".join(character if character.isalnum() else "-" for character in self._context)
        return f"demo-context-{safe}"

    def prepare(self) -> None:
        """Find kubectl and helm on the PATH, and check that the images are set or can be built and loaded."""
        for program in ("kubectl", "helm"):
            path = shutil.which(program)
            if path is None:
                raise DemoError(f"{program} is not on the PATH: with CONTEXT= the demo needs an installed {program}")
            self._report.say(path)
        if self._local is None or images.any_configured():
            images.from_environment()
        elif reason := self._local.why_not():
            raise DemoError(f"{reason}; or load images yourself and set IMAGE_ADMIN, IMAGE_OPERATOR and IMAGE_GATEWAY")

    def start(self) -> Kube:
        """Check that the cluster answers and that the demo conflicts with no other installation."""
        kube = self._kube()
        kube.show("get", "nodes")
        cleanup.refuse_foreign(kube)
        if cleanup.remove(kube, crds=False):
            self._report.say("removed the objects of an earlier run")
        return kube

    def load_images(self) -> images.Images:
        """Build the images and load them into kind or minikube, or use those of the environment variables."""
        if self._local is None or images.any_configured():
            used = images.from_environment()
        else:
            self._report.note(f"building and loading into {self._local.program}: about three minutes the first time")
            self._local.build_and_load()
            used = images.LOCAL
        for reference in (used.admin, used.operator, used.gateway):
            self._report.say(reference)
        return used

    def commands(self) -> list[str]:
        """None, because each command names the context."""
        return []

    def down_command(self) -> str:
        """The make command that removes the demo."""
        return f"make demo-down CONTEXT={self._context}"

    def down(self) -> None:
        """Remove the demo's namespaces, its cluster roles and, if there are no other objects, the CRDs."""
        kube = self._kube()
        cleanup.refuse_foreign(kube)
        removed = cleanup.remove(kube, crds=True)
        self._report.plain("the demo is removed" if removed else "the cluster has no objects of the demo")

    def _kube(self) -> Kube:
        return Kube(self._report, os.environ, self._context)


@contextmanager
def hold(cluster: DemoCluster) -> Iterator[None]:
    """Hold the lock of a cluster during the block; DemoError if another demo holds it."""
    lock = Lock(state_root() / "locks" / f"{cluster.lock_name}.lock")
    if not lock.try_acquire():
        raise DemoError("another `make demo` uses this cluster; wait until it ends, or use another --name")
    try:
        yield
    finally:
        lock.release()


def _build_images(log: Callable[[str], None]) -> None:
    """Build all three images concurrently, because a build mostly waits for downloads."""
    from tests.cluster import images as cluster_images

    cluster_images.base_image(log)
    with ThreadPoolExecutor(len(images.SOURCES)) as pool:
        list(pool.map(lambda one: cluster_images.build(one.dockerfile, one.context, one.tag, log=log), images.SOURCES))
