"""The work queue of one kind: holds the unfinished objects and the time at which each is reconciled next.

A watch event registers an object and adds it to the queue. A reconcile returns the seconds until the object is due
again, or None. Each object has at most one task, so it is never reconciled twice at the same time. An add during a run
causes one more run. After an error the object is requeued with backoff while it is registered.

A paused queue only registers objects. So a replica that does not lead knows all of them when it begins to lead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final, Generic, Protocol, TypeVar

from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.identifiers import NamespacedName, Ref
from gateway_operator.domain.model.resources import Json, Meta
from gateway_operator.leadership import NotLeaderError
from gateway_operator.ports import ClusterError
from gateway_operator.ports.metrics import ReconcileMetrics
from gateway_operator.reconcile.status_writer import object_log

_LONGEST_BACKOFF: Final = 15.0


class Resource(Protocol):
    """A parsed custom resource of this operator."""

    @property
    def meta(self) -> Meta: ...


T = TypeVar("T", bound=Resource)
RecordError = Callable[[Ref, Exception], Awaitable[float | None]]


def namespaced_name(ref: Ref) -> NamespacedName:
    """The queue's key. It has no uid: a new object of the same name waits until the run for the old one has ended."""
    return NamespacedName(ref.namespace, ref.name)


class WorkQueue(Generic[T]):
    """``delay`` is the time in seconds from an event to the reconcile. All events within it cause one run.

    ``record_error`` writes the status of an object whose reconcile ended with an exception. It returns the seconds
    until the next run, or None for the queue's own backoff. ``metrics`` counts the reconciles under ``kind``. A new
    queue is paused until ``resume``.
    """

    def __init__(
        self,
        reconcile: Callable[[T], Awaitable[float | None]],
        delay: float = 0.0,
        record_error: RecordError | None = None,
        metrics: ReconcileMetrics | None = None,
        kind: str = "",
    ) -> None:
        self._reconcile = reconcile
        self._delay = delay
        self._record_error = record_error
        self._metrics = metrics
        self._kind = kind
        self._registered: dict[NamespacedName, T] = {}
        self._timers: dict[NamespacedName, asyncio.TimerHandle] = {}
        self._running: dict[NamespacedName, asyncio.Task[None]] = {}
        self._added_meanwhile: set[NamespacedName] = set()
        self._failures: dict[NamespacedName, int] = {}
        self._paused = True

    def observe(self, item: T, *, finished: bool) -> None:
        """Handle a watch event. An event that changes only the status or labels adds nothing.

        The operator's own status writes come back as such events, and an unfinished object is due again anyway.
        """
        if finished:
            self.forget(namespaced_name(item.meta.ref))
        elif self.register(item):
            self.add(namespaced_name(item.meta.ref))

    def register(self, item: T) -> bool:
        """Store an unfinished object. True if it is new, its spec or annotations changed, or its deletion has begun."""
        key = namespaced_name(item.meta.ref)
        previous = self._registered.get(key)
        self._registered[key] = item
        return previous is None or _version(previous.meta) != _version(item.meta)

    def is_registered(self, ref: Ref) -> bool:
        """Whether the object with this uid is registered, and not another one of the same name."""
        item = self._registered.get(namespaced_name(ref))
        return item is not None and item.meta.ref.uid == ref.uid

    @property
    def items(self) -> list[T]:
        """The registered objects, as the watch has last shown them."""
        return list(self._registered.values())

    def uids(self, namespace: str) -> set[str]:
        """The uids of the registered objects in a namespace; of all if it is empty."""
        return {one.meta.ref.uid for one in self.items if namespace in ("", one.meta.ref.namespace)}

    def drop(self, uid: str) -> None:
        """Stop reconciling the object with this uid, because it no longer exists."""
        for key in [key for key, item in self._registered.items() if item.meta.ref.uid == uid]:
            self.forget(key)

    @property
    def depth(self) -> int:
        """The number of objects that are due or whose reconcile is running. Those that wait for a time do not count."""
        now = asyncio.get_running_loop().time()
        return len(self._running) + sum(timer.when() <= now for timer in self._timers.values())

    def forget(self, key: NamespacedName) -> None:
        """Stop reconciling an object that is finished or deleted. A run in progress is not cancelled."""
        self._registered.pop(key, None)
        self._failures.pop(key, None)
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def add(self, key: NamespacedName, after: float | None = None) -> None:
        """Reconcile a registered object in ``after`` seconds, or earlier if it is due earlier. None: ``delay``.

        A paused queue does nothing: ``resume`` adds all objects.
        """
        if self._paused or key not in self._registered:
            return
        if key in self._running:
            # The running reconcile may have read the object before this change: one more run follows.
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
        """Reconcile all registered objects, for changes that cause no watch event."""
        for key in list(self._registered):
            self.add(key)

    def resume(self) -> None:
        """Begin to reconcile: all registered objects now, and later those that are added."""
        self._paused = False
        self.add_all()

    async def pause(self) -> None:
        """Cancel all running reconciles and timers, and wait until they have ended. The objects stay registered."""
        self._paused = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._failures.clear()
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._running.clear()  # a task that was cancelled before its first step could not remove itself
        self._added_meanwhile.clear()

    def _start(self, key: NamespacedName) -> None:
        del self._timers[key]
        self._running[key] = asyncio.create_task(self._run(key), name=f"reconcile {key.namespace}/{key.name}")

    async def _run(self, key: NamespacedName) -> None:
        after: float | None = None
        item = self._registered.get(key)
        if item is None:  # forgotten between `_start` and this first step
            del self._running[key]
            return
        began, failed = monotonic(), True
        try:
            after = await self._reconcile(item)
            failed = False
            self._failures.pop(key, None)
        except asyncio.CancelledError:
            failed = False  # the operator stops
            raise
        except NotLeaderError:
            failed = False
            # The queue is about to be paused. The leader reconciles the object, and `resume` adds it here.
            object_log(item.meta.ref).info("The reconcile was stopped, because this replica no longer leads.")
        except ClusterError as error:
            # The API server may answer again, and after a conflict the next run decides again: requeue with backoff.
            after = self._backoff(key, item)
            object_log(item.meta.ref).warning("The reconcile failed and is retried in %.1f s: %s", after, error)
            after = await self._record(item, error, after)
        except Exception as error:
            # A defect must not end the reconciles of this object, because no event may follow: requeue with backoff.
            after = self._backoff(key, item)
            object_log(item.meta.ref).exception(
                "The reconcile failed with an unexpected error and is retried in %.1f s.", after
            )
            after = await self._record(item, error, after)
        finally:
            del self._running[key]
            if self._metrics is not None:
                self._metrics.observe_reconcile(self._kind, monotonic() - began, failed=failed)
        if key in self._added_meanwhile:
            # Requeue: an event came during the run, and the run may have read the object before the change.
            self._added_meanwhile.discard(key)
            self.add(key)
        if after is not None:
            # Requeue as the reconcile requested. If the object is due earlier already, `add` keeps the earlier time.
            self.add(key, after)

    async def _record(self, item: T, error: Exception, backoff: float) -> float:
        """Write the object's status. It judges the deadline, which the failed run could not do."""
        if self._record_error is None:
            return backoff
        try:
            seconds = await self._record_error(item.meta.ref, error)
        except Exception as second:  # the object stays registered: the next run tries again
            object_log(item.meta.ref).warning("The status cannot be written: %s", second)
            return backoff
        return backoff if seconds is None else max(seconds, backoff)

    def _backoff(self, key: NamespacedName, item: T) -> float:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return min(_LONGEST_BACKOFF, timestamps.backoff(failures, item.meta.ref.uid))


def _version(meta: Meta) -> tuple[str, int, bool, Json]:
    """The parts of an object whose change needs a reconcile. The generation increases with each change of the spec.

    An annotation can be an approval. The operator itself writes none on its objects.
    """
    return meta.ref.uid, meta.generation, meta.deleting_since is not None, meta.annotations
