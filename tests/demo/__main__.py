"""The command line: `python -m tests.demo run|down`, which is what `make demo` and `make demo-down` call."""

import argparse
import os
import signal
import sys

from tests.cluster.paths import ClusterError
from tests.demo.clusters import ExistingCluster, OwnCluster, DemoCluster, hold
from tests.demo.gateway_api import GatewayApiError
from tests.demo.images import ROOT, MissingImagesError
from tests.demo.kube import DemoError
from tests.demo.scenario import Scenario
from tests.demo.terminal_report import Report

_EXPECTED = (DemoError, GatewayApiError, ClusterError)
_INTERRUPTED = 130


def main() -> int:
    """Run one command; the exit status is 0 when every step kept its promise."""
    arguments = _parser().parse_args()
    # The charts are named as a person at the top of the repository would.
    os.chdir(ROOT)
    report = Report()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    place: DemoCluster = ExistingCluster(report, arguments.context) if arguments.context else OwnCluster(report, arguments.name)
    try:
        with hold(place):
            return _run(report, place, arguments.down) if arguments.command == "run" else _down(place)
    except MissingImagesError as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    except _EXPECTED as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted: the next run clears away what this one left", file=sys.stderr)
        return _INTERRUPTED


def _run(report: Report, place: DemoCluster, down: bool) -> int:
    report.plain("A real Secure MCP Gateway is backed up, broken and restored on a real Kubernetes.")
    story = Scenario(report, place)
    try:
        story.run()
    except MissingImagesError:
        raise
    except Exception as error:
        report.plain(f"\n{story.diagnostics()}" if story.has_cluster else "")
        if not isinstance(error, _EXPECTED):
            raise
        report.plain(f"FAILED: {error}")
        if story.has_cluster and not down:
            report.plain(f"The cluster is left as it is, for a look; `{place.down_command()}` takes it down.")
        return 1
    finally:
        story.close()
        if down:
            report.plain()
            place.down()
    report.summary()
    return 0


def _down(place: DemoCluster) -> int:
    place.down()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    for name, text in (("run", "tell the story"), ("down", "take down what it made")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--name", default="demo", help="of the demo's own cluster (default: %(default)s)")
        command.add_argument("--context", help="a context of your kubeconfig: use that cluster instead of an own one")
        command.add_argument("--down", action="store_true", help="take everything down afterwards, also on failure")
    return parser


if __name__ == "__main__":
    sys.exit(main())
