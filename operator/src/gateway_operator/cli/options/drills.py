"""The options of ``kubectl gateway drill create``."""

from __future__ import annotations

import argparse

from gateway_operator.cli.argument_types import name, positive
from gateway_operator.cli.options.common import add_identity_options, add_start_options


def add_drill_options(command: argparse.ArgumentParser) -> None:
    """Add the options that only a drill has: its source, its identity and its time limits."""
    source = command.add_argument_group("backup to drill; default: the newest Verified one")
    source.add_argument("--schedule", type=name, metavar="NAME", help=(
        "the newest Verified backup of this schedule, instead of --gateway"
    ))  # fmt: skip
    source.add_argument("--backup", type=name, metavar="NAME", help="this GatewayBackup")
    source.add_argument("--group", type=name, help="the newest Verified backup of this group")
    add_identity_options(
        source, "the Secret with the age identity for an encrypted backup; default: that of the schedule's drills"
    )
    spec = command.add_argument_group("spec of the drill")
    spec.add_argument("--timeout-seconds", type=positive, metavar="SECONDS", help="timeout of the drill; default 600")
    add_start_options(spec)
    job = command.add_argument_group("in the pod of a Job")
    job.add_argument("--from-job", action="store_true", help=(
        "name the drill after the Job (JOB_NAME, JOB_UID) and take it from GATEWAY_DRILL_TEMPLATE, so that a retried "
        "pod starts no second drill"
    ))  # fmt: skip
