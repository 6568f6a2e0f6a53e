"""The parser of all commands of ``kubectl gateway``."""

from __future__ import annotations

import argparse
from typing import Any, Final, TypeAlias

from gateway_operator.cli.argument_types import duration, name, policy, positive, text
from gateway_operator.cli.options.common import add_create_options, add_gateway_options, add_wait_options
from gateway_operator.cli.options.drills import add_drill_options
from gateway_operator.cli.options.restores import add_restore_create, add_restore_diff

_DESCRIPTION: Final = """\
Manages backups, schedules and restores of Secure MCP Gateways.

Exit codes: 0 success; 1 failure; 2 invalid command line; 3 timeout, and the operation continues in the cluster.
"""
_CONNECTION_FLAGS: Final = (
    ("--kubeconfig", "path of the kubeconfig; default: the files in KUBECONFIG, or ~/.kube/config"),
    ("--context", "the kubeconfig context to use"),
    ("--cluster", "the kubeconfig cluster to use"),
    ("--user", "the kubeconfig user to use"),
    ("--as", "the user to impersonate"),
    ("--as-group", "a group to impersonate (repeatable)"),
    ("--as-uid", "the uid to impersonate"),
)
_EXAMPLES: Final = """\
examples:
  kubectl gateway status my-gateway
  kubectl gateway backup create before-change --gateway my-gateway --wait
  kubectl gateway restore diff --gateway my-gateway --latest
  kubectl gateway restore create undo-change --gateway my-gateway --backup before-change --wait
  kubectl gateway retention explain nightly --policy keepDaily=7

Options that select cluster and user, such as --context and -n, come after the command.
"""
_GENERATED_NAME: Final = "default: generated from the gateway's name and the time"


class _Parser(argparse.ArgumentParser):
    """A parser without abbreviated options: a new option must not change the meaning of an abbreviation in a script."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)


_Group: TypeAlias = "argparse._SubParsersAction[_Parser]"
"""The commands of one resource."""


class _Version(argparse.Action):
    """Prints the version of the package. It is read only here, because the pods of schedules must start fast."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        parser.exit(0, f"{version('gateway-backup-operator')}\n")


class _Commands:
    """Adds commands, each with the options that all of them have."""

    def __init__(self) -> None:
        self.common = _Parser(add_help=False)
        self._output = _Parser(add_help=False)
        formats = ["json", "yaml", "name"]
        self._output.add_argument("-o", "--output", choices=formats, help="output format; default: text")
        cluster = self.common.add_argument_group("cluster")
        cluster.add_argument("-n", "--namespace", help="default: the namespace of the context, or of the pod")
        for flag, summary in _CONNECTION_FLAGS:
            # kubectl itself interprets these flags, so the command has the same cluster, user and proxy as kubectl.
            cluster.add_argument(
                flag, dest="connection", action="append", default=[], type=f"{flag}={{}}".format,
                metavar=flag.removeprefix("--").upper(), help=summary,
            )  # fmt: skip

    def add(
        self, group: _Group, word: str, act: str, summary: str, details: str = "", *, prints_object: bool = True
    ) -> argparse.ArgumentParser:
        """Add a command to a group. ``act``: MODULE:FUNCTION. ``prints_object``: it has the usual option --output."""
        parser = group.add_parser(
            word,
            parents=[self.common, self._output] if prints_object else [self.common],
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}. {details}",
        )
        parser.set_defaults(act=act)
        return parser


def parser() -> argparse.ArgumentParser:
    """The parser of all commands. ``act`` is set to MODULE:FUNCTION of the selected command."""
    top = _Parser(
        prog="kubectl gateway",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action=_Version, nargs=0, help="print the version of this program")
    resources = top.add_subparsers(metavar="COMMAND", required=True)
    commands = _Commands()
    _add_status(commands, resources)
    _add_backup_commands(commands, _resource(resources, "backup", "manage GatewayBackups"))
    _add_schedule_commands(commands, _resource(resources, "schedule", "manage GatewayBackupSchedules"))
    _add_restore_commands(commands, _resource(resources, "restore", "manage GatewayRestores"))
    _add_drill_commands(commands, _resource(resources, "drill", "restore backups in a temporary pod, as a test"))
    summary = "show what retention keeps, and approve deletions"
    _add_retention_commands(commands, _resource(resources, "retention", summary))
    return top


def _resource(resources: _Group, word: str, summary: str) -> _Group:
    resource = resources.add_parser(word, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    return resource.add_subparsers(metavar="COMMAND", required=True)


def _add_status(commands: _Commands, resources: _Group) -> None:
    details = "Without GATEWAY: all gateways in one table. It reads the objects in the cluster, and calls no gateway."
    summary = "show the newest backups, the schedules and all problems of a gateway"
    status = commands.add(resources, "status", "status.command:show", summary, details, prints_object=False)
    status.add_argument("gateway", nargs="?", metavar="GATEWAY", type=name, help="name of the gateway's workload")
    status.add_argument("-A", "--all-namespaces", action="store_true", help="the gateways of all namespaces")
    status.add_argument("-o", "--output", choices=["json", "yaml"], help="output format; default: text")


def _add_backup_commands(commands: _Commands, backup: _Group) -> None:
    _add_backup_create(commands.add(backup, "create", "backups:create", "create a backup"))
    listing = commands.add(backup, "list", "backups:show", "list backups, newest first")
    listing.add_argument("--group", type=name, help="only backups of this group")
    listing.add_argument("--gateway", type=name, help="only backups of this gateway")
    details = "`kubectl delete gatewaybackup` deletes the object and keeps the file; this command deletes both."
    delete = commands.add(backup, "delete", "backups:delete", "delete backups and their files", details)
    delete.add_argument("names", nargs="+", metavar="NAME", type=name)
    delete.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    delete.add_argument(
        "--timeout", type=positive, default=120, metavar="SECONDS", help="time to wait for each backup; default 120"
    )
    adopt = commands.add(
        backup, "adopt", "backups:adopt", "create a GatewayBackup for a file that is already on the volume"
    )
    adopt.add_argument("name", metavar="NAME", type=name)
    add_gateway_options(adopt)
    adopt.add_argument("--path", required=True, type=text, help="path of the file in the gateway's backup directory")
    adopt.add_argument("--group", type=name, help="group of the backup, the unit of retention; default manual")
    add_create_options(adopt)
    _add_spec_options(adopt.add_argument_group("retention and verification"))
    details = "The command creates a GatewayBackupImport, which deletes nothing."
    import_ = commands.add(
        backup, "import", "backups:import_", "create a GatewayBackup for every backup file without one", details
    )
    import_.add_argument("name", nargs="?", metavar="NAME", type=name, help=_GENERATED_NAME)
    add_gateway_options(import_)
    import_.add_argument("--under", action="append", default=[], metavar="PATH", type=text, help=(
        "only files whose path begins with PATH, for example nightly/ (repeatable)"
    ))  # fmt: skip
    import_.add_argument("--dry-run", action="store_true", help="report the files to adopt, and create nothing")
    import_.add_argument("--timeout-seconds", type=positive, metavar="SECONDS", help="timeout of the import")
    add_create_options(import_)
    for word, act, summary in (
        ("pin", "backups:pin", "protect backups from retention"),
        ("unpin", "backups:unpin", "let retention delete backups again"),
        ("accept", "backups:accept", "acknowledge that Suspicious backups are correct"),
    ):
        commands.add(backup, word, act, summary).add_argument("names", nargs="+", metavar="NAME", type=name)


def _add_schedule_commands(commands: _Commands, schedule: _Group) -> None:
    commands.add(schedule, "list", "schedules:show", "list schedules")
    for word, act, summary in (
        ("suspend", "schedules:suspend", "suspend schedules, so that they make no new backups"),
        ("resume", "schedules:resume", "resume suspended schedules"),
    ):
        commands.add(schedule, word, act, summary).add_argument("names", nargs="+", metavar="NAME", type=name)
    details = "The command creates a Job from the schedule's CronJob."
    run_now = commands.add(schedule, "run", "schedules:run", "make a backup of a schedule now", details)
    run_now.add_argument("name", metavar="NAME", type=name)
    add_wait_options(run_now)


def _add_retention_commands(commands: _Commands, retention: _Group) -> None:
    details = "Nothing is changed. With -o name, the names of the backups to delete are printed."
    explain = commands.add(
        retention, "explain", "retention:show", "show which backups retention keeps or deletes, and why", details
    )
    explain.add_argument("schedule", nargs="?", metavar="SCHEDULE", type=name)
    explain.add_argument("--group", type=name, help="a group without a schedule, instead of SCHEDULE")
    explain.add_argument("--gateway", type=name, help="required if several gateways have backups of the group")
    explain.add_argument("--policy", action="append", default=[], type=policy, metavar="RULE=VALUE", help=(
        "explain this policy instead of the one in force, for example keepLast=7 (repeatable)"
    ))  # fmt: skip
    details = (
        "It names the context and namespace, shows the plan, and asks. It needs permission to delete GatewayBackups."
    )
    approve = commands.add(
        retention, "approve", "retention:approve", "approve deletions that a safety check has stopped", details
    )
    approve.add_argument("schedule", metavar="SCHEDULE", type=name)
    approve.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def _add_drill_commands(commands: _Commands, drill: _Group) -> None:
    details = "A drill changes nothing at the gateway. It needs the permission that the chart's restore.drills grants."
    drill_create = commands.add(drill, "create", "drills:create", "restore a backup in a temporary pod", details)
    drill_create.add_argument("name", nargs="?", metavar="NAME", type=name, help=_GENERATED_NAME)
    add_gateway_options(drill_create, required=False)
    add_create_options(drill_create)
    add_drill_options(drill_create)
    commands.add(drill, "list", "drills:show", "list drills, newest first")


def _add_restore_commands(commands: _Commands, restore: _Group) -> None:
    add_restore_create(commands.add(restore, "create", "restores:create", "restore a backup"))
    commands.add(restore, "list", "restores:show", "list restores, newest first")
    details = (
        "It creates a GatewayRestore with mode DryRun, waits for it, prints the difference and deletes it. "
        "Exit code 0: the restore would be accepted; 1: it would be refused."
    )
    diff = commands.add(
        restore, "diff", "restore_diff:diff", "show what a restore would change", details, prints_object=False
    )
    add_restore_diff(diff)
    details = "For a restore that is neither committed nor rolled back. It names the context and namespace, and asks."
    for word, summary in (
        ("commit", "keep the live config, and end a restore"),
        ("rollback", "put the previous config back, and end a restore"),
    ):
        ending = commands.add(restore, word, f"restore_end:{word}", summary, details)
        ending.add_argument("name", metavar="NAME", type=name)
        ending.add_argument("--yes", action="store_true", help="do not ask for confirmation")
        add_wait_options(ending)
    details = "The restore must wait for an approval, and someone else must have requested it. docs/approvals.md"
    second = commands.add(
        restore, "approve", "restore_approval:approve", "approve a restore as the second person", details
    )
    second.add_argument("name", metavar="NAME", type=name)
    second.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def _add_backup_create(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", nargs="?", metavar="NAME", type=name, help=_GENERATED_NAME)
    add_gateway_options(command, required=False)  # the pods of a schedule have the gateway in their template
    add_create_options(command)
    spec = command.add_argument_group("spec of the backup")
    spec.add_argument("--group", type=name, help="group of the backup, the unit of retention; default manual")
    _add_spec_options(spec)
    # Not for `adopt`: the API server refuses a ttl when a file is adopted.
    spec.add_argument("--ttl", type=duration, help="delete the backup at this age, for example 30d")
    spec.add_argument("--max-shrink-percent", type=int, metavar="PERCENT", help=(
        "report the backup as Suspicious if it is smaller than the previous one by more than this; default 50"
    ))  # fmt: skip
    job = command.add_argument_group("in the pod of a Job")
    job.add_argument("--from-job", action="store_true", help=(
        "name the backup after the Job (JOB_NAME, JOB_UID) and record both in spec.job, so that a retried pod makes no "
        "second backup; GATEWAY_BACKUP_TEMPLATE may contain the GatewayBackup as JSON instead of options"
    ))  # fmt: skip


def _add_spec_options(spec: argparse._ArgumentGroup) -> None:
    spec.add_argument("--description", type=text, help="free text for users")
    spec.add_argument("--pin", action="store_true", help="protect the backup from retention")
    spec.add_argument("--verification", choices=["Stored", "Verified"], help=(
        "required verification level; an adopted encrypted file can only reach Stored"
    ))  # fmt: skip
    spec.add_argument("--timeout-seconds", type=positive, metavar="SECONDS", help=(
        "timeout of the backup; default 600"
    ))  # fmt: skip
    spec.add_argument("--retry-limit", type=int, metavar="COUNT", help="maximum number of retries; default 5")
    spec.add_argument("--starting-deadline-seconds", type=positive, metavar="SECONDS", help=(
        "maximum time to wait for the gateway"
    ))  # fmt: skip
