"""What is remembered of a config once it has been read, in the contract's words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway_api.contract import Counts, Issue
from gateway_api.gateway_config.schema import check, digest, parse, summarize


@dataclass(frozen=True, slots=True)
class ConfigSummary:
    """All that is remembered of a config once it has been read. Digests are lower-case hex SHA-256.

    ``sections_digest`` is None only where nobody has asked for it yet.
    """

    sha256: str
    size: int
    sections_digest: str | None
    counts: Counts
    admin_key_sha256: str
    cache_enabled: bool
    cache_type: str
    telemetry_enabled: bool
    guardrails_configured: bool
    issues: tuple[Issue, ...] = ()
    warnings: tuple[Issue, ...] = ()


def summary_of(facts: dict[str, Any], *, sha256: str, size: int) -> ConfigSummary:
    """The summary that ``facts`` are, of a config of those bytes."""
    issues, warnings = (
        tuple(Issue(code=code, where=where, message=message) for code, where, message in facts[name])
        for name in ("issues", "warnings")
    )
    rest = {**facts, "counts": Counts(**facts["counts"]), "issues": issues, "warnings": warnings}
    return ConfigSummary(sha256=sha256, size=size, **rest)


def read(data: bytes) -> ConfigSummary:
    """Parses, checks and summarizes a config. Raises :class:`config_shape.NotAConfig`."""
    return summary_of(summarize(check(parse(data)), sections=True), sha256=digest(data), size=len(data))
