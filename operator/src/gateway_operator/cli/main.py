"""``kubectl gateway``: backups, schedules and restores of a Secure MCP Gateway.

Exit codes: 0 it worked; 1 it failed; 2 the command was wrong; 3 it was not finished in time, and goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from gateway_operator.cli.argument_types import (
    digest,
    duration,
    name,
    policy,
    positive,
    secret_key,
    secret_name,
    since,
    text,
)

_GATEWAY: Final = "the gateway's workload"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Gives the exit code."""
    arguments = parser().parse_args(argv)
    # Each command imports what it needs: help and mistakes are answered at once.
    from gateway_operator.cli.session import run

    module, _, function = arguments.act.partition(":")
    act = getattr(importlib.import_module(f"gateway_operator.cli.{module}"), function)
    try:
        return asyncio.run(run(act, arguments))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, say `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


class _Parser(argparse.ArgumentParser):
    """Without abbreviations: --tim must not become another option one day."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)


def parser() -> argparse.ArgumentParser:
    """Every command and option."""
    common = _Parser(add_help=False)
    where = common.add_argument_group("where")
    where.add_argument("-n", "--namespace", help="default: the context's, in a pod the pod's")
    where.add_argument("--context", help="a context of the kubeconfig")
    shape = _Parser(add_help=False)
    shape.add_argument("-o", "--output", choices=["json", "name"], help="instead of text for people")
    top = _Parser(prog="kubectl gateway", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    things = top.add_subparsers(metavar="THING", required=True)
    backup = _thing(things, "backup", "GatewayBackups")
    schedule = _thing(things, "schedule", "GatewayBackupSchedules")
    restore = _thing(things, "restore", "GatewayRestores")
    retention = _thing(things, "retention", "what is kept, and why")

    def command(
        group: argparse._SubParsersAction[_Parser], word: str, act: str, what: str, more: str = ""
    ) -> argparse.ArgumentParser:
        made = group.add_parser(
            word, parents=[common, shape], help=what, description=f"{what[0].upper()}{what[1:]}. {more}"
        )
        made.set_defaults(act=act)
        return made

    _backup_create(command(backup, "create", "backups:create", "make a backup"))
    listing = command(backup, "list", "backups:show", "list backups, the newest first")
    listing.add_argument("--group", type=name, help="only of this group")
    listing.add_argument("--gateway", type=name, help="only of this gateway")
    more = "`kubectl delete gatewaybackup` deletes the object and keeps the file; this deletes both."
    delete = command(backup, "delete", "backups:delete", "delete backups, files included", more)
    delete.add_argument("names", nargs="+", metavar="NAME", type=name)
    delete.add_argument("--yes", action="store_true", help="do not ask")
    delete.add_argument(
        "--timeout", type=positive, default=120, metavar="SECONDS", help="to wait for each; default 120"
    )
    adopt = command(backup, "adopt", "backups:adopt", "make a GatewayBackup of a file that lies on the volume already")
    adopt.add_argument("name", metavar="NAME", type=name)
    _gateway(adopt)
    adopt.add_argument("--path", required=True, type=text, help="the file, in the gateway's backup directory")
    adopt.add_argument("--group", type=name, help="default manual")
    _waiting(adopt)
    _care(adopt.add_argument_group("how it is kept and proven"))
    more = "It creates a GatewayBackupImport, which deletes nothing."
    found = command(backup, "import", "backups:bring_in", "make a GatewayBackup of every backup on a volume", more)
    found.add_argument("name", nargs="?", metavar="NAME", type=name, help="default: made of the gateway's and the time")
    _gateway(found)
    found.add_argument("--under", action="append", default=[], metavar="PATH", type=text, help=(
        "only files whose paths begin like this, such as nightly/ (repeatable)"
    ))  # fmt: skip
    found.add_argument("--dry-run", action="store_true", help="say what would be adopted, and create nothing")
    found.add_argument("--timeout-seconds", type=positive, help="of the import itself")
    _waiting(found)
    for word, act, what in (
        ("pin", "backups:pin", "keep backups whatever retention says"),
        ("unpin", "backups:unpin", "leave backups to retention again"),
    ):
        command(backup, word, act, what).add_argument("names", nargs="+", metavar="NAME", type=name)

    command(schedule, "list", "schedules:show", "list schedules")
    for word, act, what in (
        ("suspend", "schedules:suspend", "make no new backups"),
        ("resume", "schedules:resume", "make backups again"),
    ):
        command(schedule, word, act, what).add_argument("names", nargs="+", metavar="NAME", type=name)
    more = "It starts a Job from the schedule's CronJob."
    once = command(schedule, "run", "schedules:run", "make one of a schedule's backups now", more)
    once.add_argument("name", metavar="NAME", type=name)
    _waiting(once)

    more = "Nothing is changed; -o name gives what goes."
    explain = command(retention, "explain", "retention:show", "what stays, what goes, and why", more)
    explain.add_argument("schedule", nargs="?", metavar="SCHEDULE", type=name)
    explain.add_argument("--group", type=name, help="a group that has no schedule")
    explain.add_argument("--gateway", type=name, help="where several gateways have that group")
    explain.add_argument("--policy", action="append", default=[], type=policy, metavar="RULE=VALUE", help=(
        "what another policy would do: keepLast=7, … (repeatable)"
    ))  # fmt: skip

    _restore_create(command(restore, "create", "restores:create", "put a backup back"))
    command(restore, "list", "restores:show", "list restores, the newest first")
    return top


def _thing(things: argparse._SubParsersAction[_Parser], word: str, what: str) -> argparse._SubParsersAction[_Parser]:
    return things.add_parser(word, help=what, description=f"{what}.").add_subparsers(metavar="COMMAND", required=True)


def _gateway(made: argparse.ArgumentParser, *, required: bool = True) -> None:
    made.add_argument("--gateway", required=required, type=name, help=_GATEWAY)
    made.add_argument("--kind", choices=["Deployment", "StatefulSet"], default="Deployment", help="its kind")
    made.add_argument("--ordinal", type=int, default=0, help="which pod of a StatefulSet; default 0")


def _waiting(made: argparse.ArgumentParser) -> None:
    made.add_argument("--wait", action="store_true", help="until it is finished; exit 1 if it failed")
    made.add_argument("--timeout", type=positive, default=960, metavar="SECONDS", help="of --wait; default 960")


def _backup_create(made: argparse.ArgumentParser) -> None:
    made.add_argument("name", nargs="?", metavar="NAME", type=name, help="default: made of the gateway's and the time")
    _gateway(made, required=False)  # a schedule's pod has it in its template
    _waiting(made)
    spec = made.add_argument_group("what it is made with")
    spec.add_argument("--group", type=name, help="the set that retention sees as one; default manual")
    _care(spec)
    spec.add_argument("--max-shrink-percent", type=int, metavar="PERCENT", help=(
        "how much less than the one before is Suspicious; default 50"
    ))  # fmt: skip
    job = made.add_argument_group("in the pod of a Job")
    job.add_argument("--from-job", action="store_true", help=(
        "name the backup after the Job (JOB_NAME) and record its uid (JOB_UID), so that a retried pod finds it; "
        "GATEWAY_BACKUP_TEMPLATE may hold the GatewayBackup as JSON, instead of options"
    ))  # fmt: skip


def _care(spec: argparse._ArgumentGroup) -> None:
    spec.add_argument("--description", type=text, help="a note for people")
    spec.add_argument("--pin", action="store_true", help="keep it whatever retention says")
    spec.add_argument("--ttl", type=duration, help="delete it when it is this old, for instance 30d")
    spec.add_argument("--retention", action="append", default=[], type=policy, metavar="RULE=VALUE", help=(
        "its policy, for groups without a schedule: keepLast=7, failed.maxAge=30d, … (repeatable)"
    ))  # fmt: skip
    spec.add_argument("--verification", choices=["Stored", "Verified"], help=(
        "how far it must be proven; a file that is encrypted and was adopted can be no more than Stored"
    ))  # fmt: skip
    spec.add_argument("--timeout-seconds", type=positive, metavar="SECONDS", help="of the backup itself; default 600")
    spec.add_argument("--retry-limit", type=int, metavar="TIMES", help="default 5")
    spec.add_argument("--starting-deadline-seconds", type=positive, metavar="SECONDS", help=(
        "how long to wait for the gateway"
    ))  # fmt: skip


def _restore_create(made: argparse.ArgumentParser) -> None:
    made.add_argument("name", metavar="NAME", type=name, help="a restore runs once: another one takes another name")
    _gateway(made)
    _waiting(made)
    source = made.add_mutually_exclusive_group(required=True)
    source.add_argument("--backup", type=name, metavar="NAME", help="this GatewayBackup")
    source.add_argument("--latest", action="store_true", help="the newest Verified one")
    source.add_argument(
        "--before", type=since, metavar="TIME", help="the newest Verified one before 2026-01-31T12:00:00Z"
    )
    source.add_argument("--path", type=text, help="a file in the gateway's backup directory")
    made.add_argument("--group", type=name, help="with --latest: only of this group")
    file = made.add_argument_group("the file")
    file.add_argument("--expected-sha256", type=digest, metavar="DIGEST", help=(
        "refuse any other; the digest of the file or of the config in it"
    ))  # fmt: skip
    file.add_argument("--identity-secret", type=secret_name, metavar="NAME", help=(
        "the Secret with the age identity that opens an encrypted one; it has the label mcpgateway.dev/gateway"
    ))  # fmt: skip
    file.add_argument("--identity-key", type=secret_key, metavar="KEY", help="the key in that Secret; default identity")
    file.add_argument("--accept-unsigned", action="store_true", help=(
        "take it though no trusted key has signed it; with --expected-sha256, and where the gateway's chart allows it"
    ))  # fmt: skip
    spec = made.add_argument_group("how it is done")
    spec.add_argument("--safety-backup", choices=["Auto", "Required", "Skip"], help="of the live config; default Auto")
    spec.add_argument("--on-failure", choices=["Rollback", "Leave"], help="default Rollback")
    spec.add_argument("--restart", choices=["Auto", "Always", "Never"], help="the gateway's pods; default Auto")
    spec.add_argument("--health-timeout-seconds", type=positive, metavar="SECONDS", help=(
        "how long the gateway has to become healthy; default 180"
    ))  # fmt: skip
    spec.add_argument("--health-consecutive", type=positive, metavar="TIMES", help=(
        "healthy answers wanted in a row; default 3"
    ))  # fmt: skip
    spec.add_argument("--timeout-seconds", type=positive, metavar="SECONDS", help=(
        "of the restore itself until the config is replaced; default 600"
    ))  # fmt: skip
    spec.add_argument("--starting-deadline-seconds", type=positive, metavar="SECONDS", help=(
        "how long to wait for the gateway; default 300"
    ))  # fmt: skip
    spec.add_argument("--description", type=text, help="a note for people")


if __name__ == "__main__":
    sys.exit(main())
