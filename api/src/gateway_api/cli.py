"""The command `gateway-admin`: serve the API, show its settings, seed a first config, check the audit log."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from . import __version__, settings_file
from .settings import ENVIRONMENT, SettingsError, load
from .settings_file import VARIABLE

_FLAGS: Final[tuple[tuple[str, str, str], ...]] = (
    ("--config", "config_file", "the gateway's live config file"),
    ("--backups", "backup_dir", "the directory that all backups lie below"),
    ("--host", "host", "address to listen on (127.0.0.1)"),
    ("--port", "port", "port to listen on (8001)"),
    ("--tls-cert", "tls_cert", "certificate file (PEM): everything but probes moves to the TLS port"),
    ("--tls-key", "tls_key", "the certificate's private key (PEM)"),
    ("--tls-port", "tls_port", "port for TLS (8443)"),
    ("--admin-key-file", "admin_key_file", "file of keys that are always accepted, one a line"),
    ("--gateway-version", "gateway_version", "the gateway's version, written into manifests"),
    ("--max-config-bytes", "max_config_bytes", "how large a config may be, in bytes (64 MiB)"),
    ("--age-recipient", "age_recipients", "an X25519 age recipient (age1…) to encrypt to; may be repeated"),
    ("--age-recipients-file", "age_recipients_file", "file of age recipients, one a line"),
    ("--encryption", "encryption", "require or allow (require, where there are recipients)"),
    ("--signing-key-file", "signing_key_file", "Ed25519 key (PEM) that signs manifests; else one is made and kept"),
    ("--trusted-keys-file", "trusted_keys_file", "public Ed25519 keys (PEM) whose signatures count besides our own"),
    ("--signature-policy", "signature_policy", "require or warn (warn): whether a restore wants a trusted signature"),
    ("--allow-unsigned-override", "allow_unsigned_override", "true or false (false): whether accept_unsigned counts"),
    ("--worker-above-bytes", "worker_above_bytes", "a config larger than this has a process to parse it (1 MiB)"),
    ("--worker-seconds", "worker_seconds", "how long that process may take (120)"),
    ("--idle-seconds", "idle_seconds", "how long the rest of a request may keep the server waiting (30)"),
    ("--audit-bytes", "audit_bytes", "how long the audit log grows before a new segment is begun (64 MiB)"),
    ("--settle-seconds", "settle_seconds", "how long a file must be left alone to be believed (2)"),
)

_NAMES: Final = {flag.removeprefix("--"): field for flag, field, _ in _FLAGS}
_REPEATED: Final = frozenset({"age_recipients"})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gateway-admin", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help_text in (("serve", "serve the admin API"), ("settings", "show every setting and where it is from")):
        command = commands.add_parser(name, help=help_text)
        command.add_argument(
            "--settings", dest="settings_file", metavar="FILE", help=f"settings as TOML, by flag; else {VARIABLE}"
        )
        for flag, field, text in _FLAGS:
            action = "append" if field in _REPEATED else "store"
            help_text = f"{text}; else {ENVIRONMENT[field]}"
            command.add_argument(flag, dest=field, metavar="VALUE", action=action, help=help_text)
    seed = commands.add_parser("seed", help="make the first config, where there never was one")
    seed.add_argument("--config", dest="config_file", metavar="FILE", help=f"else {ENVIRONMENT['config_file']}")
    seed.add_argument("--from", dest="source", type=Path, metavar="FILE", help="a config to start from")
    audit = commands.add_parser("audit", help="check the audit log").add_subparsers(dest="audit_command", required=True)
    verify = audit.add_parser("verify", help="0: the chain is whole; 1: the first broken line is named; 2: unreadable")
    verify.add_argument("--backups", dest="backup_dir", metavar="DIR", help=f"else {ENVIRONMENT['backup_dir']}")
    return parser


def _verify_audit(arguments: argparse.Namespace) -> int:
    from .audit_check import Unreadable, verify

    backup_dir = arguments.backup_dir or os.environ.get(ENVIRONMENT["backup_dir"])
    if not backup_dir:
        raise SettingsError(f"say --backups or set {ENVIRONMENT['backup_dir']}")
    try:
        whole, text = verify(Path(backup_dir))
    except Unreadable as error:
        raise SettingsError(str(error)) from None
    print(text)
    return 0 if whole else 1


class _Given:
    """What flags, environment and settings file say, in that order of rank."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        given = {field: getattr(arguments, field) for _, field, _ in _FLAGS}
        self.flags = {f: "\n".join(v) if isinstance(v, list) else v for f, v in given.items()}
        file = arguments.settings_file or os.environ.get(VARIABLE)
        self.file = settings_file.read(Path(file), _NAMES) if file else {}
        self.settings = load(self.flags, settings_file.merged(self.file, os.environ))


def _settings(arguments: argparse.Namespace) -> int:
    given = _Given(arguments)
    print(settings_file.explain(given.settings, _NAMES, given.flags, os.environ, given.file))
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from .server import run

    settings = _Given(arguments).settings
    if settings.config_file.resolve().is_relative_to(settings.backup_dir.resolve()):
        raise SettingsError("the config must not lie in the backup directory, not even through a link")
    run(settings)
    return 0


def _seed(arguments: argparse.Namespace) -> int:
    from .seed import CannotSeed, seed

    config_file = arguments.config_file or os.environ.get(ENVIRONMENT["config_file"])
    if not config_file:
        raise SettingsError(f"say --config or set {ENVIRONMENT['config_file']}")
    try:
        print(seed(Path(os.path.abspath(config_file)), arguments.source))  # noqa: PTH100 - no link is followed
    except CannotSeed as error:
        raise SettingsError(str(error)) from None
    return 0


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status: 0, or 2 with a sentence on standard error, or what a check found."""
    arguments = _parser().parse_args(argv)
    try:
        return {"serve": _serve, "settings": _settings, "seed": _seed, "audit": _verify_audit}[arguments.command](
            arguments
        )
    except SettingsError as error:
        print(f"gateway-admin: {error}", file=sys.stderr)
        return 2
