"""Where the story is told: a cluster of the demo's own, or one that the person has."""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

from tests.cluster import lifecycle
from tests.cluster.locks import Lock
from tests.cluster.paths import ClusterError, ClusterPaths, state_root
from tests.cluster.requirements import why_no_node
from tests.demo import cleanup, images
from tests.demo.kube import Kube, StoryError
from tests.demo.report import Report

ROOT = Path(__file__).resolve().parent.parent.parent


class Place(Protocol):
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
        """Programs and packages; the images are built in the background from here on."""
        if reason := why_no_node():
            raise StoryError(f"{reason}; or use a cluster you have: make demo CONTEXT=name")
        from tests.cluster import binaries
        from tests.cluster.packages import install_missing

        install_missing(self._report.note)
        found = binaries.ensure(binaries.NODE_PROGRAMS, self._report.note)
        folders = sorted({str(path.parent) for path in found.values()})
        self._report.say(f"{len(found)} programs, in {', '.join(folders)}")
        pool = ThreadPoolExecutor(1, thread_name_prefix="images")
        self._building = pool.submit(_build_images, self._built.put)
        pool.shutdown(wait=False)

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
            raise StoryError("the images are built while the cluster starts: prepare() comes first")
        if not self._building.done():
            self._report.note("building; the first time takes a few minutes")
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


class GivenCluster:
    """A cluster of the person's: kind, minikube, a real one."""

    prepare_title = "Find kubectl and helm"
    start_title = "Look at your cluster"
    images_title = "The images that you gave it"

    def __init__(self, report: Report, context: str) -> None:
        self._report = report
        self._context = context

    @property
    def lock_name(self) -> str:
        """One demo for each context."""
        safe = "".join(character if character.isalnum() else "-" for character in self._context)
        return f"demo-context-{safe}"

    def prepare(self) -> None:
        """kubectl and helm are the person's; the images must have been named."""
        for program in ("kubectl", "helm"):
            path = shutil.which(program)
            if path is None:
                raise StoryError(f"{program} is not on the PATH: with CONTEXT= the demo uses yours")
            self._report.say(path)
        images.from_environment()

    def start(self) -> Kube:
        """See that it answers and that nothing of somebody else's is in the way."""
        kube = self._kube()
        kube.show("get", "nodes")
        cleanup.refuse_foreign(kube)
        if cleanup.remove(kube, crds=False):
            self._report.say("removed what an earlier run had left in it")
        return kube

    def load_images(self) -> images.Images:
        """Nothing to load: the person has, as the names say."""
        named = images.from_environment()
        for reference in (named.admin, named.operator, named.gateway):
            self._report.say(f"{reference} ")
        return named

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
def hold(place: Place) -> Iterator[None]:
    """Keep a second demo of the same cluster out while this one runs."""
    lock = Lock(state_root() / "locks" / f"{place.lock_name}.lock")
    if not lock.try_acquire():
        raise StoryError("another `make demo` is at work on this cluster; wait for it, or give this one another --name")
    try:
        yield
    finally:
        lock.release()


def _build_images(log: Callable[[str], None]) -> None:
    """Build all three at once: most of a build is waiting for downloads."""
    from tests.cluster import images as cluster_images

    cluster_images.base_image(log)
    builds = [
        lambda: cluster_images.build(ROOT / "api" / "Dockerfile", ROOT, images.LOCAL.admin, log=log),
        lambda: cluster_images.build(ROOT / "operator" / "Dockerfile", ROOT, images.LOCAL.operator, log=log),
        lambda: cluster_images.gateway_image(log),
    ]
    with ThreadPoolExecutor(len(builds)) as pool:
        built = [future.result().tag for future in [pool.submit(build) for build in builds]]
    if built[-1] != images.LOCAL.gateway:
        raise ClusterError(f"the gateway's image is called {built[-1]}, not {images.LOCAL.gateway}")
