"""The options of the commands that create GatewayRestores."""

from __future__ import annotations

import argparse

from gateway_operator.cli.argument_types import digest, name, positive, since, text
from gateway_operator.cli.options.common import (
    add_create_options,
    add_gateway_options,
    add_identity_options,
    add_start_options,
)


def add_restore_create(command: argparse.ArgumentParser) -> None:
    """The options of ``restore create``."""
    command.add_argument("name", metavar="NAME", type=name, help="a restore runs once, so each needs a new name")
    add_gateway_options(command)
    add_create_options(command)
    _add_source(command)
    spec = command.add_argument_group("restore process")
    spec.add_argument("--mode", choices=["Apply", "DryRun", "Drill"], help=(
        "Apply: replace the live config; DryRun: only report the difference; Drill: restore in a temporary pod; "
        "default Apply"
    ))  # fmt: skip
    spec.add_argument("--supersede", action="store_true", help=(
        "commit an earlier restore of the gateway that is neither committed nor rolled back"
    ))  # fmt: skip
    spec.add_argument("--safety-backup", choices=["Auto", "Required", "Skip"], help=(
        "whether the live config is backed up first; default Auto"
    ))  # fmt: skip
    spec.add_argument("--on-failure", choices=["Rollback", "Leave"], help=(
        "what to do if the gateway does not become healthy; default Rollback"
    ))  # fmt: skip
    spec.add_argument("--restart", choices=["Auto", "Always", "Never"], help=(
        "whether the gateway's pods are restarted; default Auto"
    ))  # fmt: skip
    spec.add_argument("--health-timeout-seconds", type=positive, metavar="SECONDS", help=(
        "time for the gateway to become healthy; default 180"
    ))  # fmt: skip
    spec.add_argument("--health-consecutive", type=positive, metavar="COUNT", help=(
        "number of consecutive successful health checks required; default 3"
    ))  # fmt: skip
    spec.add_argument("--timeout-seconds", type=positive, metavar="SECONDS", help=(
        "timeout of the restore until the config is replaced; default 600"
    ))  # fmt: skip
    add_start_options(spec)


def add_restore_diff(command: argparse.ArgumentParser) -> None:
    """The options of ``restore diff``."""
    command.add_argument("name", nargs="?", metavar="NAME", type=name, help=(
        "an existing GatewayRestore with mode DryRun, instead of a gateway and a source"
    ))  # fmt: skip
    add_gateway_options(command, required=False)
    _add_source(command, required=False)
    command.add_argument("-o", "--output", choices=["json", "yaml"], help="print the whole object; default: text")
    command.add_argument("--keep", action="store_true", help="do not delete the dry run that this command creates")
    command.add_argument("--timeout", type=positive, default=300, metavar="SECONDS", help="time limit; default 300")


def _add_source(command: argparse.ArgumentParser, *, required: bool = True) -> None:
    source = command.add_mutually_exclusive_group(required=required)
    source.add_argument("--backup", type=name, metavar="NAME", help="restore this GatewayBackup")
    source.add_argument("--latest", action="store_true", help="restore the newest Verified backup")
    source.add_argument("--before", type=since, metavar="TIME", help=(
        "restore the newest Verified backup from before TIME, for example 2026-01-31T12:00:00Z"
    ))  # fmt: skip
    source.add_argument("--path", type=text, help="restore this file in the gateway's backup directory")
    source.add_argument("--factory-reset", action="store_true", help="an empty config with default settings")
    command.add_argument("--rotate-admin-key", action="store_true", help=(
        "with --factory-reset: create a new admin key, which is written only to the config"
    ))  # fmt: skip
    command.add_argument("--group", type=name, help="with --latest: only backups of this group")
    file = command.add_argument_group("backup file")
    file.add_argument("--expected-sha256", type=digest, metavar="DIGEST", help=(
        "refuse a file with another digest; of the file, or of the config in it"
    ))  # fmt: skip
    add_identity_options(
        file, "the Secret with the age identity for an encrypted file; it must have the label mcpgateway.dev/gateway"
    )
    file.add_argument("--accept-unsigned", action="store_true", help=(
        "accept a file without a trusted signature; requires --expected-sha256 and permission in the gateway's chart"
    ))  # fmt: skip
    file.add_argument("--allow-other-gateway", action="store_true", help=(
        "accept a backup of another gateway, or of a newer version"
    ))  # fmt: skip
