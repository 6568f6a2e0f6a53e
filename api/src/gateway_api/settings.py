"""The server's settings. Flags override the environment, the environment overrides the settings file.

`AdminSettings` declares each setting once: its environment variable, its limits and the help text of its flag.
pydantic-settings merges the sources. A setting can name a file of keys, but never holds a private key or an admin key.
"""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from gateway_api import logs
from gateway_api.codec.encryption import parse_recipients
from gateway_api.contract import DEFAULT_PORT, DEFAULT_TLS_PORT
from gateway_api.storage.text_file import without_bom

MAX_RECIPIENTS_BYTES: Final = 64 * 1024

Encryption = Literal["require", "allow"]
SignaturePolicy = Literal["require", "warn"]


class SettingsError(Exception):
    """A setting is missing or invalid. The text is one sentence for the terminal and does not repeat the value."""


def _absolute(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("a path must not contain a NUL character")
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


def _setting(variable: str, description: str, **limits: Any) -> Any:
    """A field that is read from an environment variable. ``description`` is the help text of its flag."""
    return Field(validation_alias=variable, description=description, allow_inf_nan=False if limits else None, **limits)


Port = Annotated[int, Field(ge=0, le=65535)]


class AdminSettings(BaseSettings):
    """All settings of the server. Paths are made absolute without following links.

    The order of the fields matters twice: it is the order of the help text, and the defaults and validators of
    ``age_recipients`` and ``encryption`` use the fields before them.
    """

    # pydantic-settings reads a field from its alias, and also from `env_prefix` plus the field's name. Without a prefix
    # the second name would be a variable such as `host`, which other programs set.
    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        case_sensitive=True,
        env_prefix="GATEWAY_",
        env_ignore_empty=True,
        hide_input_in_errors=True,
        coerce_numbers_to_str=True,
    )

    settings_file: Annotated[
        AbsolutePath | None, _setting("GATEWAY_SETTINGS_FILE", "TOML file of settings; each key is the name of a flag")
    ] = None
    config_file: Annotated[AbsolutePath, _setting("GATEWAY_CONFIG_FILE", "the gateway's live config file")]
    backup_dir: Annotated[AbsolutePath, _setting("GATEWAY_BACKUP_DIR", "the directory that contains all backups")]
    host: Annotated[
        str, _setting("GATEWAY_API_HOST", "address to listen on; :: is every IPv4 and IPv6 address (localhost)")
    ] = "localhost"
    port: Annotated[Port, _setting("GATEWAY_API_PORT", "port to listen on (8001)")] = DEFAULT_PORT
    tls_cert: Annotated[
        AbsolutePath | None,
        _setting(
            "GATEWAY_TLS_CERT_FILE",
            "certificate file (PEM); with it, all endpoints except probes and metrics need the TLS port",
        ),
    ] = None
    tls_key: Annotated[AbsolutePath | None, _setting("GATEWAY_TLS_KEY_FILE", "the certificate's private key (PEM)")] = (
        None
    )
    tls_port: Annotated[Port, _setting("GATEWAY_TLS_PORT", "port for TLS (8443)")] = DEFAULT_TLS_PORT
    admin_key_file: Annotated[
        AbsolutePath | None,
        _setting("GATEWAY_ADMIN_KEY_FILE", "file of admin keys that are always accepted, one per line"),
    ] = None
    gateway_version: Annotated[
        str | None, _setting("GATEWAY_VERSION", "the gateway's version, written into manifests")
    ] = None
    max_config_bytes: Annotated[
        int, _setting("GATEWAY_MAX_CONFIG_BYTES", "largest config, in bytes (64 MiB)", ge=1024, le=1024**3)
    ] = 64 * 1024**2
    age_recipients_file: Annotated[
        AbsolutePath | None, _setting("GATEWAY_AGE_RECIPIENTS_FILE", "file of age recipients, one per line")
    ] = None
    age_recipients: Annotated[
        tuple[str, ...],
        NoDecode,
        _setting("GATEWAY_AGE_RECIPIENTS", "an X25519 age recipient (age1…) to encrypt to; may be repeated"),
    ] = ()
    encryption: Annotated[
        Encryption,
        _setting(
            "GATEWAY_ENCRYPTION",
            "require or allow (require if there are recipients): whether backups must be encrypted",
        ),
    ] = Field(default_factory=lambda data: "require" if data.get("age_recipients") else "allow")
    signing_key_file: Annotated[
        AbsolutePath | None,
        _setting(
            "GATEWAY_SIGNING_KEY_FILE", "Ed25519 private key (PEM) that signs manifests; without it, a key is created"
        ),
    ] = None
    trusted_keys_file: Annotated[
        AbsolutePath | None,
        _setting(
            "GATEWAY_TRUSTED_KEYS_FILE",
            "public Ed25519 keys (PEM) that are trusted in addition to this server's own key",
        ),
    ] = None
    signature_policy: Annotated[
        SignaturePolicy,
        _setting("GATEWAY_SIGNATURE_POLICY", "require or warn (warn): whether a restore requires a trusted signature"),
    ] = "warn"
    allow_unsigned_override: Annotated[
        bool,
        _setting("GATEWAY_ALLOW_UNSIGNED_OVERRIDE", "true or false (false): whether a restore may use accept_unsigned"),
    ] = False
    worker_above_bytes: Annotated[
        int,
        _setting(
            "GATEWAY_WORKER_ABOVE_BYTES",
            "configs larger than this are parsed in a separate process, in bytes (1 MiB)",
            ge=0,
            le=1024**3,
        ),
    ] = 1024**2
    worker_seconds: Annotated[
        float,
        _setting("GATEWAY_WORKER_SECONDS", "time limit of the parse process, in seconds (120)", ge=0.1, le=3600),
    ] = 120.0
    idle_seconds: Annotated[
        int, _setting("GATEWAY_IDLE_SECONDS", "time limit for receiving a request, in seconds (30)", ge=1, le=3600)
    ] = 30
    keep_alive_seconds: Annotated[
        int,
        _setting(
            "GATEWAY_KEEP_ALIVE_SECONDS", "how long an idle connection stays open, in seconds (75)", ge=1, le=3600
        ),
    ] = 75
    max_connections: Annotated[
        int, _setting("GATEWAY_MAX_CONNECTIONS", "limit of open connections (512)", ge=8, le=65536)
    ] = 512
    max_connections_per_peer: Annotated[
        int,
        _setting(
            "GATEWAY_MAX_CONNECTIONS_PER_PEER",
            "limit of open connections of one address (128); 0: no limits per address, for a server behind a proxy",
            ge=0,
            le=65536,
        ),
    ] = 128
    audit_bytes: Annotated[
        int,
        _setting(
            "GATEWAY_AUDIT_BYTES", "size at which a new audit segment begins, in bytes (64 MiB)", ge=512, le=1024**4
        ),
    ] = 64 * 1024**2
    settle_seconds: Annotated[
        float,
        _setting("GATEWAY_SETTLE_SECONDS", "seconds that a file must be unchanged before it is read (2)", ge=0, le=60),
    ] = 2.0

    @property
    def tls(self) -> bool:
        """Whether endpoints that need a key are served only on the TLS port."""
        return self.tls_cert is not None

    @property
    def config_dir(self) -> Path:
        """The directory of the config file."""
        return self.config_file.parent

    @field_validator("age_recipients", mode="before")
    @classmethod
    def _parse_recipients(cls, value: object, info: ValidationInfo) -> tuple[str, ...]:
        text = "\n".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        recipients = parse_recipients(text)
        file = info.data.get("age_recipients_file")
        if file is None:
            return recipients
        try:
            with file.open("rb") as stream:
                listed = parse_recipients(without_bom(stream.read(MAX_RECIPIENTS_BYTES)).decode("utf-8", "replace"))
        except OSError as error:
            raise ValueError(f"the file of age recipients cannot be read: {error.strerror}") from None
        if not listed:
            # An empty file is a mistake, for example a Secret without data. It must never disable encryption.
            raise ValueError("the file of age recipients is empty")
        return tuple(dict.fromkeys((*recipients, *listed)))

    @model_validator(mode="after")
    def _check_combinations(self) -> AdminSettings:
        if self.config_file.is_relative_to(self.backup_dir):
            raise ValueError("the config must not be in the backup directory, where a backup could replace it")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("TLS needs both a certificate and its key")
        if self.encryption == "require" and not self.age_recipients:
            raise ValueError(f"{variable_name('encryption')}: encryption needs age recipients")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the parameters are the library's
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources in the order of precedence: flags, environment, settings file."""
        return init_settings, EnvironmentSource(settings_cls), _SettingsFile(settings_cls)


class EnvironmentSource(EnvSettingsSource):
    """The environment, without service links.

    Kubernetes sets `GATEWAY_API_PORT=tcp://…` in all pods of a namespace with a Service `gateway-api`.
    """

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        value, key, is_complex = super().get_field_value(field, field_name)
        return (None if _is_service_link(field_name, value) else value), key, is_complex


class _SettingsFile(PydanticBaseSettingsSource):
    """The TOML file that a flag or the environment names."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # abstract in the base class, not used: __call__ reads all fields at once

    def __call__(self) -> dict[str, Any]:
        path = self.current_state.get(variable_name("settings_file"))
        return {} if path is None else _read_file(Path(path))


def _is_service_link(field: str, value: str | None) -> bool:
    return field in ("port", "tls_port") and value is not None and value.startswith("tcp://")


def variable_name(field: str) -> str:
    """The environment variable of the setting ``field``."""
    return str(AdminSettings.model_fields[field].validation_alias)


def flag_name(field: str) -> str:
    """The flag of the setting ``field`` without leading dashes. It is also the key in the settings file."""
    special = {
        "settings_file": "settings",
        "config_file": "config",
        "backup_dir": "backups",
        "age_recipients": "age-recipient",
    }
    return special.get(field, field.replace("_", "-"))


def load(flags: Mapping[str, Any]) -> AdminSettings:
    """Merges ``flags``, which maps field names to values, with the other sources. An empty value counts as unset.

    Raises :class:`SettingsError`.
    """
    for field in AdminSettings.model_fields:
        if _is_service_link(field, os.environ.get(variable_name(field))):
            logs.event("service_link_ignored", logging.WARNING, variable=variable_name(field))
    try:
        return AdminSettings(**{field: value for field, value in flags.items() if value not in (None, "")})
    except ValidationError as error:
        raise SettingsError(_first_error(error)) from None


def _first_error(error: ValidationError) -> str:
    """The first error as one sentence that names the variable and not the value."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = next((name for name in AdminSettings.model_fields if {name, variable_name(name)} & {*first["loc"]}), None)
    if field is not None and first["type"] == "missing":
        return f"set --{flag_name(field)} or {variable_name(field)}"
    cause = first.get("ctx", {}).get("error")
    message = str(cause) if cause is not None else first["msg"][0].lower() + first["msg"][1:]
    return message if field is None else f"{variable_name(field)}: {message}"


def _read_file(path: Path) -> dict[str, Any]:
    """The settings in a TOML file, by environment variable. A byte order mark is accepted."""
    try:
        table = tomllib.loads(without_bom(path.read_bytes()).decode())
    except OSError as error:
        raise SettingsError(f"the settings file cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise SettingsError("the settings file is not TOML") from None
    variables = {flag_name(field): variable_name(field) for field in AdminSettings.model_fields}
    del variables[flag_name("settings_file")]
    if unknown := sorted(table.keys() - variables.keys()):
        raise SettingsError(f"the settings file has an unknown setting: {unknown[0][:40]!r}")
    return {variables[name]: value for name, value in table.items() if value != ""}
