"""Where every setting of the server comes from: flags, else environment, else default. Nothing else reads either."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar

from . import age
from .contract import DEFAULT_PORT, DEFAULT_TLS_PORT

DEFAULT_MAX_CONFIG_BYTES: Final = 64 * 1024 * 1024
DEFAULT_SETTLE_SECONDS: Final = 2.0
DEFAULT_WORKER_ABOVE_BYTES: Final = 1024 * 1024
DEFAULT_WORKER_SECONDS: Final = 120.0
DEFAULT_IDLE_SECONDS: Final = 30
DEFAULT_AUDIT_BYTES: Final = 64 * 1024 * 1024
MAX_RECIPIENTS_BYTES: Final = 64 * 1024

Encryption = Literal["require", "allow"]
SignaturePolicy = Literal["require", "warn"]


T = TypeVar("T", bound=str)


class SettingsError(Exception):
    """A setting is missing or makes no sense. The text is for the person at the terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the server runs with.

    ``config_file`` is the gateway's live config and ``backup_dir`` the folder all backups lie below; both absolute.
    ``settle_seconds`` is how long a file must stay unchanged before it is believed; ``max_config_bytes`` bounds a
    config and everything that is decompressed into one. A config larger than ``worker_above_bytes`` is parsed by a
    process of its own, for at most ``worker_seconds``, so that no probe waits for it. ``idle_seconds`` is how long
    a client may keep a request waiting, ``audit_bytes`` how long a segment of the audit log grows. ``age_recipients``
    are public keys; ``encryption`` says whether every backup must be encrypted to them, ``signature_policy`` whether a
    restore wants a trusted signature.
    """

    config_file: Path
    backup_dir: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    admin_key_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_port: int = DEFAULT_TLS_PORT
    gateway_version: str | None = None
    max_config_bytes: int = DEFAULT_MAX_CONFIG_BYTES
    settle_seconds: float = DEFAULT_SETTLE_SECONDS
    worker_above_bytes: int = DEFAULT_WORKER_ABOVE_BYTES
    worker_seconds: float = DEFAULT_WORKER_SECONDS
    idle_seconds: int = DEFAULT_IDLE_SECONDS
    audit_bytes: int = DEFAULT_AUDIT_BYTES
    age_recipients: tuple[str, ...] = ()
    encryption: Encryption = "allow"
    signing_key_file: Path | None = None
    trusted_keys_file: Path | None = None
    signature_policy: SignaturePolicy = "warn"
    allow_unsigned_override: bool = False

    @property
    def tls(self) -> bool:
        """Whether everything that needs a key is on the TLS port alone."""
        return self.tls_cert is not None

    @property
    def config_dir(self) -> Path:
        """The directory a new config is renamed into."""
        return self.config_file.parent


ENVIRONMENT: Final[dict[str, str]] = {
    "config_file": "GATEWAY_CONFIG_FILE",
    "backup_dir": "GATEWAY_BACKUP_DIR",
    "host": "GATEWAY_API_HOST",
    "port": "GATEWAY_API_PORT",
    "admin_key_file": "GATEWAY_ADMIN_KEY_FILE",
    "tls_cert": "GATEWAY_TLS_CERT_FILE",
    "tls_key": "GATEWAY_TLS_KEY_FILE",
    "tls_port": "GATEWAY_TLS_PORT",
    "gateway_version": "GATEWAY_VERSION",
    "max_config_bytes": "GATEWAY_MAX_CONFIG_BYTES",
    "settle_seconds": "GATEWAY_SETTLE_SECONDS",
    "worker_above_bytes": "GATEWAY_WORKER_ABOVE_BYTES",
    "worker_seconds": "GATEWAY_WORKER_SECONDS",
    "idle_seconds": "GATEWAY_IDLE_SECONDS",
    "audit_bytes": "GATEWAY_AUDIT_BYTES",
    "age_recipients": "GATEWAY_AGE_RECIPIENTS",
    "age_recipients_file": "GATEWAY_AGE_RECIPIENTS_FILE",
    "encryption": "GATEWAY_ENCRYPTION",
    "signing_key_file": "GATEWAY_SIGNING_KEY_FILE",
    "trusted_keys_file": "GATEWAY_TRUSTED_KEYS_FILE",
    "signature_policy": "GATEWAY_SIGNATURE_POLICY",
    "allow_unsigned_override": "GATEWAY_ALLOW_UNSIGNED_OVERRIDE",
}


def load(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> Settings:
    """Settings from ``flags`` (by field name, None = not given), then ``environ``, then the defaults.

    Raises :class:`SettingsError` naming the flag or variable at fault.
    """

    def raw(field: str) -> str | None:
        value = flags.get(field)
        if value is None:
            value = environ.get(ENVIRONMENT[field])
        return value or None

    def path(field: str) -> Path | None:
        value = raw(field)
        if value is None:
            return None
        if "\0" in value:
            raise SettingsError(f"{ENVIRONMENT[field]}: a path holds no NUL")
        return Path(os.path.abspath(value))  # noqa: PTH100 - resolve() would follow links

    def required(field: str, flag: str) -> Path:
        found = path(field)
        if found is None:
            raise SettingsError(f"say {flag} or set {ENVIRONMENT[field]}")
        return found

    def integer(field: str, default: int, low: int, high: int) -> int:
        value = raw(field)
        if value is None:
            return default
        if not value.isascii() or not value.isdigit() or not low <= int(value[:18]) <= high:
            raise SettingsError(f"{ENVIRONMENT[field]}: a whole number from {low} to {high}")
        return int(value)

    def seconds(field: str, default: float, low: float, high: float) -> float:
        value = raw(field)
        if value is None:
            return default
        try:
            found = float(value)
        except ValueError:
            found = math.nan
        if not low <= found <= high:
            raise SettingsError(f"{ENVIRONMENT[field]}: seconds from {low:g} to {high:g}")
        return found

    def one_of(field: str, words: tuple[T, ...], default: T) -> T:
        value = raw(field)
        if value is None:
            return default
        for word in words:
            if value == word:
                return word
        raise SettingsError(f"{ENVIRONMENT[field]}: one of {', '.join(words)}")

    config_file, backup_dir = required("config_file", "--config"), required("backup_dir", "--backups")
    if config_file.is_relative_to(backup_dir):
        raise SettingsError("the config must not lie in the backup directory: a backup could replace it")
    cert, key = path("tls_cert"), path("tls_key")
    if (cert is None) != (key is None):
        raise SettingsError("TLS needs both a certificate and its key")
    recipients = _recipients(raw("age_recipients"), path("age_recipients_file"))
    encryption: Encryption = one_of("encryption", ("require", "allow"), "require" if recipients else "allow")
    if encryption == "require" and not recipients:
        raise SettingsError(f"{ENVIRONMENT['encryption']}: nothing can be encrypted without age recipients")
    return Settings(
        config_file=config_file,
        backup_dir=backup_dir,
        host=raw("host") or "127.0.0.1",
        port=integer("port", DEFAULT_PORT, 0, 65535),
        admin_key_file=path("admin_key_file"),
        tls_cert=cert,
        tls_key=key,
        tls_port=integer("tls_port", DEFAULT_TLS_PORT, 0, 65535),
        gateway_version=raw("gateway_version"),
        max_config_bytes=integer("max_config_bytes", DEFAULT_MAX_CONFIG_BYTES, 1024, 1024**3),
        settle_seconds=seconds("settle_seconds", DEFAULT_SETTLE_SECONDS, 0, 60),
        worker_above_bytes=integer("worker_above_bytes", DEFAULT_WORKER_ABOVE_BYTES, 0, 1024**3),
        worker_seconds=seconds("worker_seconds", DEFAULT_WORKER_SECONDS, 0.1, 3600),
        idle_seconds=integer("idle_seconds", DEFAULT_IDLE_SECONDS, 1, 3600),
        audit_bytes=integer("audit_bytes", DEFAULT_AUDIT_BYTES, 4096, 1 << 40),
        age_recipients=recipients,
        encryption=encryption,
        signing_key_file=path("signing_key_file"),
        trusted_keys_file=path("trusted_keys_file"),
        signature_policy=one_of("signature_policy", ("require", "warn"), "warn"),
        allow_unsigned_override=one_of("allow_unsigned_override", ("false", "true"), "false") == "true",
    )


def _recipients(text: str | None, file: Path | None) -> tuple[str, ...]:
    """The recipients of both settings together. A file that names nobody is a mistake, never "not encrypted"."""
    try:
        found = age.parse_recipients(text or "")
        if file is None:
            return found
        with file.open("rb") as stream:
            listed = age.parse_recipients(stream.read(MAX_RECIPIENTS_BYTES).decode("utf-8", "replace"))
    except ValueError as problem:
        raise SettingsError(f"age recipients: {problem}") from None
    except OSError as error:
        raise SettingsError(f"the file of age recipients cannot be read: {error.strerror}") from None
    if not listed:
        raise SettingsError("the file of age recipients names nobody")
    return tuple(dict.fromkeys((*found, *listed)))
