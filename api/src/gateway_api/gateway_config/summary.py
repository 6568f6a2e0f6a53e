"""The summary of a valid config: digests, counts and issues, without any value of the config.

`schema.summarize` computes it as JSON values, possibly in the parse worker. This module converts them to the contract's
models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway_api.contract import Counts, Issue
from gateway_api.gateway_config.schema import check, digest, parse, summarize


@dataclass(frozen=True, slots=True)
class ConfigSummary:
    """Summary of one valid config of ``size`` bytes. Digests are SHA-256 in lower-case hex.

    ``sections_digest`` is None when the parse did not request it. ``admin_key_digests`` are those of the config's own
    keys that are long enough; there may be none. ``issues`` are missing sections and dangling references, ``warnings``
    are keys that are too short.
    """

    sha256: str
    size: int
    sections_digest: str | None
    counts: Counts
    admin_key_digests: tuple[str, ...]
    cache_enabled: bool
    cache_type: str
    telemetry_enabled: bool
    guardrails_configured: bool
    issues: tuple[Issue, ...] = ()
    warnings: tuple[Issue, ...] = ()


def build_summary(fields: dict[str, Any], *, sha256: str, size: int) -> ConfigSummary:
    """The summary from the ``fields`` that ``schema.summarize`` returned, and the digest and size of the config."""
    issues, warnings = (
        tuple(Issue(code=code, where=where, message=message) for code, where, message in fields[name])
        for name in ("issues", "warnings")
    )
    rest = {
        **fields,
        "counts": Counts(**fields["counts"]),
        "admin_key_digests": tuple(fields["admin_key_digests"]),
        "issues": issues,
        "warnings": warnings,
    }
    return ConfigSummary(sha256=sha256, size=size, **rest)


def read(data: bytes) -> ConfigSummary:
    """Parses, checks and summarizes a config in this process. Raises :class:`schema.InvalidConfig`."""
    return build_summary(summarize(check(parse(data)), sections=True), sha256=digest(data), size=len(data))
