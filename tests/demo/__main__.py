"""The command line `python -m tests.demo run|down`, which `make demo` and `make demo-down` call.

Exit status: 0 after success, 1 after a failed step, 2 if images are missing, 130 after an interrupt.
"""

import argparse
import os
import signal
import sys

from tests.cluster.paths import ClusterError
from tests.demo.clusters import DemoCluster, ExistingCluster, OwnCluster, hold
from tests.demo.gateway_api import GatewayApiError
from tests.demo.images import ROOT, MissingImagesError
from tests.demo.kube import DemoError
from tests.demo.scenario import Scenario
from tests.demo.terminal_report import Report

_EXPECTED = (DemoError, GatewayApiError, ClusterError)
_INTERRUPTED = 130


def main() -> int:
    """Run one command and return its exit status."""
    arguments = _parser().parse_args()
    # The printed commands name the charts relative to the root of the repository.
    os.chdir(ROOT)
    report = Report()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cluster: DemoCluster = (
        ExistingCluster(report, arguments.context) if arguments.context else OwnCluster(report, arguments.name)
    )
    try:
        with hold(cluster):
            return _run(report, cluster, arguments.down) if arguments.command == "run" else _down(cluster)
    except MissingImagesError as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    except _EXPECTED as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted: the next run removes what this run left behind", file=sys.stderr)
        return _INTERRUPTED


def _run(report: Report, cluster: DemoCluster, down: bool) -> int:
    report.plain("This demo backs up, damages and restores a real Secure MCP Gateway on a real Kubernetes cluster.")
    scenario = Scenario(report, cluster)
    try:
        scenario.run()
    except MissingImagesError:
        raise
    except Exception as error:
        report.plain(f"\n{scenario.diagnostics()}" if scenario.has_cluster else "")
        if not isinstance(error, _EXPECTED):
            raise
        report.plain(f"FAILED: {error}")
        if scenario.has_cluster and not down:
            report.plain(f"The cluster is kept for inspection. To remove the demo: {cluster.down_command()}")
        return 1
    finally:
        scenario.close()
        if down:
            report.plain()
            cluster.down()
    report.summary()
    return 0


def _down(cluster: DemoCluster) -> int:
    cluster.down()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    for name, text in (("run", "run the demo"), ("down", "remove the demo")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--name", default="demo", help="name of the demo's own cluster (default: %(default)s)")
        command.add_argument("--context", help="use the existing cluster of this kubeconfig context")
        command.add_argument("--down", action="store_true", help="remove everything afterwards, also after a failure")
    return parser


if __name__ == "__main__":
    sys.exit(main())
