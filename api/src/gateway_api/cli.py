"""The command `gateway-admin`: serves the API, shows its settings, creates a first config and checks the audit log."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from gateway_api import __version__, logs
from gateway_api.settings import (
    AdminSettings,
    EnvironmentSource,
    SettingsError,
    flag_name,
    load,
    variable_name,
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gateway-admin", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help_text in (("serve", "serve the admin API"), ("settings", "show all settings with their sources")):
        command = commands.add_parser(name, help=help_text)
        for field, info in AdminSettings.model_fields.items():
            action = "append" if field == "age_recipients" else "store"
            text = f"{info.description}; environment: {variable_name(field)}"
            command.add_argument(f"--{flag_name(field)}", dest=field, metavar="VALUE", action=action, help=text)
    seed = commands.add_parser("seed", help="create the first config of a new gateway; never replaces a lost config")
    seed.add_argument(
        "--config",
        dest="config_file",
        metavar="FILE",
        help=f"the config file; environment: {variable_name('config_file')}",
    )
    seed.add_argument(
        "--from", dest="source", type=Path, metavar="FILE", help="copy this config instead of the default one"
    )
    _add_drill_commands(commands.add_parser("drill", help="run in the init containers of a drill pod"))
    audit = commands.add_parser("audit", help="check the audit log").add_subparsers(dest="audit_command", required=True)
    verify = audit.add_parser(
        "verify",
        help="verify the log against its witnesses; exit code 0: intact, 1: changed (names the first broken line),"
        " 2: unreadable or no key",
    )
    verify.add_argument(
        "--backups",
        dest="backup_dir",
        metavar="DIR",
        help=f"the backup directory; environment: {variable_name('backup_dir')}",
    )
    for field in ("config_file", "signing_key_file", "trusted_keys_file"):
        text = f"{AdminSettings.model_fields[field].description}; environment: {variable_name(field)}"
        verify.add_argument(f"--{flag_name(field)}", dest=field, metavar="FILE", help=text)
    return parser


def _add_drill_commands(drill: argparse.ArgumentParser) -> None:
    commands = drill.add_subparsers(dest="drill_command", required=True)
    isolation = commands.add_parser(
        "isolation", help="exit code 3 if the API server or a target accepts a connection: no policy isolates the pod"
    )
    isolation.add_argument("--target", dest="targets", action="append", default=[], metavar="HOST:PORT")
    isolation.add_argument("--seconds", type=float, default=15.0, help="time for the policy to take effect; default 15")
    isolation.add_argument("--accept", action="store_true", help="report an answer, and end with exit code 0")
    prepare = commands.add_parser(
        "prepare", help="wait until a backup is restored; then turn external cache and telemetry off in the config"
    )
    prepare.add_argument("--request-id", required=True, metavar="ID", help="the id of the restore")
    prepare.add_argument("--seconds", type=float, default=600.0, help="time to wait for the restore; default 600")
    for field in ("config_file", "backup_dir"):
        text = f"{AdminSettings.model_fields[field].description}; environment: {variable_name(field)}"
        prepare.add_argument(f"--{flag_name(field)}", dest=field, metavar="PATH", help=text)


def _drill(arguments: argparse.Namespace) -> int:
    if arguments.drill_command == "isolation":
        from gateway_api.drills.isolation import NOT_ISOLATED, check_isolation, parse_target

        try:
            targets = [parse_target(text) for text in arguments.targets]
        except ValueError as error:
            raise SettingsError(f"--target HOST:PORT: {error}") from None
        answer = check_isolation(targets, arguments.seconds)
        if answer:
            print(answer)
        return NOT_ISOLATED if answer and not arguments.accept else 0
    from gateway_api.drills.restored_config import prepare_config

    config, backups = (
        getattr(arguments, field) or os.environ.get(variable_name(field)) for field in ("config_file", "backup_dir")
    )
    if not config or not backups:
        raise SettingsError(f"set {variable_name('config_file')} and {variable_name('backup_dir')}")
    try:
        changed = prepare_config(Path(config), Path(backups), arguments.request_id, arguments.seconds)
    except (OSError, ValueError) as error:
        raise SettingsError(f"the restored config cannot be prepared: {error}") from None
    print(f"turned off: {', '.join(changed) or 'nothing'}")
    return 0


def _verify_audit(arguments: argparse.Namespace) -> int:
    from gateway_api.audit.verify import UnreadableLog, verify_audit_log
    from gateway_api.repository.keys import read_verification_keys

    paths = {
        field: Path(value) if (value := getattr(arguments, field) or os.environ.get(variable_name(field))) else None
        for field in ("backup_dir", "config_file", "signing_key_file", "trusted_keys_file")
    }
    backup_dir, config_file = paths["backup_dir"], paths["config_file"]
    if backup_dir is None:
        raise SettingsError(f"set --backups or {variable_name('backup_dir')}")
    trusted = read_verification_keys(paths["signing_key_file"], paths["trusted_keys_file"])
    if config_file is None and not trusted:
        # Without a key an edited manifest looks like a witness, so "intact" would prove nothing.
        raise SettingsError(
            f"set --config or {variable_name('config_file')}: its directory has the signing key and the end of the log;"
            f" on another machine set --trusted-keys-file or {variable_name('trusted_keys_file')}"
        )
    try:
        intact, text = verify_audit_log(backup_dir, None if config_file is None else config_file.parent, trusted)
    except UnreadableLog as error:
        raise SettingsError(str(error)) from None
    print(text)
    return 0 if intact else 1


def _flags(arguments: argparse.Namespace) -> dict[str, object]:
    return {field: getattr(arguments, field) for field in AdminSettings.model_fields}


def _explain(settings: AdminSettings, flags: Mapping[str, object]) -> str:
    """All settings with their values and sources, one per line."""
    environment = EnvironmentSource(AdminSettings)()
    lines = []
    for field in AdminSettings.model_fields:
        if flags.get(field):
            source = f"flag --{flag_name(field)}"
        elif (variable := variable_name(field)) in environment:
            source = f"environment {variable}"
        else:
            source = "settings file" if field in settings.model_fields_set else "default"
        lines.append(f"{flag_name(field):24} {_format(getattr(settings, field)):40} {source}")
    return "\n".join(lines)


def _format(value: object) -> str:
    if value is None or value == ():
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _settings(arguments: argparse.Namespace) -> int:
    flags = _flags(arguments)
    print(_explain(load(flags), flags))
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from gateway_api.http.server import run
    from gateway_api.storage.paths import enclosing_backup_directory

    settings = load(_flags(arguments))
    # The settings compare paths as text. A link could still place the config among the backups.
    if settings.config_file.resolve().is_relative_to(settings.backup_dir.resolve()):
        raise SettingsError("the config must not be in the backup directory, not even through a link")
    if (enclosing := enclosing_backup_directory(settings.backup_dir)) is not None:
        raise SettingsError(
            f"the backup directory {settings.backup_dir} is inside the backup directory {enclosing} of another "
            "server; choose a directory outside of it"
        )
    run(settings)
    return 0


def _seed(arguments: argparse.Namespace) -> int:
    from gateway_api.gateway_config.seed import SeedError, seed

    config_file = arguments.config_file or os.environ.get(variable_name("config_file"))
    if not config_file:
        raise SettingsError(f"set --config or {variable_name('config_file')}")
    try:
        print(seed(Path(os.path.abspath(config_file)), arguments.source))  # noqa: PTH100 - no link is followed
    except SeedError as error:
        raise SettingsError(str(error)) from None
    return 0


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code.

    0: success. 1: the audit log is broken. 2: an error, with one sentence on standard error. 3: a drill pod that is not
    isolated.
    """
    arguments = _parser().parse_args(argv)
    logs.configure()
    try:
        commands = {
            "serve": _serve,
            "settings": _settings,
            "seed": _seed,
            "drill": _drill,
            "audit": _verify_audit,
        }
        return commands[arguments.command](arguments)
    except SettingsError as error:
        print(f"gateway-admin: {error}", file=sys.stderr)
        return 2
