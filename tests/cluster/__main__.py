"""The command line: `python -m tests.cluster up|down|status|build|kubeconfig|doctor`."""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.cluster import binaries, lifecycle, requirements
from tests.cluster.locks import Lock
from tests.cluster.output import to_stderr
from tests.cluster.paths import ClusterError, ClusterPaths
from tests.cluster.slots import all_states, name_lock_path


def main() -> int:
    """Run one command; a ClusterError is printed without a traceback."""
    arguments = _parser().parse_args()
    try:
        return int(arguments.command(arguments) or 0)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    commands = parser.add_subparsers(required=True)

    up = commands.add_parser("up", help="start a cluster, or use the running one")
    up.add_argument("--name", default="demo")
    up.add_argument("--control-plane-only", action="store_true", help="without a node: needs no root and runs no pods")
    up.add_argument("--fresh", action="store_true", help="restart the cluster even if it is running")
    up.set_defaults(command=_up)

    down = commands.add_parser("down", help="stop a cluster and delete its data")
    down.add_argument("--name", default="demo")
    down.add_argument("--forget-images", action="store_true", help="also delete the images of its node")
    down.set_defaults(command=_down)

    kubeconfig = commands.add_parser("kubeconfig", help="print the path of a cluster's kubeconfig")
    kubeconfig.add_argument("--name", default="demo")
    kubeconfig.set_defaults(command=lambda arguments: print(lifecycle.attach(arguments.name).kubeconfig))

    commands.add_parser("status", help="list the clusters").set_defaults(command=_status)
    commands.add_parser("build", help="build the programs and the gateway's image now").set_defaults(command=_build)
    commands.add_parser("doctor", help="show which clusters this machine can run").set_defaults(command=_doctor)

    # Only for the tests, which start it as a process: see fixtures.py.
    reap = commands.add_parser("reap")
    reap.add_argument("--name", required=True)
    reap.set_defaults(command=_reap)
    return parser


def _up(arguments: argparse.Namespace) -> None:
    node = not arguments.control_plane_only
    cluster = lifecycle.start(arguments.name, node, reuse=not arguments.fresh)
    print(f"export KUBECONFIG={cluster.kubeconfig} PATH={cluster.environment['PATH'].split(':')[0]}:$PATH")


def _down(arguments: argparse.Namespace) -> None:
    lifecycle.stop(arguments.name, keep_images=not arguments.forget_images)


def _status(arguments: argparse.Namespace) -> None:
    for state in all_states():
        cluster = lifecycle.attach(state.name)
        kind = "node" if state.node else "control plane"
        health = "healthy" if cluster.is_healthy() else "not healthy"
        print(f"{state.name:20} {kind:14} {state.server:28} {health}")


def _build(arguments: argparse.Namespace) -> None:
    node = requirements.why_no_node()
    if node is None:
        from tests.cluster import images, packages

        packages.install_missing(to_stderr)
        # Compilation uses the CPU and an image build waits for downloads, so both run at the same time.
        with ThreadPoolExecutor(1) as pool:
            gateway = pool.submit(images.gateway_image, to_stderr)
            binaries.ensure(binaries.NODE_PROGRAMS)
            gateway.result()
        return
    to_stderr(f"control plane only: {node}")
    if reason := requirements.why_no_control_plane():
        raise ClusterError(reason)
    binaries.ensure(binaries.CONTROL_PLANE_PROGRAMS)


def _doctor(arguments: argparse.Namespace) -> None:
    print(f"control plane: {requirements.why_no_control_plane() or 'yes'}")
    print(f"node:          {requirements.why_no_node() or 'yes'}")
    if missing := requirements.missing_packages():
        print(f"packages that `up` will install: {' '.join(missing)}")
    found = binaries.find(binaries.NODE_PROGRAMS)
    for name in binaries.NODE_PROGRAMS:
        print(f"  {name:24} {found.get(name, 'will be built')}")


def _reap(arguments: argparse.Namespace) -> None:
    """Wait until the process that owns a cluster has ended in any way, then stop the cluster if it still runs."""
    lock = Lock(name_lock_path(arguments.name))
    lock.acquire()
    if ClusterPaths.of(arguments.name).state.exists():
        lifecycle.stop(arguments.name, log=lambda line: None)


if __name__ == "__main__":
    sys.exit(main())
