"""Property test of retention over made-up lives: no file goes that the policy of its set keeps.

A life is a sequence of events from a seed: backups of the schedule and of strangers, lost files, other volumes, deleted
objects, schedules that are created again, policies by mistake, approvals, crashes. A pass follows each event, and a
second implementation of the rules checks it. ``MADE_UP_LIVES=5000`` tries more seeds.
"""

from __future__ import annotations

import copy
import os
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any, Final

import pytest

from gateway_operator.reconcile.retention.controller import RetentionController
from tests.unit.gateway_operator.retention.world import RetentionWorld
from tests.unit.gateway_operator.simulation.fake_admin_api import VOLUME
from tests.unit.gateway_operator.simulation.faults import CrashError, log
from tests.unit.gateway_operator.simulation.retention_oracle import Before

pytestmark = pytest.mark.slow

SCHEDULE: Final = ("GatewayBackupSchedule", "nightly")
POLICIES: Final[list[dict[str, Any] | None]] = [
    {"keepLast": 2}, {"keepLast": 3}, {"keepLast": 8}, {"keepLast": 30}, {"keepLast": 1, "keepDaily": 3},
    {"keepHourly": 2, "keepWeekly": 1}, {"maxAge": "7d"}, {"maxAge": "2d", "minKeep": 3}, {"keepWithin": "2d"},
    {"keepLast": 2, "includeAdopted": True}, {"keepLast": 1, "dryRun": True}, {"keepMonthly": 2, "keepYearly": 1},
    {"keepLast": 2, "maxAge": "9d", "failed": {"keepLast": 1, "maxAge": "2d"}}, {}, None,
]  # fmt: skip


class MadeUpLife:
    """One gateway, its volumes and one schedule, with random events."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.world = RetentionWorld()
        self.world.schedule(retention=self.dice.choice(POLICIES))
        self.number = 0
        self.lost: dict[str, Any] = {}
        self.volumes: dict[str, dict[str, Any]] = {"w" * 32: {}}
        self.last_left: int | None = None
        self.left_on = VOLUME
        self.large_approved = False
        self.approved_loss: frozenset[str] | None = None
        self.loss: frozenset[str] | None = None
        self.controller = RetentionController(self.world.plain, [], log)

    def live(self, events: int) -> None:
        """Run that many events, with a pass after each."""
        self.backups_are_made()
        steps = [
            self.backups_are_made, self.backups_are_made, self.a_stranger_creates, self.files_vanish, self.files_return,
            self.a_file_is_changed, self.the_volume_is_swapped, self.objects_are_deleted, self.the_policy_changes,
            self.the_schedule_is_created_again, self.a_person_edits, self.a_person_approves, self.a_person_approves,
            self.the_operator_restarts, self.a_pass_crashes,
        ]  # fmt: skip
        for _ in range(events):
            self.dice.choice(steps)()
            self.world.clock.advance(self.dice.choice([70, 700, 3600, 86400, 5 * 86400]))
            self.check_pass()
            if self.dice.random() < 0.3:
                self.a_person_approves()
                self.check_pass()

    # Events.

    def backups_are_made(self) -> None:
        """By the schedule: some are pinned, suspicious, only Stored, or fail."""
        for _ in range(self.dice.randint(1, 6)):
            self.world.clock.advance(self.dice.choice([3600, 6 * 3600, 86400, 86400]))
            rare = self.dice.random
            name = self._add("nightly", origin="Schedule", pinned=rare() < 0.05, ttl="9d" if rare() < 0.1 else None)
            if rare() < 0.1:
                self._status(name)["verification"] = {"level": "Stored"}
            if rare() < 0.1:
                self._status(name)["conditions"] = [{"type": "Suspicious", "status": "True"}]
            if rare() < 0.1:
                self._status(name).update(phase="Failed")

    def a_stranger_creates(self) -> None:
        """A creator of GatewayBackups chooses the group, the labels, a ttl and a retention."""
        origin = self.dice.choice(["Manual", "Manual", "Adopted", None])
        for _ in range(self.dice.randint(1, 5)):
            spec = {"retention": {"keepLast": 1}, "ttl": self.dice.choice([None, "1d"]), "pinned": False}
            schedule = "nightly" if origin == "Adopted" and self.dice.random() < 0.5 else ""
            self._add(self.dice.choice(["nightly", "safety", "team"]), origin=origin, schedule=schedule, **spec)

    def files_vanish(self) -> None:
        """A few files or many: an older snapshot, a script, or all of them."""
        names = sorted(self._files()) if self.world.admin.volume == VOLUME else []
        few = self.dice.random() < 0.6
        for name in self.dice.sample(names, min(len(names), self.dice.randint(1, 2 if few else 20))):
            self.lost[name] = self._files().pop(name)

    def files_return(self) -> None:
        if self.world.admin.volume == VOLUME:
            self._files().update(self.lost)
            self.lost.clear()

    def a_file_is_changed(self) -> None:
        """A file of another backup replaces the file at a path."""
        names = sorted(self._files())
        if names:
            name = self.dice.choice(names)
            record, content = self._files().pop(name)
            self._files()[f"other-{name}"] = (record.model_copy(update={"backup_id": f"other-{name}"}), content)

    def the_volume_is_swapped(self) -> None:
        admin = self.world.admin
        self.volumes[admin.volume] = admin.backups
        admin.volume = "w" * 32 if admin.volume == VOLUME else VOLUME
        admin.backups = self.volumes.pop(admin.volume)

    def objects_are_deleted(self) -> None:
        """By a prune or by hand: the files stay."""
        names = sorted(self.world.names())
        for name in self.dice.sample(names, self.dice.randint(0, len(names))):
            del self.world.cluster.objects["GatewayBackup", name]

    def the_policy_changes(self) -> None:
        if SCHEDULE in self.world.cluster.objects:
            policy = self.dice.choice(POLICIES)
            self.world.edit("nightly", lambda body: body["spec"].update(retention=policy), SCHEDULE[0])
            self.world.cluster.objects[SCHEDULE]["metadata"]["generation"] += 1
            self._approvals_end()

    def the_schedule_is_created_again(self) -> None:
        self.world.cluster.objects.pop(SCHEDULE, None)
        if self.dice.random() < 0.8:
            self.world.schedule(retention=self.dice.choice(POLICIES))
        self._approvals_end()
        self.last_left = None

    def a_person_edits(self) -> None:
        for name in sorted(self.world.names()):
            if self.dice.random() < 0.3:
                new = {"pinned": self.dice.random() < 0.3, "ttl": self.dice.choice([None, None, "2d"])}
                self.world.edit(name, partial(_update_spec, new))

    def a_person_approves(self) -> None:
        """The approvals that the last pass has asked for."""
        schedule = self.world.cluster.objects.get(SCHEDULE) or {}
        asked = schedule.get("status", {}).get("retention", {}).get("approvals") or []
        if asked:
            self.world.approve()
            reasons = {one["reason"] for one in asked}
            self.large_approved = self.large_approved or "LargeDeletion" in reasons
            self.approved_loss = self.loss if "InventoryShrank" in reasons else None

    def the_operator_restarts(self) -> None:
        self.controller = RetentionController(self.world.plain, [], log)

    def a_pass_crashes(self) -> None:
        """The next pass ends after one of its calls, and a new operator finishes it."""
        self.world.faults.__init__(None, {self.dice.randint(1, 60)})  # type: ignore[misc]
        self.controller = RetentionController(self.world.ports, [], log)

    # The check.

    def check_pass(self) -> None:
        """Run a pass, and compare the deleted files with the second implementation of the rules."""
        before, files = self._before(), set(self._files())
        try:
            self.world.run_passes(controller=self.controller)
        except CrashError:
            self.the_operator_restarts()
            self.world.run_passes(controller=self.controller)
        deleted = files - set(self._files())
        before.check(deleted, large_approved=self.large_approved, loss_approved=self.approved_loss)
        conditions = (self.world.cluster.objects.get(SCHEDULE) or {}).get("status", {}).get("conditions") or []
        reason = next((one["reason"] for one in conditions if one["type"] == "RetentionApplied"), "")
        after = self._before()
        self.loss = after.halves()
        if reason == "Applied":
            self.last_left, self.left_on = len(after.there()), self.world.admin.volume
        elif reason in ("NoPolicy", "DryRun"):
            self.last_left = None

    def _before(self) -> Before:
        schedule = self.world.cluster.objects.get(SCHEDULE)
        return Before(
            now=self.world.clock.now(),
            policy=copy.deepcopy(schedule["spec"].get("retention")) if schedule is not None else None,
            bodies={
                name: copy.deepcopy(body)
                for (kind, name), body in self.world.cluster.objects.items()
                if kind == "GatewayBackup"
            },
            files={
                name: (
                    record.created,
                    str(record.metadata.get("schedule") or "") * (record.metadata["origin"] == "Schedule"),
                )
                for name, (record, _) in self._files().items()
            },
            used=set(),
            last_left=self.last_left if self.left_on == self.world.admin.volume else None,
            volume=self.world.admin.volume,
            has_schedule=schedule is not None,
        )

    def _add(self, group: str, **fields: Any) -> str:
        self.number += 1
        name = f"b{self.number}"
        self.world.add(name, timedelta(seconds=self.dice.randint(1, 60)), group=group, **fields)
        if self.world.admin.volume != VOLUME:
            self._status(name)["volumeID"] = self.world.admin.volume
        return name

    def _files(self) -> dict[str, Any]:
        return self.world.admin.backups

    def _status(self, name: str) -> dict[str, Any]:
        status: dict[str, Any] = self.world.cluster.objects["GatewayBackup", name]["status"]
        return status

    def _approvals_end(self) -> None:
        self.large_approved, self.approved_loss = False, None


def _update_spec(new: dict[str, Any], body: dict[str, Any]) -> None:
    body["spec"].update(new)


def test_no_file_goes_that_the_policy_of_its_set_keeps() -> None:
    for seed in range(int(os.environ.get("MADE_UP_LIVES", "100"))):
        MadeUpLife(seed).live(12)


def test_made_up_lives_delete_files_and_lose_others() -> None:
    """Lives in which nothing happens would prove nothing."""
    lives = [MadeUpLife(seed) for seed in range(8)]
    for life in lives:
        life.live(12)
    assert sum(life.number for life in lives) > 40
    assert sum(len(life.lost) for life in lives) > 2
    deleted = [note for life in lives for note in life.world.cluster.events if note.reason == "DeletedByRetention"]
    assert len(deleted) > 5
