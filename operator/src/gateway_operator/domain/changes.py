"""What changed against the backup before: net numbers for people, and whether so much is gone that it is suspicious.

Numbers only: no name and no key ever stands in a status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway_operator.domain.backup_index import BackupSummary

Counts = Mapping[str, int]
"""``status.counts``, with all of its fields."""

_WORDS: Final = (
    ("configs", "config"),
    ("projects", "project"),
    ("users", "user"),
    ("apiKeys", "API key"),
    ("disabledApiKeys", "disabled API key"),
)


def against(
    previous: BackupSummary, counts: Counts | None, content_bytes: int | None, digest: str | None
) -> dict[str, Any]:
    """The differences to ``previous``, with a summary such as ``+2 users, -1 API key``.

    ``unchanged``: the same config, byte for byte; ``content changed``: another one, with as many of everything. What is
    not known of one of the two is left out: an encrypted file of somebody else tells no counts.
    """
    told: dict[str, Any] = {"comparedTo": previous.name}
    words: list[str] = []
    if counts is not None and previous.counts is not None:
        for field, word in _WORDS:
            difference = counts[field] - previous.counts[field]
            told[field] = difference
            if difference:
                words.append(f"{difference:+d} {word}{'' if abs(difference) == 1 else 's'}")
    if content_bytes is not None and previous.content_bytes is not None:
        told["contentBytes"] = content_bytes - previous.content_bytes
    if digest and digest == previous.content_digest:
        told["summary"] = "unchanged"
    else:
        told["summary"] = ", ".join(words) or "content changed"
    return told


def lost(previous: BackupSummary, counts: Counts | None, content_bytes: int | None, max_percent: int) -> Sequence[str]:
    """What there is less of than before by more than ``max_percent`` of it, in words; nothing where all is well.

    Disabled API keys do not count: taking them away is tidying up, and disabling many is a loss.
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
