"""The settings file: TOML, one line a setting, by the names of the flags. Flags and environment win over it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .settings import ENVIRONMENT, Settings, SettingsError

VARIABLE: Final = "GATEWAY_SETTINGS_FILE"


def read(path: Path, names: Mapping[str, str]) -> dict[str, str]:
    """The file's settings as environment variables. ``names`` are the flags without dashes, with their fields.

    Raises :class:`SettingsError`, naming the file or the setting, never a value.
    """
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"the settings file cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise SettingsError("the settings file is not TOML") from None
    if unknown := sorted(table.keys() - names.keys()):
        raise SettingsError(f"the settings file has a setting that there is not: {unknown[0][:40]!r}")
    return {ENVIRONMENT[names[name]]: _text(name, value) for name, value in table.items()}


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "\n".join(value)
    raise SettingsError(f"the settings file: {name} must be a string, a number, true, false or a list of strings")


def merged(file: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """The environment over the file; a variable that is empty is as good as none."""
    return {**file, **{name: value for name, value in environ.items() if value}}


def explain(
    settings: Settings,
    names: Mapping[str, str],
    flags: Mapping[str, str | None],
    environ: Mapping[str, str],
    file: Mapping[str, str],
) -> str:
    """Every setting, its value and where that comes from. Settings name files of keys and hold none."""
    lines = []
    for name, field in names.items():
        if flags.get(field) is not None:
            source = f"flag --{name}"
        elif environ.get(ENVIRONMENT[field]):
            source = f"environment {ENVIRONMENT[field]}"
        else:
            source = "settings file" if ENVIRONMENT[field] in file else "default"
        lines.append(f"{name:24} {_shown(getattr(settings, field, None)):40} {source}")
    return "\n".join(lines)


def _shown(value: object) -> str:
    if value is None or value == ():
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(value) if isinstance(value, tuple) else str(value)
