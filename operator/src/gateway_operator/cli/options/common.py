"""The options that several commands have."""

from __future__ import annotations

import argparse

from gateway_operator.cli.argument_types import name, positive, secret_key, secret_name, setting, text


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


def add_identity_options(group: argparse._ArgumentGroup, secret_help: str) -> None:
    """The options that name the Secret with an age identity. ``secret_help`` tells what is used without them."""
    group.add_argument("--identity-secret", type=secret_name, metavar="NAME", help=secret_help)
    group.add_argument(
        "--identity-key", type=secret_key, metavar="KEY", help="the key in that Secret; default identity"
    )


def add_start_options(spec: argparse._ArgumentGroup) -> None:
    """The options of every GatewayRestore: how long it waits for its gateway, and its description."""
    spec.add_argument("--starting-deadline-seconds", type=positive, metavar="SECONDS", help=(
        "maximum time to wait for the gateway; default 300"
    ))  # fmt: skip
    spec.add_argument("--description", type=text, help="free text for users")
