"""``gateway-operator``: runs the operator, and the two jobs that the charts' hooks start."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from typing import TypeAlias

from gateway_operator import missing_package_message

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code; 2 if the packages of the extra `operator` are not installed."""
    arguments = parser().parse_args(argv)
    try:
        return _run(arguments)
    except ModuleNotFoundError as error:
        sys.stderr.write(f"{missing_package_message(error, 'operator')}\n")
        return 2


def _run(arguments: argparse.Namespace) -> int:
    """Run one command. Each imports only its own modules, to keep memory and startup time low."""
    if arguments.command == "make-secrets":
        from gateway_operator.jobs.make_secrets import run as make_secrets

        return asyncio.run(make_secrets(arguments))
    if arguments.command == "release-finalizers":
        from gateway_operator.jobs.release_finalizers import run as release_finalizers

        return asyncio.run(release_finalizers(arguments))
    from gateway_operator.kopf_runner import run
    from gateway_operator.settings import from_command_line

    return run(from_command_line(arguments, os.environ))


def lease_seconds(text: str) -> int:
    """A Lease has whole seconds. Below 3 the attempts to renew would end before a busy API server answers."""
    seconds = int(text)
    if seconds < 3:
        raise argparse.ArgumentTypeError("at least 3 seconds")
    return seconds


def parser() -> argparse.ArgumentParser:
    """The parser of all commands. ``command`` is the name of the selected one."""
    top = argparse.ArgumentParser(prog="gateway-operator", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    _add_run(commands)
    _add_make_secrets(commands)
    _add_release_finalizers(commands)
    return top


def _add_run(commands: _Commands) -> None:
    run = commands.add_parser(
        "run", help="reconcile GatewayBackups, GatewayBackupSchedules, GatewayBackupImports and GatewayRestores"
    )
    run.add_argument("--namespace", action="append", default=[], help="watch only this namespace (repeatable)")
    run.add_argument(
        "--liveness",
        default=":8080",
        help="HOST:PORT of /healthz; without HOST on IPv4 and IPv6; empty for no probe; default :8080",
    )
    run.add_argument(
        "--metrics",
        default=":8081",
        help="HOST:PORT of /metrics; without HOST on IPv4 and IPv6; empty for no metrics; default :8081",
    )
    run.add_argument("--leader-elect", action="store_true", help="act only while this process holds the Lease")
    run.add_argument(
        "--lease-name",
        default="gateway-backup-operator",
        help="name of the Lease, in the namespace of the pod; default gateway-backup-operator",
    )
    run.add_argument(
        "--lease-seconds", type=lease_seconds, default=15,
        help="seconds until another process takes over from one that has ended, at least 3; default 15",
    )  # fmt: skip
    run.add_argument("--pass-seconds", type=float, default=30.0, help="seconds between retention passes; default 30")
    run.add_argument("--log-format", choices=["json", "plain"], default="json", help="default json")
    run.add_argument("--verbose", action="store_true", help="log at debug level")


def _add_make_secrets(commands: _Commands) -> None:
    secrets = commands.add_parser(
        "make-secrets", help="create the missing Secrets of a gateway and renew its certificate; other keys stay"
    )
    secrets.add_argument("--namespace", required=True, help="the namespace of the gateway and of the Secrets")
    secrets.add_argument("--workload", required=True, help="name of the gateway's workload and of its Service")
    secrets.add_argument("--admin-secret", help="name of the Secret for admin-key (and ca.crt)")
    secrets.add_argument("--tls-secret", help="name of the Secret for tls.crt, tls.key and ca.crt")
    secrets.add_argument(
        "--signing-secret", help="name of the Secret for signing-key.pem and of the ConfigMap for its public key"
    )
    secrets.add_argument(
        "--label", action="append", default=[], metavar="KEY=VALUE", help="label of created objects (repeatable)"
    )
    secrets.add_argument(
        "--renewal-pause-seconds", type=float, default=120.0,
        help="pause between the new CA and the new certificate, until every client has read the CA; default 120",
    )  # fmt: skip


def _add_release_finalizers(commands: _Commands) -> None:
    release = commands.add_parser(
        "release-finalizers", help="remove the operator's finalizers before an uninstall; nothing is deleted"
    )
    release.add_argument("--deployment", help="the operator's Deployment, which is scaled to zero first")
    release.add_argument("--namespace", help="the namespace of that Deployment")


if __name__ == "__main__":
    sys.exit(main())
