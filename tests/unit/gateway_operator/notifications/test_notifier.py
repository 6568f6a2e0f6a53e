"""The notifier over simulated ports: crashes, restarts, a standby, and receivers and an API server that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.notifications.delivery import MAX_REFUSALS, DeliveryResult
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import ClusterError
from gateway_operator.ports.notifications import SLACK, WEBHOOK
from gateway_operator.reconcile.notifications import notifier as notifier_module
from gateway_operator.reconcile.notifications.notifier import MAX_OBJECTS, Notifier
from tests.unit.gateway_operator.notifications.objects import NOW, condition
from tests.unit.gateway_operator.simulation.fake_cluster import NAMESPACE
from tests.unit.gateway_operator.simulation.faults import CrashError, Faults, World


class Receivers:
    """The port Webhooks in memory. ``answers`` are the next results; then every request is accepted."""

    def __init__(self, *names: str) -> None:
        self.names = names or (WEBHOOK,)
        self.requests: list[tuple[str, Mapping[str, Any]]] = []
        self.answers: list[DeliveryResult] = []
        self.send_with_faults: Any = self.accept

    def is_configured(self, receiver: str) -> bool:
        return receiver in self.names

    async def send(self, receiver: str, body: Mapping[str, Any]) -> DeliveryResult:
        result: DeliveryResult = await self.send_with_faults(receiver, body)
        return result

    async def accept(self, receiver: str, body: Mapping[str, Any]) -> DeliveryResult:
        self.requests.append((receiver, body))
        return self.answers.pop(0) if self.answers else DeliveryResult(True)

    @property
    def entries(self) -> list[Mapping[str, Any]]:
        """The notifications of all requests to the generic webhook."""
        return [one for name, body in self.requests if name == WEBHOOK for one in body["notifications"]]


class NotifierWorld(World):
    """Simulated ports with failed backups, and a notifier whose process may crash."""

    def __init__(self, faults: Faults | None = None, *names: str) -> None:
        super().__init__(faults)
        self.clock.time = NOW
        self.receivers = Receivers(*names)
        self.counts: dict[str, int] = {}
        self.is_leader = True

    def count(self, result: str) -> None:
        self.counts[result] = self.counts.get(result, 0) + 1

    def fail_backup(self, name: str, age: timedelta = timedelta()) -> Ref:
        ref = self.cluster.add("GatewayBackup", name, {})
        ended = timestamps.text(self.clock.now() - age)
        status = {"phase": "Failed", "reason": "Unreachable", "message": "No answer.", "completionTime": ended}
        self.cluster.objects["GatewayBackup", name]["status"] = status
        return ref

    def schedule(self, **status: Any) -> Ref:
        ref = self.cluster.add("GatewayBackupSchedule", "nightly", {"schedule": "@daily"})
        self.cluster.objects["GatewayBackupSchedule", "nightly"]["status"] = status
        return ref

    def start(self) -> Notifier:
        """A new process: it watches all objects, as after a restart."""
        self.receivers.send_with_faults = self.faults.wrap(self.receivers, False).accept
        notifier = Notifier(self.ports, self.receivers, is_leader=lambda: self.is_leader, counts=self)
        self.watch(notifier)
        return notifier

    def watch(self, notifier: Notifier) -> None:
        """Deliver the current version of each object, as a watch does."""
        for (kind, _), body in self.cluster.objects.items():
            parse: Callable[[Any], Any] = Backup.parse if kind == "GatewayBackup" else GatewayBackupSchedule.parse
            notifier.observe(parse(body))

    async def settle(self, notifier: Notifier, steps: int = 6) -> None:
        """Run the steps of each receiver as its task does, with the time that they wait."""
        for _ in range(steps):
            waits = [await receiver.step() for receiver in notifier._receivers]
            self.watch(notifier)
            self.clock.advance(max(1.0, min(waits)))


def notified(world: World, name: str, kind: str = "GatewayBackup") -> Mapping[str, str]:
    record: Mapping[str, str] = world.cluster.objects[kind, name]["status"].get("notified") or {}
    return record


async def test_failed_backups_are_sent_together_and_recorded() -> None:
    world = NotifierWorld(None, SLACK, WEBHOOK)
    for name in ("a", "b"):
        world.fail_backup(name)
    await world.settle(world.start())
    assert [name for name, _ in world.receivers.requests] == [SLACK, WEBHOOK]
    assert [one["name"] for one in world.receivers.entries] == ["a", "b"]
    assert set(notified(world, "a")) == {"slack.BackupFailed", "webhook.BackupFailed"}
    assert world.counts == {"sent": 4}


async def test_restart_repeats_nothing_and_sends_the_rest() -> None:
    world = NotifierWorld()
    world.fail_backup("before")
    world.fail_backup("old", timedelta(days=2))
    await world.settle(world.start())
    world.fail_backup("during-the-downtime")
    await world.settle(world.start())
    assert [one["name"] for one in world.receivers.entries] == ["before", "during-the-downtime"]


def test_crash_at_any_call_loses_nothing_and_repeats_at_most_one_request() -> None:
    """A repeated notification has the same id, so that a receiver can ignore it."""

    async def run(faults: Faults) -> NotifierWorld:
        world = NotifierWorld(faults)
        world.fail_backup("a")
        world.schedule(conditions=[condition("RetentionApplied", False, "LargeDeletion")])
        for _ in range(3):
            try:
                await world.settle(world.start(), steps=3)
            except CrashError:
                continue
        return world

    calls = asyncio.run(run(Faults())).faults.calls
    assert calls >= 5
    for number in range(1, calls + 1):
        for faults in (Faults(crash_before={number}), Faults(crash_after={number})):
            world = asyncio.run(run(faults))
            assert {one["name"] for one in world.receivers.entries} == {"a", "nightly"}
            assert len({one["id"] for one in world.receivers.entries}) == 2
            assert len(world.receivers.requests) <= 2
            assert notified(world, "a")
            assert notified(world, "nightly", "GatewayBackupSchedule")


async def test_standby_sends_nothing_and_continues_at_once() -> None:
    world = NotifierWorld()
    world.is_leader = False
    standby = world.start()
    world.fail_backup("a")
    await world.settle(standby)
    assert world.receivers.requests == []
    world.is_leader = True
    await world.settle(standby, steps=1)
    assert [one["name"] for one in world.receivers.entries] == ["a"]


async def test_process_that_lost_the_leadership_during_a_step_sends_nothing() -> None:
    world = NotifierWorld()
    world.fail_backup("a")
    answers = iter([True, False])
    notifier = Notifier(world.ports, world.receivers, is_leader=lambda: next(answers))
    world.watch(notifier)
    await notifier._receivers[1].step()
    assert world.receivers.requests == []


async def test_resolution_is_sent_after_another_replica_reported_the_problem() -> None:
    world = NotifierWorld()
    held = [condition("RetentionApplied", False, "LargeDeletion")]
    world.schedule(conditions=held)
    first = world.start()
    await world.settle(first)
    status = world.cluster.objects["GatewayBackupSchedule", "nightly"]["status"]
    status["conditions"] = [condition("RetentionApplied", True, "Applied")]
    world.clock.advance(3600)
    await world.settle(first)
    # The other replica reports the next hold, and the first one leads again afterwards.
    world.is_leader = False
    await world.settle(first)
    status = world.cluster.objects["GatewayBackupSchedule", "nightly"]["status"]
    status |= {"notified": {"webhook.DeletionsHeld": "LargeDeletion"}}
    world.is_leader = True
    await world.settle(first)
    assert [one["state"] for one in world.receivers.entries] == ["firing", "resolved", "resolved"]
    assert notified(world, "nightly", "GatewayBackupSchedule") == {}


async def test_receiver_that_fails_stops_neither_the_other_nor_itself() -> None:
    world = NotifierWorld(None, SLACK, WEBHOOK)
    world.fail_backup("a")
    world.receivers.answers = [DeliveryResult(False, "It answered HTTP 500."), DeliveryResult(True)]
    notifier = world.start()
    await world.settle(notifier, steps=1)
    assert set(notified(world, "a")) == {"webhook.BackupFailed"}
    await world.settle(notifier)
    assert set(notified(world, "a")) == {"slack.BackupFailed", "webhook.BackupFailed"}
    assert world.counts == {"failed": 1, "sent": 2}


async def test_refused_content_is_dropped_and_recorded() -> None:
    world = NotifierWorld()
    world.fail_backup("a")
    world.receivers.answers = [DeliveryResult(False, content_refused=True)] * MAX_REFUSALS
    notifier = world.start()
    await world.settle(notifier, steps=60)
    assert world.counts == {"failed": MAX_REFUSALS - 1, "dropped": 1}
    assert notified(world, "a")


async def test_record_that_cannot_be_written_causes_no_second_message(monkeypatch: pytest.MonkeyPatch) -> None:
    world = NotifierWorld()
    world.fail_backup("a")
    write, failures = world.cluster.write_status, iter([True] * 4)

    async def failing(meta: Any, status: Any) -> Any:
        if next(failures, False):
            raise ClusterError("503")
        return await write(meta, status)

    monkeypatch.setattr(world.cluster, "write_status", failing)
    notifier = world.start()
    (_, receiver) = notifier._receivers
    assert await receiver.step() <= 5, "the record is retried soon"
    await world.settle(notifier, steps=8)
    assert len(world.receivers.requests) == 1
    assert notified(world, "a")


async def test_newer_version_of_the_object_is_no_obstacle() -> None:
    def change() -> None:
        body = world.cluster.objects["GatewayBackup", "a"]
        body["metadata"]["resourceVersion"] = "newer"

    world = NotifierWorld(Faults(meanwhile={2: change}))
    world.fail_backup("a")
    await world.settle(world.start())
    assert world.faults.names[:5] == ["accept", "read", "write_status", "read", "write_status"]
    assert notified(world, "a")


async def test_deleted_object_is_forgotten() -> None:
    world = NotifierWorld()
    ref = world.fail_backup("a")
    world.receivers.answers = [DeliveryResult(False)]
    notifier = world.start()
    await world.settle(notifier, steps=1)
    notifier.observe(Backup.parse(world.cluster.objects.pop(("GatewayBackup", ref.name))), deleted=True)
    await world.settle(notifier)
    assert len(world.receivers.requests) == 1


async def test_memory_is_bounded_while_a_receiver_does_not_answer() -> None:
    world = NotifierWorld()
    world.receivers.answers = [DeliveryResult(False)] * 1000
    notifier = world.start()
    for index in range(MAX_OBJECTS + 5):
        world.fail_backup(f"b{index}")
        notifier.observe(Backup.parse(world.cluster.objects["GatewayBackup", f"b{index}"]))
    assert [len(one._pending) for one in notifier._receivers] == [MAX_OBJECTS] * 2
    assert world.counts == {"dropped": 10}
    # All of them expire, also while the receiver never answers.
    world.clock.advance(100_000)
    await notifier._receivers[1].step()
    assert not notifier._receivers[1]._pending


async def test_task_sends_soon_after_a_change_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier_module, "BATCH_SECONDS", 0.0)
    world = NotifierWorld()
    notifier = world.start()
    notifier.start()
    try:
        await asyncio.sleep(0)
        world.fail_backup("a")
        world.watch(notifier)
        async with asyncio.timeout(5):
            while not notified(world, "a"):
                await asyncio.sleep(0.01)
    finally:
        await notifier.stop()
    assert world.receivers.entries[0]["namespace"] == NAMESPACE
