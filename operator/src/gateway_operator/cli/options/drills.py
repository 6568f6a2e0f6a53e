"""The options of ``kubectl gateway drill create``."""

from __future__ import annotations

import argparse

from gateway_operator.cli.argument_types import name, positive, secret_key, secret_name, text


def add_drill_options(command: argparse.ArgumentParser) -> None:
    """Add the options that only a drill has: its source, its identity and its time limits."""
    source = command.add_argument_group("backup to drill; default: the newest Verified one")
    source.add_argument("--schedule", type=name, metavar="NAME", help=(
        "the newest Verified backup of this schedule, instead of --gateway"
    ))  # fmt: skip
    source.add_argument("--backup", type=name, metavar="NAME", help="this GatewayBackup")
    source.add_argument("--group", type=name, help="the newest Verified backup of this group")
    source.add_argument("--identity-secret", type=secret_name, metavar="NAME", help=(
        "the Secret with the age identity for an encrypted backup; default: that of the schedule's drills"
    ))  # fmt: skip
    source.add_argument("--identity-key", type=secret_key, metavar="KEY", help=(
        "the key in that Secret; default identity"
    ))  # fmt: skip
    spec = command.add_argument_group("spec of the drill")
    spec.add_argument("--timeout-seconds", type=positive, metavar="SECONDS", help="timeout of the drill; default 600")
    spec.add_argument("--starting-deadline-seconds", type=positive, metavar="SECONDS", help=(
        "maximum time to wait for the gateway; default 300"
    ))  # fmt: skip
    spec.add_argument("--description", type=text, help="free text for users")
    job = command.add_argument_group("in the pod of a Job")
    job.add_argument("--from-job", action="store_true", help=(
        "name the drill after the Job (JOB_NAME, JOB_UID) and take it from GATEWAY_DRILL_TEMPLATE, so that a retried "
        "pod starts no second drill"
    ))  # fmt: skip
