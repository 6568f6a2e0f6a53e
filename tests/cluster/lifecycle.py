"""Starts, finds and stops clusters by name. One lock per name serializes starts and stops."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster import binaries
from tests.cluster.cluster import Cluster, programs_of
from tests.cluster.control_plane import ControlPlane, new_tokens
from tests.cluster.locks import locked
from tests.cluster.output import Log, timed, to_stderr, wait_until
from tests.cluster.paths import ClusterError, ClusterPaths, state_root
from tests.cluster.processes import Processes
from tests.cluster.requirements import why_no_control_plane, why_no_node
from tests.cluster.slots import State, allocate


def start(name: str, node: bool = True, log: Log = to_stderr, *, reuse: bool = False) -> Cluster:
    """Start a cluster after removing the rest of an earlier one with the same name.

    With `reuse`, a healthy cluster with this name is used as it is. The cluster outlives this process.
    """
    if reason := why_no_node() if node else why_no_control_plane():
        raise ClusterError(reason)
    with _changing(name):
        if reuse and (running := _healthy(name, node)) is not None:
            log(f"the cluster {name} is running already")
            return running
        if node:
            from tests.cluster.packages import install_missing

            install_missing(log)
        programs = binaries.ensure(binaries.NODE_PROGRAMS if node else binaries.CONTROL_PLANE_PROGRAMS, log)
        _tear_down(name)
        state = allocate(name, node, new_tokens())
        cluster = Cluster(state, programs)
        try:
            with timed(log, f"the cluster {name} is up at {state.server}"):
                _bring_up(cluster, log)
                _wait_for_controllers(cluster)
        except BaseException:
            # The logs are kept for the analysis of the failure.
            _tear_down(name, keep_files=True)
            raise
        return cluster


def attach(name: str) -> Cluster:
    """The handle of a running cluster; ClusterError if there is none with this name."""
    state = State.load(ClusterPaths.of(name))
    if state is None:
        raise ClusterError(f"there is no cluster {name}; `python -m tests.cluster up --name {name}` starts it")
    return Cluster(state, programs_of(state.node))


def stop(name: str, log: Log = to_stderr, *, keep_images: bool = True) -> None:
    """Stop a cluster and delete its data. The images of its node are kept by default, for a faster next start."""
    with _changing(name), timed(log, f"the cluster {name} is down"):
        _tear_down(name)
        if not keep_images:
            shutil.rmtree(ClusterPaths.of(name).root, ignore_errors=True)


def _healthy(name: str, node: bool) -> Cluster | None:
    state = State.load(ClusterPaths.of(name))
    if state is None or state.node != node:
        return None
    cluster = Cluster(state, programs_of(node))
    return cluster if cluster.is_healthy() else None


def _bring_up(cluster: Cluster, log: Log) -> None:
    state = cluster.state
    if not state.node:
        control_plane = ControlPlane(state, cluster.programs)
        control_plane.write_credentials()
        control_plane.start()
        return
    from tests.cluster.node import Node

    node = Node(state, cluster.programs)
    node.make_network()
    control_plane = ControlPlane(state, cluster.programs, node.entering)
    control_plane.write_credentials()
    node.start_runtime()
    with timed(log, "  control plane ready"):
        control_plane.start()
    with timed(log, "  node ready"):
        node.start(cluster)


def _wait_for_controllers(cluster: Cluster) -> None:
    """Wait until the controllers have created the default service account, which pods need."""

    def has_account() -> bool:
        return bool(cluster.kubectl("get", "serviceaccount", "default", "--ignore-not-found", "-o", "name"))

    wait_until(has_account, f"the controllers of {cluster.name} to work", timeout=60)


def _tear_down(name: str, *, keep_files: bool = False) -> None:
    paths = ClusterPaths.of(name)
    if not paths.root.exists():
        return
    state = State.load(paths)
    if state is None or state.node:
        from tests.cluster.teardown import tear_down_node

        tear_down_node(name)
    processes = Processes(paths)
    processes.stop_all(processes.names(), patience=2)
    processes.kill_strays()
    if keep_files:
        return
    for path in (paths.state, paths.kubeconfig):
        path.unlink(missing_ok=True)
    for folder in (paths.etcd, paths.pki, paths.logs, paths.pids):
        shutil.rmtree(folder, ignore_errors=True)
    if not any(paths.root.iterdir()):
        paths.root.rmdir()


@contextmanager
def _changing(name: str) -> Iterator[None]:
    """Hold the lock that serializes starts and stops of one cluster name."""
    with locked(state_root() / "locks" / f"{name}.change"):
        yield
