"""pytest fixtures: clusters for a session or a module, a namespace for a test, and diagnostics of a failed test.

Enable them with `pytest_plugins = ["tests.cluster.fixtures"]` in the conftest.py at the top.
"""

import re
import secrets
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import suppress

import pytest

from tests.cluster import lifecycle, requirements
from tests.cluster.cluster import Cluster
from tests.cluster.output import to_stderr, wait_until
from tests.cluster.paths import HERE, ClusterError
from tests.cluster.slots import claim_name

_running: dict[str, Cluster] = {}


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Cluster]:
    """A control plane without a node: real objects, controllers and admission, but pods never run."""
    _skip_if(requirements.why_no_control_plane())
    yield from _running_cluster("control_plane", "test", node=False)


@pytest.fixture(scope="session")
def node_cluster() -> Iterator[Cluster]:
    """A cluster with one node: real pods, probes, volumes, services and DNS."""
    _skip_if(requirements.why_no_node())
    yield from _running_cluster("node_cluster", "test-node", node=True)


@pytest.fixture(scope="module")
def new_node_cluster() -> Iterator[Cluster]:
    """A second cluster with a node, which shares nothing with the first one. For a move, and for the quickstart.

    It ends with its module, because an idle cluster needs a tenth of a core.
    """
    _skip_if(requirements.why_no_node())
    yield from _running_cluster("new_node_cluster", "test-new", node=True)


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace for one test, in node_cluster if the test uses it, otherwise in control_plane."""
    kind = "node_cluster" if "node_cluster" in request.fixturenames else "control_plane"
    cluster: Cluster = request.getfixturevalue(kind)
    test = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40].rstrip("-")
    name = f"{test}-{secrets.token_hex(3)}"
    create_namespace(cluster, name)
    yield name
    with suppress(ClusterError):
        cluster.rest.delete("namespace", "", name)


def create_namespace(cluster: Cluster, name: str) -> None:
    """Create a namespace and wait for its default service account, which pods need."""
    if not cluster.rest.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, ""):
        cluster.kubectl("create", "namespace", name)

    def has_account() -> bool:
        with suppress(ClusterError):
            return bool(cluster.rest.items("serviceaccounts", name))
        return False

    # After a restart of the API server, the controllers may wait half a minute until they reconnect.
    wait_until(has_account, f"the service account of namespace {name}", timeout=120, pause=0.05)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the cluster's diagnostics to the report of a failed test, before the fixtures clean up."""
    report = yield
    if report.failed and report.when != "teardown":
        for kind in ("control_plane", "node_cluster", "new_node_cluster"):
            if kind in getattr(item, "fixturenames", ()) and kind in _running:
                namespace = getattr(item, "funcargs", {}).get("namespace")
                report.sections.append((f"cluster {_running[kind].name}", _running[kind].dump(namespace)))
    return report


def _running_cluster(kind: str, preferred_name: str, *, node: bool) -> Iterator[Cluster]:
    name, lock = claim_name(preferred_name)
    # The reaper stops the cluster if this process is killed.
    reaper = subprocess.Popen(
        [sys.executable, "-m", "tests.cluster", "reap", "--name", name],
        cwd=HERE.parent.parent,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _running[kind] = lifecycle.start(name, node, to_stderr)
        yield _running[kind]
    finally:
        if (cluster := _running.pop(kind, None)) is not None:
            cluster.rest.close()
        # A numbered name is used only by concurrent runs, so its images would rarely be used again.
        lifecycle.stop(name, lambda line: None, keep_images=name == preferred_name)
        reaper.kill()
        reaper.wait()
        lock.release()


def _skip_if(reason: str | None) -> None:
    """Skip the test if there is a reason. In CI, tests/conftest.py turns the skip into a failure."""
    if reason is not None:
        pytest.skip(reason)
