"""The work queue of one kind: which objects are not finished, and when each of them is reconciled.

A watch event registers an object and adds it. A reconcile returns the seconds until it is due again, or None. Each
object has at most one task, so it is never reconciled twice at once; what is added meanwhile makes one more run. An
error is retried with backoff for as long as the object is registered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, Protocol, TypeVar

from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.identifiers import NamespacedName, Ref
from gateway_operator.domain.model.resources import Meta
from gateway_operator.ports import ClusterError
from gateway_operator.reconcile.status_writer import object_log

_LONGEST_BACKOFF: Final = 15.0


class Resource(Protocol):
    """A parsed object of ours."""

    @property
    def meta(self) -> Meta:
        """Its metadata."""
        ...


T = TypeVar("T", bound=Resource)


def namespaced_name(ref: Ref) -> NamespacedName:
    """The key of an object. Two objects of one name, one after the other, are never reconciled at once either."""
    return NamespacedName(ref.namespace, ref.name)


class WorkQueue(Generic[T]):
    """``delay``: seconds from an event to the reconcile. Events within them make one run."""

    def __init__(self, reconcile: Callable[[T], Awaitable[float | None]], delay: float = 0.0) -> None:
        self._reconcile = reconcile
        self._delay = delay
        self._registered: dict[NamespacedName, T] = {}
        self._timers: dict[NamespacedName, asyncio.TimerHandle] = {}
        self._running: dict[NamespacedName, asyncio.Task[None]] = {}
        self._added_meanwhile: set[NamespacedName] = set()
        self._failures: dict[NamespacedName, int] = {}

    def observe(self, item: T, *, finished: bool) -> None:
        """Take a watch event. An event that changes nothing but the status or labels adds nothing: our own status
        writes come back as events, and an unfinished object is due again anyway."""
        if finished:
            self.forget(namespaced_name(item.meta.ref))
        elif self.register(item):
            self.add(namespaced_name(item.meta.ref))

    def register(self, item: T) -> bool:
        """Remember an unfinished object. True if it is new, its spec has changed, or its deletion has begun."""
        key = namespaced_name(item.meta.ref)
        previous = self._registered.get(key)
        self._registered[key] = item
        return previous is None or _version(previous.meta) != _version(item.meta)

    def is_registered(self, ref: Ref) -> bool:
        """Whether this very object is registered, and not another of its name."""
        item = self._registered.get(namespaced_name(ref))
        return item is not None and item.meta.ref.uid == ref.uid

    def forget(self, key: NamespacedName) -> None:
        """Stop reconciling an object that is finished or deleted. A run in progress ends by itself."""
        self._registered.pop(key, None)
        self._failures.pop(key, None)
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def add(self, key: NamespacedName, after: float | None = None) -> None:
        """Reconcile a registered object after that many seconds, or earlier if it is due earlier."""
        if key not in self._registered:
            return
        if key in self._running:
            self._added_meanwhile.add(key)
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + (self._delay if after is None else after)
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= due:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(due, self._start, key)

    def add_all(self) -> None:
        """Reconcile all registered objects, for changes that no watch event tells of."""
        for key in list(self._registered):
            self.add(key)

    async def stop(self) -> None:
        """Cancel what is running and due."""
        for key in list(self._registered):
            self.forget(key)
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, key: NamespacedName) -> None:
        del self._timers[key]
        self._running[key] = asyncio.create_task(self._run(key), name=f"reconcile {key.namespace}/{key.name}")

    async def _run(self, key: NamespacedName) -> None:
        after: float | None = None
        item = self._registered[key]
        try:
            after = await self._reconcile(item)
            self._failures.pop(key, None)
        except ClusterError as error:  # a conflict, too: the next run decides again
            after = self._backoff(key, item)
            object_log(item.meta.ref).warning("retry in %.1f s: %s", after, error)
        except Exception:  # a defect must not end the reconciles of this object
            after = self._backoff(key, item)
            object_log(item.meta.ref).exception("retry in %.1f s after an unexpected error", after)
        finally:
            del self._running[key]
        if key in self._added_meanwhile:
            self._added_meanwhile.discard(key)
            self.add(key)
        if after is not None:
            self.add(key, after)

    def _backoff(self, key: NamespacedName, item: T) -> float:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return min(_LONGEST_BACKOFF, timestamps.backoff(failures, item.meta.ref.uid))


def _version(meta: Meta) -> tuple[str, int, bool]:
    """What a reconcile depends on. The API server increases the generation with each change of the spec."""
    return meta.ref.uid, meta.generation, meta.deleting_since is not None
