"""Sends notifications about watched objects, in one task for each receiver.

A watch handler calls ``observe``, which only stores the unsent notifications of the object: a reconcile never waits
for a receiver. A task sends them and then records the delivery in the object's status. After a crash between the two,
one message is repeated, with the same id. The other order could lose a message.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.resources import Meta
from gateway_operator.domain.notifications.delivery import (
    DeliveryResult,
    ReceiverState,
    after_request,
    is_expired,
    next_plan,
)
from gateway_operator.domain.notifications.notification import Notification, Topic
from gateway_operator.domain.notifications.sources import Resource, record_key, unsent
from gateway_operator.domain.notifications.text import json_body, slack_body
from gateway_operator.ports import ClusterError, ConflictError, Ports
from gateway_operator.ports.notifications import RECEIVERS, SLACK, NotificationCounts, Webhooks

MAX_OBJECTS: Final = 1000
"""Objects with unsent notifications for one receiver. Those of further objects are dropped."""
BATCH_SECONDS: Final = 1.0
"""Seconds from a change to the message, so that changes at the same time become one message."""
_RETRY_SECONDS: Final = 5.0
_IDLE_SECONDS: Final = 60.0
_log: Final = logging.getLogger("gateway_operator.notifications")


class NoCounts:
    """Counts nothing, where there is no metrics registry."""

    def count(self, result: str) -> None:
        """Ignore the result of a notification."""


class Notifier:
    """Sends the notifications of all watched objects to all receivers, while ``is_leader``.

    A replica that is not the leader stores the notifications and sends nothing, so that it can continue at once.
    """

    def __init__(
        self,
        ports: Ports,
        webhooks: Webhooks,
        *,
        topics: Iterable[Topic] = (),
        cluster_name: str = "",
        is_leader: Callable[[], bool] = lambda: True,
        counts: NotificationCounts | None = None,
    ) -> None:
        shared = (ports, webhooks, frozenset(topics) or frozenset(Topic), cluster_name, is_leader, counts or NoCounts())
        self._receivers = [_Receiver(name, *shared) for name in RECEIVERS]
        self._tasks: list[asyncio.Task[None]] = []

    def observe(self, resource: Resource, *, deleted: bool = False) -> None:
        """Store the unsent notifications of an object. It does not block and never raises."""
        for receiver in self._receivers:
            try:
                receiver.observe(resource, deleted=deleted)
            except Exception:  # a watch handler must not fail because of a notification
                _log.exception("The notifications of %s cannot be determined.", resource.meta.ref.name)

    def start(self) -> None:
        """Start one task for each receiver."""
        self._tasks = [asyncio.create_task(one.run(), name=f"notify {one.name}") for one in self._receivers]

    async def stop(self) -> None:
        """Cancel the tasks. Notifications that are not recorded as sent are sent after the next start."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task


class _Receiver:
    """The unsent notifications for one receiver, and the task that sends them. No receiver waits for another one."""

    def __init__(
        self,
        name: str,
        ports: Ports,
        webhooks: Webhooks,
        topics: frozenset[Topic],
        cluster_name: str,
        is_leader: Callable[[], bool],
        counts: NotificationCounts,
    ) -> None:
        self.name = name
        self._ports, self._webhooks, self._topics = ports, webhooks, topics
        self._cluster_name, self._is_leader, self._counts = cluster_name, is_leader, counts
        self._pending: dict[str, tuple[Notification, ...]] = {}
        """By the uid of the object."""
        self._state = ReceiverState(name)
        self._changed = asyncio.Event()
        self._dropped = False

    def observe(self, resource: Resource, *, deleted: bool) -> None:
        uid, now = resource.meta.ref.uid, self._ports.clock.now()
        current = () if deleted else unsent(resource, self.name, self._topics)
        items = tuple(one for one in current if not is_expired(one, now))
        if not items:
            self._pending.pop(uid, None)
            return
        if uid not in self._pending and len(self._pending) >= MAX_OBJECTS:
            self._drop(len(items))
            return
        if self._pending.get(uid) != items:
            self._pending[uid] = items
            self._changed.set()

    def _drop(self, number: int) -> None:
        """The statuses do not record dropped notifications as sent, so a restart of the operator sends them again."""
        self._count("dropped", number)
        if not self._dropped:
            _log.warning("Notifications for the receiver %s are dropped: %d objects wait.", self.name, MAX_OBJECTS)
        self._dropped = True

    async def run(self) -> None:
        """Send until the task is cancelled."""
        while True:
            try:
                wait = await self.step()
            except Exception:  # a defect must not end the notifications
                _log.exception("The notifications for the receiver %s failed with an unexpected error.", self.name)
                wait = _IDLE_SECONDS
            await self._sleep(wait)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
            await asyncio.sleep(BATCH_SECONDS)
        except TimeoutError:
            pass
        self._changed.clear()

    async def step(self) -> float:
        """Send what is due, and record it. Returns the seconds until the next step."""
        if not self._is_leader():
            # Another replica may send meanwhile, so what this one has sent proves nothing later.
            self._state.sent.clear()
            return _RETRY_SECONDS
        if not self._pending or not self._webhooks.is_configured(self.name):
            return _IDLE_SECONDS
        now = self._ports.clock.now()
        plan = next_plan((one for items in self._pending.values() for one in items), self._state, now)
        recorded = await self._record(plan.to_record)
        # Once more immediately before the request: the process may have been frozen meanwhile.
        if plan.to_send and self._is_leader():
            result = await self._send(plan.to_send)
            given_up = after_request(self._state, plan.to_send, result, self._ports.clock.now())
            self._report(result, len(plan.to_send), given_up)
            if not result.accepted:
                # Requeue: the receiver may accept it later. `next_plan` applies the backoff.
                return _RETRY_SECONDS
            recorded &= await self._record(one for group in plan.to_send for one in group)
        self._forget_expired()
        return plan.wait if recorded else min(plan.wait, _RETRY_SECONDS)

    async def _send(self, groups: Sequence[Sequence[Notification]]) -> DeliveryResult:
        items, body = [group[0] for group in groups], slack_body if self.name == SLACK else json_body
        return await self._webhooks.send(self.name, body(items, self._cluster_name))

    def _report(self, result: DeliveryResult, number: int, given_up: bool) -> None:
        if result.accepted:
            self._count("sent", number)
            _log.info("%d notifications were sent to the receiver %s.", number, self.name)
            return
        if given_up:
            self._count("dropped", number)
        else:
            self._count("failed", 1)
        ending = "given up" if given_up else "retried"
        _log.warning("A request to the receiver %s failed and is %s: %s", self.name, ending, result.detail)

    def _count(self, result: str, number: int) -> None:
        for _ in range(number):
            self._counts.count(result)

    async def _record(self, items: Iterable[Notification]) -> bool:
        """Record notifications as sent, with one write for each object. True if every write succeeded."""
        by_object: dict[Ref, list[Notification]] = defaultdict(list)
        for one in items:
            by_object[one.ref].append(one)
        complete = True
        for ref, sent in by_object.items():
            try:
                await self._write(ref, {record_key(self.name, one.topic): one.mark or None for one in sent})
            except ClusterError as error:
                # They stay: the next step reads the object again, records them, and does not send them again.
                level = logging.DEBUG if isinstance(error, ConflictError) else logging.WARNING
                _log.log(level, "The delivery for %s cannot be recorded and is retried: %s", ref.name, error)
                complete = False
                continue
            left = tuple(one for one in self._pending.get(ref.uid, ()) if one not in sent)
            if left:
                self._pending[ref.uid] = left
            else:
                self._pending.pop(ref.uid, None)
        return complete

    async def _write(self, ref: Ref, record: dict[str, str | None]) -> None:
        """Merge the record into the status. ClusterError if it cannot be written; a deleted object needs no record."""
        body = await self._ports.cluster.read(ref)
        if body is None:
            return
        recorded: Any = (body.get("status") or {}).get("notified") or {}
        if any(recorded.get(key) != value for key, value in record.items()):
            await self._ports.cluster.write_status(Meta.parse(body, ref.kind), {"notified": record})

    def _forget_expired(self) -> None:
        now = self._ports.clock.now()
        for uid, items in list(self._pending.items()):
            if all(is_expired(one, now) for one in items):
                del self._pending[uid]
        if len(self._pending) < MAX_OBJECTS:
            self._dropped = False
