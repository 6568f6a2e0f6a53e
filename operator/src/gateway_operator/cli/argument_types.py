"""Values of options: what the API server would refuse is refused here, before anything is done."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from gateway_operator.domain.model import durations

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SECRET_KEY: Final = re.compile(r"[-._a-zA-Z0-9]+", re.ASCII)
_WHOLE: Final = ("keepLast", "keepHourly", "keepDaily", "keepWeekly", "keepMonthly", "keepYearly", "minKeep")
_LONG: Final = ("keepWithin", "maxAge")


def fields(arguments: Namespace, options: Iterable[str]) -> dict[str, Any]:
    """Those of the options that were given, named as fields of a spec are: ``retry_limit`` is ``retryLimit``."""
    found: dict[str, Any] = {}
    for option in options:
        if (value := getattr(arguments, option)) is not None:
            first, *others = option.split("_")
            found[first + "".join(word.capitalize() for word in others)] = value
    return found


def digest(value: str) -> str:
    """A SHA-256, as programs print it."""
    if not _DIGEST.fullmatch(value.lower()):
        raise ArgumentTypeError(f"{value!r} is no SHA-256: 64 digits and letters from a to f")
    return value.lower()


def secret_key(value: str) -> str:
    """A key of a Secret."""
    if len(value) > 253 or not _SECRET_KEY.fullmatch(value):
        raise ArgumentTypeError(f"{value!r} is no key of a Secret: letters, digits, dashes, underscores and dots")
    return value


def secret_name(value: str) -> str:
    """The name of a Secret, which may be longer than those of our objects. A key itself is never shown."""
    if len(value) > 253 or not _NAME.fullmatch(value):
        raise ArgumentTypeError("that is no name of a Secret: lower-case letters, digits, dashes and dots")
    return value


def name(value: str) -> str:
    """A name of an object."""
    if len(value) > 63 or not _NAME.fullmatch(value):
        raise ArgumentTypeError(f"{value!r} is no name: at most 63 lower-case letters, digits, dashes and dots")
    return value


def text(value: str) -> str:
    """Some text, not empty."""
    if not value:
        raise ArgumentTypeError("it is empty")
    return value


def positive(value: str) -> int:
    """A whole number from 1 on."""
    if not (value.isascii() and value.isdigit()) or int(value) < 1:
        raise ArgumentTypeError(f"{value!r} is no whole number from 1 on")
    return int(value)


def duration(value: str) -> str:
    """A duration as specs write it."""
    try:
        durations.parse(value)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    return value


def since(value: str) -> str:
    """A time with its zone."""
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        raise ArgumentTypeError(f"{value!r} is no time with a zone, such as 2026-01-31T12:00:00Z")
    return value


def policy(value: str) -> tuple[str, Any]:
    """One rule of a retention policy, as ``keepLast=7``."""
    rule, equals, given = value.partition("=")
    bare = rule.removeprefix("failed.")
    if not equals or (bare != rule and bare not in ("keepLast", "maxAge")):
        raise ArgumentTypeError(f"{value!r} is no rule such as keepLast=7 or failed.maxAge=30d")
    if bare in _WHOLE:
        if not (given.isascii() and given.isdigit()):
            raise ArgumentTypeError(f"{rule} is a number: {given!r}")
        return rule, int(given)
    if bare in _LONG:
        return rule, duration(given)
    if rule == "timeZone":
        return rule, text(given)
    if rule in ("dryRun", "includeAdopted") and given in ("true", "false"):
        return rule, given == "true"
    raise ArgumentTypeError(f"there is no rule {rule}; there are {', '.join((*_WHOLE, *_LONG, 'timeZone', 'dryRun'))}")


def retention(rules: list[tuple[str, Any]]) -> dict[str, Any]:
    """A retention policy from its rules."""
    made: dict[str, Any] = {}
    for rule, given in rules:
        if rule.startswith("failed."):
            made.setdefault("failed", {})[rule.removeprefix("failed.")] = given
        else:
            made[rule] = given
    return made
