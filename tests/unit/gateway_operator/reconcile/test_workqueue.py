"""The work queue: one run for many events, never two runs of an object at once, requeues and retries."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from gateway_operator.domain.model.identifiers import NamespacedName, Ref
from gateway_operator.domain.model.resources import Backup
from gateway_operator.leadership import NotLeaderError
from gateway_operator.ports import ConflictError
from gateway_operator.reconcile import workqueue
from gateway_operator.reconcile.watch_check import PATIENCE, WatchCheck
from gateway_operator.reconcile.workqueue import WorkQueue, namespaced_name

PAUSE = 0.02
KEY = NamespacedName("prod", "b")


def backup(name: str = "b", uid: str = "u", generation: int = 1, **meta: Any) -> Backup:
    metadata = {"namespace": "prod", "name": name, "uid": uid, "generation": generation, **meta}
    return Backup.parse({"metadata": metadata, "spec": {"gatewayRef": {"name": "gw"}}})


class Runs:
    """A reconcile that counts its runs, and may wait, fail or ask for another run."""

    def __init__(self) -> None:
        self.items: list[Backup] = []
        self.at_once = 0
        self.most_at_once = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.result: Callable[[], float | None] = lambda: None

    async def __call__(self, item: Backup) -> float | None:
        self.items.append(item)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.gate.wait()
            return self.result()
        finally:
            self.at_once -= 1


def started_queue(runs: Runs) -> WorkQueue[Backup]:
    """A queue of the leader."""
    queue = WorkQueue(runs)
    queue.resume()
    return queue


async def test_only_registered_objects_are_reconciled() -> None:
    runs = Runs()
    queue = started_queue(runs)
    queue.add(KEY)
    await asyncio.sleep(PAUSE)
    assert runs.items == []
    queue.observe(backup(), finished=False)
    await asyncio.sleep(PAUSE)
    assert len(runs.items) == 1
    queue.observe(backup(), finished=True)
    queue.add(KEY)
    queue.add_all()
    await asyncio.sleep(PAUSE)
    assert len(runs.items) == 1


async def test_many_events_make_one_run_and_many_during_a_run_make_one_more() -> None:
    runs = Runs()
    queue = started_queue(runs)
    runs.gate.clear()
    queue.register(backup())
    for _ in range(100):
        queue.add(KEY)
    await asyncio.sleep(PAUSE)
    assert len(runs.items) == 1
    for _ in range(100):
        queue.add(KEY)
    await asyncio.sleep(PAUSE)
    assert len(runs.items) == 1
    runs.gate.set()
    await asyncio.sleep(PAUSE)
    assert len(runs.items) == 2
    assert runs.most_at_once == 1


async def test_changes_of_spec_and_annotations_are_queued_but_not_of_status() -> None:
    runs = Runs()
    queue = started_queue(runs)
    for item in (backup(), backup(resourceVersion="2"), backup(resourceVersion="3", labels={"a": "b"})):
        queue.observe(item, finished=False)
        await asyncio.sleep(PAUSE)
    assert len(runs.items) == 1
    queue.observe(backup(generation=2), finished=False)
    await asyncio.sleep(PAUSE)
    assert len(runs.items) == 2
    approved: dict[str, Any] = {"annotations": {"mcpgateway.dev/approved-by": "ann"}}
    for version in "23":
        queue.observe(backup(generation=2, resourceVersion=version, **approved), finished=False)
        await asyncio.sleep(PAUSE)
    assert len(runs.items) == 3
    deleted = backup(generation=2, deletionTimestamp="2026-01-01T00:00:00Z", **approved)
    queue.observe(deleted, finished=False)
    await asyncio.sleep(PAUSE)
    assert len(runs.items) == 4


async def test_object_that_becomes_unfinished_later_is_reconciled() -> None:
    """This happens if an older state of etcd was restored."""
    runs = Runs()
    queue = started_queue(runs)
    for finished in (False, True, False):
        queue.observe(backup(), finished=finished)
        await asyncio.sleep(PAUSE)
    assert len(runs.items) == 2


async def test_requeued_object_runs_when_due_or_at_an_earlier_event() -> None:
    runs = Runs()
    queue = started_queue(runs)
    runs.result = lambda: PAUSE if len(runs.items) == 1 else 3600
    queue.observe(backup(), finished=False)
    await asyncio.sleep(3 * PAUSE)
    assert len(runs.items) == 2
    queue.add(KEY, 1800)
    queue.add(KEY, 7200)
    queue.add(KEY)
    await asyncio.sleep(PAUSE)
    assert len(runs.items) == 3
    await queue.pause()


@pytest.mark.parametrize("error", [ConflictError("newer"), ValueError("a defect")])
async def test_an_error_is_retried_until_it_succeeds(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workqueue, "_LONGEST_BACKOFF", 0.001)
    runs = Runs()

    def fail() -> None:
        if len(runs.items) < 4:
            raise error

    runs.result = fail
    queue = started_queue(runs)
    with caplog.at_level(logging.WARNING):
        queue.observe(backup(), finished=False)
        await asyncio.sleep(5 * PAUSE)
    assert len(runs.items) == 4
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["GatewayBackup prod/b"] * 3
    assert all(record.__dict__["object"]["uid"] == "u" for record in caplog.records)


async def test_new_object_waits_for_the_run_of_the_old_one_of_its_name() -> None:
    runs = Runs()
    queue = started_queue(runs)
    runs.gate.clear()
    queue.observe(backup(uid="old"), finished=False)
    await asyncio.sleep(PAUSE)
    queue.observe(backup(uid="old"), finished=True)
    queue.observe(backup(uid="new"), finished=False)
    await asyncio.sleep(PAUSE)
    assert [item.meta.ref.uid for item in runs.items] == ["old"]
    runs.gate.set()
    await asyncio.sleep(PAUSE)
    assert [item.meta.ref.uid for item in runs.items] == ["old", "new"]
    assert runs.most_at_once == 1


async def test_pause_cancels_what_runs_and_resume_adds_all_again() -> None:
    runs = Runs()
    queue = started_queue(runs)
    runs.gate.clear()
    queue.observe(backup(), finished=False)
    queue.register(backup("c"))
    queue.add(NamespacedName("prod", "c"), 3600)
    await asyncio.sleep(PAUSE)
    queue.observe(backup("d"), finished=False)
    # The task of d has not begun its first step.
    queue._start(NamespacedName("prod", "d"))
    await queue.pause()
    assert runs.at_once == 0
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("reconcile")]
    runs.gate.set()
    queue.observe(backup("e"), finished=False)
    queue.observe(backup("c"), finished=True)
    await asyncio.sleep(PAUSE)
    assert [item.meta.ref.name for item in runs.items] == ["b"]
    queue.resume()
    await asyncio.sleep(PAUSE)
    assert [item.meta.ref.name for item in runs.items] == ["b", "b", "d", "e"]


async def test_object_that_is_forgotten_before_its_first_step_can_return() -> None:
    runs = Runs()
    queue = started_queue(runs)
    queue.observe(backup(), finished=False)
    queue._timers[KEY].cancel()
    queue._start(KEY)
    queue.forget(KEY)
    await asyncio.sleep(PAUSE)
    assert (runs.items, queue.depth) == ([], 0)
    queue.observe(backup(uid="new"), finished=False)
    await asyncio.sleep(PAUSE)
    assert [item.meta.ref.uid for item in runs.items] == ["new"]


async def test_queue_of_a_replica_that_never_led_reconciles_nothing() -> None:
    runs = Runs()
    queue = WorkQueue(runs)
    queue.observe(backup(), finished=False)
    queue.add_all()
    await asyncio.sleep(PAUSE)
    assert runs.items == []
    assert queue.is_registered(backup().meta.ref)


async def test_run_that_lost_the_leadership_is_not_recorded_as_an_error() -> None:
    runs, recorded = Runs(), []

    def lose() -> None:
        raise NotLeaderError("not the leader")

    async def record(ref: Ref, error: Exception) -> float | None:
        recorded.append(error)
        return None

    runs.result = lose
    queue = WorkQueue(runs, record_error=record)
    queue.resume()
    queue.observe(backup(), finished=False)
    await asyncio.sleep(PAUSE)
    assert (len(runs.items), recorded) == (1, [])


def refs(*uids: str) -> list[Ref]:
    return [Ref("GatewayBackup", "prod", "b", uid) for uid in uids]


async def test_unregistered_object_is_reported_after_the_patience() -> None:
    queue = WorkQueue(Runs())
    check = WatchCheck({"GatewayBackup": queue})
    queue.register(backup(uid="here"))
    check.compare(refs("here", "lost"), 1000)
    assert check.missed == []
    check.compare(refs("here", "lost"), 1000 + PATIENCE)
    assert check.missed == refs("lost")
    queue.register(backup(uid="lost"))
    check.compare(refs("lost"), 1000 + 2 * PATIENCE)
    assert check.missed == []


async def test_object_finished_between_list_and_comparison_is_not_reported() -> None:
    queue = WorkQueue(Runs())
    check = WatchCheck({"GatewayBackup": queue})
    for second in range(10):
        check.compare(refs(f"{second}"), second * PATIENCE)
        assert check.missed == []
    assert namespaced_name(refs("x")[0]) == KEY
