"""A plan for people: what stays, what goes, and why. `kubectl gateway retention explain` prints it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway_operator.domain import times
from gateway_operator.domain.retention import Decision


class Row(NamedTuple):
    """One backup."""

    name: str
    time: str
    phase: str
    level: str
    verdict: str
    """``keep`` or ``delete``."""
    why: str
    expires: str
    """When a limit of age lets it go; empty where that is not known."""


def explain(decisions: Sequence[Decision]) -> list[Row]:
    """A row for each backup, newest first."""
    return [
        Row(
            name=one.backup.name,
            time=times.text(one.backup.time),
            phase=one.backup.phase or "Pending",
            level=one.backup.level,
            verdict="keep" if one.keep else "delete",
            why=", ".join(one.reasons) or "no rule lets it go",
            expires=times.text(one.expires_at) if one.expires_at is not None else "",
        )
        for one in decisions
    ]
