"""Compares a backup with the previous one of its set: the differences for people, and the losses that are suspicious.

A status holds only numbers, never the name of a user or a key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway_operator.domain.index.backup_index import BackupSummary

Counts = Mapping[str, int]
"""``status.counts``, with all of its fields."""

_WORDS: Final = (
    ("configs", "config"),
    ("projects", "project"),
    ("users", "user"),
    ("apiKeys", "API key"),
    ("disabledApiKeys", "disabled API key"),
)


def changes_since(
    previous: BackupSummary, counts: Counts | None, content_bytes: int | None, digest: str | None
) -> dict[str, Any]:
    """The differences to ``previous``, with a summary such as ``+2 users, -1 API key``.

    ``unchanged``: the same config, byte for byte. ``content changed``: a different config with the same counts. A field
    is left out if one of the two values is unknown, for example the counts of a file encrypted for someone else.
    """
    changes: dict[str, Any] = {"comparedTo": previous.name}
    words: list[str] = []
    if counts is not None and previous.counts is not None:
        for field, word in _WORDS:
            difference = counts[field] - previous.counts[field]
            changes[field] = difference
            if difference:
                words.append(f"{difference:+d} {word}{'' if abs(difference) == 1 else 's'}")
    if content_bytes is not None and previous.content_bytes is not None:
        changes["contentBytes"] = content_bytes - previous.content_bytes
    if digest and digest == previous.content_digest:
        changes["summary"] = "unchanged"
    else:
        changes["summary"] = ", ".join(words) or "content changed"
    return changes


def losses_since(
    previous: BackupSummary, counts: Counts | None, content_bytes: int | None, max_percent: int
) -> Sequence[str]:
    """The counts that shrank by more than ``max_percent``, in words; empty if none did.

    Disabled API keys do not count: to delete them is no loss, but to disable many keys is one.
    """
    pairs: list[tuple[str, int, int]] = []
    if counts is not None and previous.counts is not None:
        old = previous.counts
        pairs += [
            ("users", old["users"], counts["users"]),
            ("projects", old["projects"], counts["projects"]),
            ("configs", old["configs"], counts["configs"]),
            ("API keys", _working(old), _working(counts)),
        ]
    if content_bytes is not None and previous.content_bytes is not None:
        pairs.append(("bytes", previous.content_bytes, content_bytes))
    return [
        f"{100 * (before - now) // before} % of the {what} ({before} → {now})"
        for what, before, now in pairs
        if before > 0 and 100 * (before - now) > max_percent * before
    ]


def _working(counts: Counts) -> int:
    return max(0, counts["apiKeys"] - counts["disabledApiKeys"])
