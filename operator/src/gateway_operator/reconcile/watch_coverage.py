"""Compares what the watch has shown with the complete lists of the retention passes.

After a start the watch shows the objects one by one, and the metrics wait until it has shown all. Later it can miss a
deletion: kopf lists again after a watch has expired, and a list does not name what is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol


class WatchedRows(Protocol):
    """The objects of one kind that the watch has shown. An empty namespace means all namespaces."""

    def uids(self, namespace: str) -> set[str]: ...

    def drop(self, uid: str) -> None:
        """Drop an object that no longer exists."""
        ...


class WatchCoverage:
    """``watched`` has the rows of each kind; ``namespaces`` are those of the passes."""

    def __init__(self, watched: Mapping[str, WatchedRows], namespaces: Sequence[str]) -> None:
        self._watched = watched
        self._namespaces = tuple(namespaces) or ("",)
        self._not_shown: dict[str, dict[str, set[str]]] = {}
        self._not_listed: dict[str, dict[str, set[str]]] = {}
        self._complete = False

    def compare(self, namespace: str, listed: Mapping[str, Collection[str]]) -> None:
        """Compare a complete list: the uids of each kind in a namespace. A row that two lists lack is dropped.

        One list is not enough: an object may be created, and shown by the watch, after the list was made.
        """
        before = self._not_listed.get(namespace, {})
        self._not_listed[namespace], self._not_shown[namespace] = {}, {}
        for kind, rows in self._watched.items():
            shown, present = rows.uids(namespace), set(listed.get(kind, ()))
            absent = shown - present
            for uid in absent & before.get(kind, set()):
                rows.drop(uid)
            self._not_listed[namespace][kind] = absent
            self._not_shown[namespace][kind] = present - shown

    @property
    def complete(self) -> bool:
        """Whether the watch has shown all objects of the first list of each namespace. Never False again."""
        if not self._complete and all(one in self._not_shown for one in self._namespaces):
            self._complete = not any(
                uids - self._watched[kind].uids(namespace)
                for namespace, kinds in self._not_shown.items()
                for kind, uids in kinds.items()
            )
        return self._complete
