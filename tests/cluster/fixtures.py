"""The pytest side: clusters for a session, a namespace for a test, and what to read when a test has failed.

Enable it with `pytest_plugins = ["tests.cluster.fixtures"]` in the conftest.py at the top.
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
    """A control plane without a node: objects, controllers and admission are real, pods never run."""
    _skip_if(requirements.why_no_control_plane())
    yield from _session_cluster("control_plane", "test", node=False)


@pytest.fixture(scope="session")
def node_cluster() -> Iterator[Cluster]:
    """A whole cluster with one node: pods, probes, volumes, services and DNS are real."""
    _skip_if(requirements.why_no_node())
    yield from _session_cluster("node_cluster", "test-node", node=True)


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace for one test, in the node's cluster when the test uses that and else in the control plane."""
    kind = "node_cluster" if "node_cluster" in request.fixturenames else "control_plane"
    cluster: Cluster = request.getfixturevalue(kind)
    test = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40].rstrip("-")
    name = f"{test}-{secrets.token_hex(3)}"
    create_namespace(cluster, name)
    yield name
    with suppress(ClusterError):
        cluster.rest.delete("namespace", "", name)


def create_namespace(cluster: Cluster, name: str) -> None:
    """Make a namespace in which pods can be created, as pods need its default service account."""
    if not cluster.rest.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, ""):
        cluster.kubectl("create", "namespace", name)

    def has_account() -> bool:
        with suppress(ClusterError):
            return bool(cluster.rest.items("serviceaccounts", name))
        return False

    # After an API server was away, the controllers may wait half a minute before they ask again, and then do so slowly.
    wait_until(has_account, f"the service account of namespace {name}", timeout=120, pause=0.05)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the state of the cluster to the report of a test that failed on it, before it is cleaned away."""
    report = yield
    if report.failed and report.when != "teardown":
        for kind in ("control_plane", "node_cluster"):
            if kind in getattr(item, "fixturenames", ()) and kind in _running:
                namespace = getattr(item, "funcargs", {}).get("namespace")
                report.sections.append((f"cluster {_running[kind].name}", _running[kind].dump(namespace)))
    return report


def _session_cluster(kind: str, wanted_name: str, *, node: bool) -> Iterator[Cluster]:
    name, lock = claim_name(wanted_name)
    # When this process is killed, nobody else would stop the cluster.
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
        # A name that only a second run beside the first gets is no place to keep images.
        lifecycle.stop(name, lambda line: None, keep_images=name == wanted_name)
        reaper.kill()
        reaper.wait()
        lock.release()


def _skip_if(reason: str | None) -> None:
    """Skip for a reason. Where everything must run, tests/conftest.py makes a failure of it."""
    if reason is not None:
        pytest.skip(reason)
