"""argparse types for option values.

A value that the API server would reject is reported here, before the command changes anything.
"""

from __future__ import annotations

import json
import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from gateway_operator.domain.model import durations
from gateway_operator.domain.model.names import OBJECT_NAME

_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SECRET_KEY: Final = re.compile(r"[-._a-zA-Z0-9]+", re.ASCII)
_NUMBER_RULES: Final = ("keepLast", "keepHourly", "keepDaily", "keepWeekly", "keepMonthly", "keepYearly", "minKeep")
_DURATION_RULES: Final = ("keepWithin", "maxAge")


def fields(arguments: Namespace, options: Iterable[str]) -> dict[str, Any]:
    """The options that were given, as fields of a spec: ``retry_limit`` becomes ``retryLimit``."""
    spec: dict[str, Any] = {}
    for option in options:
        if (value := getattr(arguments, option)) is not None:
            first, *others = option.split("_")
            spec[first + "".join(word.capitalize() for word in others)] = value
    return spec


def setting(value: str) -> tuple[list[str], Any]:
    """``FIELD=VALUE`` for any field of a spec, such as ``verification.level=Stored``. The value may be JSON."""
    field, equals, text = value.partition("=")
    path = field.removeprefix("spec.").split(".")
    if not equals or not all(path):
        raise ArgumentTypeError(f"{value!r} is not FIELD=VALUE, for example ttl=30d or verification.level=Stored")
    try:
        return path, json.loads(text)
    except ValueError:
        return path, text


def with_settings(spec: dict[str, Any], settings: Iterable[tuple[list[str], Any]]) -> dict[str, Any]:
    """The spec with the fields of ``--set``, which win over the other options. The API server checks them."""
    for (*parents, last), value in settings:
        field = spec
        for parent in parents:
            below = field.get(parent)
            field[parent] = dict(below) if isinstance(below, dict) else {}
            field = field[parent]
        field[last] = value
    return spec


def digest(value: str) -> str:
    """A SHA-256 as 64 hexadecimal digits; returned in lower case."""
    if not _DIGEST.fullmatch(value.lower()):
        raise ArgumentTypeError(f"{value!r} is not a SHA-256 digest of 64 hexadecimal digits")
    return value.lower()


def secret_key(value: str) -> str:
    """The name of a key in a Secret."""
    if len(value) > 253 or not _SECRET_KEY.fullmatch(value):
        raise ArgumentTypeError(
            f"{value!r} is not a valid key of a Secret: use letters, digits, dashes, underscores and dots"
        )
    return value


def secret_name(value: str) -> str:
    """The name of a Secret, up to 253 characters.

    The error does not repeat the value: it may be a private key that was given by mistake.
    """
    if len(value) > 253 or not OBJECT_NAME.fullmatch(value):
        raise ArgumentTypeError("this is not a valid name of a Secret: use lower-case letters, digits, dashes and dots")
    return value


def name(value: str) -> str:
    """The name of a custom resource, up to 63 characters."""
    if len(value) > 63 or not OBJECT_NAME.fullmatch(value):
        raise ArgumentTypeError(
            f"{value!r} is not a valid name: use at most 63 lower-case letters, digits, dashes and dots"
        )
    return value


def text(value: str) -> str:
    """Any text that is not empty."""
    if not value:
        raise ArgumentTypeError("the value is empty")
    return value


def positive(value: str) -> int:
    """A whole number that is at least 1."""
    if not (value.isascii() and value.isdigit()) or int(value) < 1:
        raise ArgumentTypeError(f"{value!r} is not a whole number of at least 1")
    return int(value)


def duration(value: str) -> str:
    """A duration in the format of a spec, for example 30d."""
    try:
        durations.parse(value)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    return value


def since(value: str) -> str:
    """A time with a time zone, in ISO 8601 format."""
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ArgumentTypeError(f"{value!r} is not a time with a time zone, for example 2026-01-31T12:00:00Z")
    return value


def policy(value: str) -> tuple[str, Any]:
    """One rule of a retention policy, for example ``keepLast=7``; returned as name and value."""
    rule, equals, setting = value.partition("=")
    bare_rule = rule.removeprefix("failed.")
    if not equals or (bare_rule != rule and bare_rule not in ("keepLast", "maxAge")):
        raise ArgumentTypeError(f"{value!r} is not a rule, for example keepLast=7 or failed.maxAge=30d")
    if bare_rule in _NUMBER_RULES:
        if not (setting.isascii() and setting.isdigit()):
            raise ArgumentTypeError(f"{rule} must be a whole number, not {setting!r}")
        return rule, int(setting)
    if bare_rule in _DURATION_RULES:
        return rule, duration(setting)
    if rule == "timeZone":
        return rule, text(setting)
    if rule in ("dryRun", "includeAdopted"):
        if setting in ("true", "false"):
            return rule, setting == "true"
        raise ArgumentTypeError(f"{rule} must be true or false, not {setting!r}")
    rules = ", ".join((*_NUMBER_RULES, *_DURATION_RULES, "timeZone", "dryRun", "includeAdopted"))
    raise ArgumentTypeError(f"{rule} is not a rule; the rules are {rules}")


def retention(rules: list[tuple[str, Any]]) -> dict[str, Any]:
    """The ``retention`` field of a spec from the rules that ``policy`` returned."""
    field: dict[str, Any] = {}
    for rule, setting in rules:
        if rule.startswith("failed."):
            field.setdefault("failed", {})[rule.removeprefix("failed.")] = setting
        else:
            field[rule] = setting
    return field
