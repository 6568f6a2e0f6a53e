"""The options that several commands have."""

from __future__ import annotations

import argparse

from gateway_operator.cli.argument_types import name, positive, setting


def add_gateway_options(command: argparse.ArgumentParser, *, required: bool = True) -> None:
    """The options that name a gateway."""
    command.add_argument("--gateway", required=required, type=name, help="name of the gateway's workload")
    command.add_argument(
        "--kind", choices=["Deployment", "StatefulSet"], default="Deployment", help="kind of the workload"
    )
    command.add_argument("--ordinal", type=int, default=0, help="ordinal of the pod of a StatefulSet; default 0")


def add_create_options(command: argparse.ArgumentParser) -> None:
    """The options of each command that creates an object: ``--set`` and those of a wait."""
    command.add_argument("--set", action="append", default=[], type=setting, metavar="FIELD=VALUE", help=(
        "set any field of the spec, for example verification.level=Stored (repeatable)"
    ))  # fmt: skip
    add_wait_options(command)


def add_wait_options(command: argparse.ArgumentParser) -> None:
    """The options ``--wait`` and ``--timeout``."""
    command.add_argument("--wait", action="store_true", help="wait until it is finished; exit code 1 if it failed")
    command.add_argument(
        "--timeout", type=positive, default=960, metavar="SECONDS", help="time limit for --wait; default 960"
    )
