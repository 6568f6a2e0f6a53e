"""Detects a watch that has ended without an error.

Each retention pass lists all objects. If an unfinished object is missing from the work queue for a minute, its watch
delivers no events, and the liveness probe fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.reconcile.workqueue import WorkQueue

PATIENCE: Final = 60.0
"""Seconds for which an object may be missing: a watch may lag, and at startup all objects are indexed first."""


class WatchCheck:
    """Compares the lists of each retention pass with the work queue of each kind."""

    def __init__(self, queues: Mapping[str, WorkQueue[Any]]) -> None:
        self._queues = queues
        self._missing_since: dict[Ref, float] = {}
        self.missed: list[Ref] = []
        """Unfinished objects that had been missing for ``PATIENCE`` or longer at the last pass."""

    def compare(self, unfinished: Iterable[Ref], now: float) -> None:
        """Compare complete lists of unfinished objects. ``now`` is a monotonic time in seconds."""
        missing = [ref for ref in unfinished if not self._queues[ref.kind].is_registered(ref)]
        self._missing_since = {ref: self._missing_since.get(ref, now) for ref in missing}
        self.missed = [ref for ref, since in self._missing_since.items() if now - since >= PATIENCE]
