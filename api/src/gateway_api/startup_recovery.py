"""Finishes what a killed server began, at start and before every mutation."""

from __future__ import annotations

from typing import Final

PROBE_SECONDS: Final = 60.0
"""Readiness probes make small files in the config's directory without the lock; none lives that long."""
