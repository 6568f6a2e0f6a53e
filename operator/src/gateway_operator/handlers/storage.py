"""What kopf remembers on our objects: of those that run once and are then a record, nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import kopf

from gateway_operator.domain.names import BACKUP_KIND, RESTORE_KIND

RECORDS: Final = frozenset({BACKUP_KIND, RESTORE_KIND})
"""Kinds whose status says all: whether they are still to be done, and how far they are."""


class DiffBase(kopf.AnnotationsDiffBaseStorage):
    """Kopf's annotation with the last handled spec, but not on records.

    Kopf compares with it to tell a change from an echo. A record's handlers are filtered by its phase instead, and read
    the object before they do anything: to them every event of an unfinished one is a reason to look. That spares a
    write an object (one in five), and kopf a copy of the whole object at every event. It also means that kopf takes
    each event of one, after a restart too, for its creation: that is the one handler it needs.
    """

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:
        """What changes are looked for in."""
        if body.get("kind") in RECORDS:
            return kopf.BodyEssence(spec=body.get("spec") or {})
        return super().build(body=body, extra_fields=extra_fields)

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """The last handled; none of a record, so that one is always new until it is finished."""
        return None if body.get("kind") in RECORDS else super().fetch(body=body)

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Remember what was handled."""
        if body.get("kind") not in RECORDS:
            super().store(body=body, patch=patch, essence=essence)


class Progress(kopf.AnnotationsProgressStorage):
    """Kopf's annotations with how far an object's handlers are; nothing where they came to their end in one run."""

    def purge(self, *, key: kopf.HandlerId, body: kopf.Body, patch: kopf.Patch) -> None:
        """Forget a handler's progress; and if nothing else is to be written, the mark that kopf puts beside it."""
        super().purge(key=key, body=body, patch=patch)
        if list(patch) == ["metadata"] and patch["metadata"] == {"annotations": {f"{self.prefix}/kopf-managed": "yes"}}:
            del patch["metadata"]
