"""Stops kopf from storing data on our objects.

All state is in the status of each object, and the work queues call the reconciles. kopf's own annotations are not
needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import kopf


class NoDiffBase(kopf.DiffBaseStorage):
    """Stores no last handled configuration. kopf's default storage copies the whole object at every event."""

    # kopf passes its arguments by name, so those that are not used keep their names.
    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:  # noqa: ARG002
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        pass
