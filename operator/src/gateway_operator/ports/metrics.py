"""The interface through which the operator counts its own work. The adapter of the metrics implements it."""

from __future__ import annotations

from typing import Protocol


class ReconcileMetrics(Protocol):
    """Counts reconciles by the kind of the object."""

    def observe_reconcile(self, kind: str, seconds: float, *, failed: bool) -> None:
        """One reconcile has ended. ``failed``: with an exception, so that it is retried."""
        ...
