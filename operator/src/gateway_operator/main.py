"""``gateway-operator``: the operator itself, and the two jobs that its charts' hooks run."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Each command imports only what it needs: memory and start-up time are felt in a pod."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "make-secrets":
        from gateway_operator.jobs.make_secrets import run as make_secrets

        return asyncio.run(make_secrets(arguments))
    if arguments.command == "release-finalizers":
        from gateway_operator.jobs.release_finalizers import run as release_finalizers

        return asyncio.run(release_finalizers(arguments))
    from gateway_operator.kopf_runner import run
    from gateway_operator.settings import from_command_line

    return run(from_command_line(arguments, os.environ))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gateway-operator", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="reconcile GatewayBackups, their schedules, and GatewayRestores")
    run.add_argument("--namespace", action="append", default=[], help="watch only this one (repeatable)")
    run.add_argument("--liveness", default=":8080", help="HOST:PORT of /healthz; empty for none")
    run.add_argument("--sweep-seconds", type=float, default=30.0, help="between two passes of retention; default 30")
    run.add_argument("--log-format", choices=["json", "plain"], help="default json")
    run.add_argument("--verbose", action="store_true", help="say more")
    secrets = commands.add_parser("make-secrets", help="make the Secrets of a gateway that are missing")
    secrets.add_argument("--namespace", required=True)
    secrets.add_argument("--workload", required=True, help="the gateway's name, and that of its Service")
    secrets.add_argument("--admin-secret", help="gets admin-key (and ca.crt)")
    secrets.add_argument("--tls-secret", help="gets tls.crt, tls.key and ca.crt")
    secrets.add_argument("--signing-secret", help="gets signing-key.pem; a ConfigMap of that name its public half")
    secrets.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="on a Secret that is made")
    release = commands.add_parser("release-finalizers", help="before an uninstall: let every object go without us")
    release.add_argument("--deployment", help="the operator's own, which is stopped first")
    release.add_argument("--namespace", help="the namespace of that Deployment")
    return parser


if __name__ == "__main__":
    sys.exit(main())
