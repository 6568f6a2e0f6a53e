"""Where the story is told: a cluster of the demo's own, or one that the person has."""

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
from tests.demo.kube import Kube, DemoError
from tests.demo.terminal_report import Report

FIRST_RUN = """\
This is the first run here: the cluster's programs are compiled from source, and the images are built at the same time.
On two cores that takes about 10 minutes, up to 20 on busy ones. Later runs take less than a minute."""


class DemoCluster(Protocol):
    """A cluster: how it comes to be, how it gets the images, how it goes."""

    prepare_title: str
    start_title: str
    images_title: str

    @property
    def lock_name(self) -> str:
        """Two demos with the same one would tread on each other."""

    def prepare(self) -> None:
        """Find or build the programs."""

    def start(self) -> Kube:
        """Have a cluster without anything of an earlier run in it."""

    def load_images(self) -> images.Images:
        """See that the cluster has the images."""

    def commands(self) -> list[str]:
        """What to type before kubectl, so that it talks to this cluster."""

    def down_command(self) -> str:
        """What takes the demo down."""

    def down(self) -> None:
        """Take down what the demo made."""


class OwnCluster:
    """A whole Kubernetes on this machine, started for the demo."""

    prepare_title = "Find or build the cluster's programs"
    start_title = "Start the cluster"
    images_title = "Build the images and give them to the node"

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
        """Programs and packages. The images are built at the same time: most of that is waiting for downloads."""
        if reason := why_no_node():
            raise DemoError(f"{reason}; or use a cluster you have: make demo CONTEXT=name")
        from tests.cluster import binaries
        from tests.cluster.packages import install_missing

        if len(binaries.find(binaries.NODE_PROGRAMS)) < len(binaries.NODE_PROGRAMS):
            self._report.say(FIRST_RUN)
        install_missing(self._report.note)
        pool = ThreadPoolExecutor(1, thread_name_prefix="images")
        self._building = pool.submit(_build_images, self._built.put)
        pool.shutdown(wait=False)
        found = binaries.ensure(binaries.NODE_PROGRAMS, self._report.note)
        folders = sorted({str(path.parent) for path in found.values()})
        self._report.say(f"{len(found)} programs, in {', '.join(folders)}")

    def start(self) -> Kube:
        """Start it, or take the one that runs and clear away what an earlier run left."""
        cluster = lifecycle.start(self._name, node=True, log=self._report.note, reuse=True)
        kube = Kube(self._report, cluster.environment)
        self._report.command(f"export KUBECONFIG={cluster.kubeconfig}")
        if cleanup.remove(kube, crds=False):
            self._report.say("removed what an earlier run had left in it")
        kube.show("get", "nodes")
        return kube

    def load_images(self) -> images.Images:
        """Wait for the builds, and import each image into the node's containerd."""
        from tests.cluster import images as cluster_images

        if self._building is None:
            raise DemoError("the images are built while the cluster starts: prepare() comes first")
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
        """The kubeconfig, and a PATH with kubectl and helm where the machine has none."""
        cluster = lifecycle.attach(self._name)
        lines = [f"export KUBECONFIG={cluster.kubeconfig}"]
        if not all(shutil.which(program) for program in ("kubectl", "helm")):
            folder = cluster.programs["kubectl"].parent
            lines.append(f'export PATH="{folder}:$PATH"')
        return lines

    def down_command(self) -> str:
        """As the person would type it."""
        return "make demo-down" + ("" if self._name == "demo" else f' DEMO_ARGS="--name {self._name}"')

    def down(self) -> None:
        """Stop the cluster, with all that is in it."""
        if not ClusterPaths.of(self._name).state.exists():
            self._report.plain(f"there is no cluster {self._name}: nothing to take down")
            return
        lifecycle.stop(self._name, self._report.plain)


class ExistingCluster:
    """A cluster that the person already has: kind, minikube, or one whose images the person names."""

    prepare_title = "Find kubectl and helm"
    start_title = "Check the cluster"
    images_title = "Give the cluster its images"

    def __init__(self, report: Report, context: str) -> None:
        self._report = report
        self._context = context
        self._local = local_cluster.of_context(context)

    @property
    def lock_name(self) -> str:
        """One demo for each context."""
        safe = "".join(character if character.isalnum() else "-" for character in self._context)
        return f"demo-context-{safe}"

    def prepare(self) -> None:
        """kubectl and helm are the person's; so are the images, unless the demo can load its own."""
        for program in ("kubectl", "helm"):
            path = shutil.which(program)
            if path is None:
                raise DemoError(f"{program} is not on the PATH: with CONTEXT= the demo uses yours")
            self._report.say(path)
        if self._local is None or images.any_configured():
            images.from_environment()
        elif reason := self._local.why_not():
            raise DemoError(
                f"{reason}; or load images yourself and name them: IMAGE_ADMIN, IMAGE_OPERATOR, IMAGE_GATEWAY"
            )

    def start(self) -> Kube:
        """See that it answers and that nothing of somebody else's is in the way."""
        kube = self._kube()
        kube.show("get", "nodes")
        cleanup.refuse_foreign(kube)
        if cleanup.remove(kube, crds=False):
            self._report.say("removed what an earlier run had left in it")
        return kube

    def load_images(self) -> images.Images:
        """Build and load them into kind or minikube; take those that the person names as they are."""
        if self._local is None or images.any_configured():
            used = images.from_environment()
        else:
            self._report.note(f"building, and loading into {self._local.program}: about three minutes the first time")
            self._local.build_and_load()
            used = images.LOCAL
        for reference in (used.admin, used.operator, used.gateway):
            self._report.say(reference)
        return used

    def commands(self) -> list[str]:
        """Nothing: the context is in each command."""
        return []

    def down_command(self) -> str:
        """As the person would type it."""
        return f"make demo-down CONTEXT={self._context}"

    def down(self) -> None:
        """Remove the demo's namespaces, its release's roles and, if nobody else uses them, the CRDs."""
        kube = self._kube()
        cleanup.refuse_foreign(kube)
        removed = cleanup.remove(kube, crds=True)
        self._report.plain("the demo is gone" if removed else "there was nothing of the demo left")

    def _kube(self) -> Kube:
        return Kube(self._report, os.environ, self._context)


@contextmanager
def hold(place: DemoCluster) -> Iterator[None]:
    """Keep a second demo of the same cluster out while this one runs."""
    lock = Lock(state_root() / "locks" / f"{place.lock_name}.lock")
    if not lock.try_acquire():
        raise DemoError("another `make demo` is at work on this cluster; wait for it, or give this one another --name")
    try:
        yield
    finally:
        lock.release()


def _build_images(log: Callable[[str], None]) -> None:
    """Build all three at once: most of a build is waiting for downloads."""
    from tests.cluster import images as cluster_images

    cluster_images.base_image(log)
    with ThreadPoolExecutor(len(images.SOURCES)) as pool:
        list(pool.map(lambda one: cluster_images.build(one.dockerfile, one.context, one.tag, log=log), images.SOURCES))
