"""Stateful test of the life cycle of backups: no sequence of events deletes a file that must be kept.

Hypothesis generates sequences of user actions, clock changes, crashes and lost answers. Cluster and admin API are
fakes; the reconcile, the deletion, the import and the retention pass are real. After each step an independent, simpler
implementation of the rules (`retention_oracle`) checks the deleted files. ``LIVES=2000`` runs more sequences.
"""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway_api.contract import Counts
from gateway_operator.domain.index.backup_index import BackupIndex
from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import FINALIZER
from gateway_operator.domain.model.resources import Backup
from gateway_operator.ports import Ports
from gateway_operator.reconcile.retention.controller import RetentionController
from tests.unit.gateway_operator.retention.world import RetentionWorld
from tests.unit.gateway_operator.simulation.fake_admin_api import VOLUME
from tests.unit.gateway_operator.simulation.fake_cluster import NAMESPACE
from tests.unit.gateway_operator.simulation.faults import CrashError, Faults, log
from tests.unit.gateway_operator.simulation.retention_oracle import Before

pytestmark = pytest.mark.slow

BACKUP = "GatewayBackup"
SCHEDULE = ("GatewayBackupSchedule", "nightly")
RECORD = ("sha256", "path", "backupID", "volumeID", "snapshotTime", "completionTime", "sizeBytes")
POLICIES: list[dict[str, Any] | None] = [
    None,
    {},
    {"keepLast": 2},
    {"keepLast": 1, "keepDaily": 3},
    {"keepHourly": 2, "keepWeekly": 1},
    {"maxAge": "7d"},
    {"maxAge": "2d", "minKeep": 3},
    {"keepWithin": "2d"},
    {"keepLast": 1, "includeAdopted": True},
    {"keepLast": 1, "dryRun": True},
    {"keepLast": 1, "maxAge": "1d", "failed": {"keepLast": 1}},
]
CRASHES = st.sets(st.integers(1, 40), max_size=3)
PICK = st.integers(0, 1_000_000)


class Life(RuleBasedStateMachine):
    """One gateway, backups with and without a schedule, and an operator that often crashes."""

    def __init__(self) -> None:
        super().__init__()
        self.place = RetentionWorld()
        self.place.schedule(retention={"keepLast": 2})
        self.number = 0
        self.records: dict[str, dict[str, Any]] = {}
        self.lost: dict[str, Any] = {}
        """Files that are not on the volume, because an older snapshot is mounted."""
        self.other_volume: dict[str, Any] = {}
        self.last_left: int | None = None
        self.left_on = VOLUME
        self.large_approved = False
        self.loss_approved: frozenset[str] | None = None
        self.last_loss: frozenset[str] | None = None
        self._restart(set())

    # Helpers of the rules.

    @property
    def objects(self) -> dict[str, dict[str, Any]]:
        """The bodies of all GatewayBackups, by name."""
        return {name: body for (kind, name), body in self.place.cluster.objects.items() if kind == BACKUP}

    def _restart(self, crashes: Iterable[int]) -> None:
        """Start a new operator process without memory, which crashes after the calls with these numbers."""
        place = self.place
        place.faults = Faults(crash_after=set(crashes))
        cluster, admin = place.faults.wrap(place.cluster, False), place.faults.wrap(place.admin, True)
        self.index = BackupIndex(Backup.parse(body) for body in self.objects.values())
        place.ports = Ports(cluster, admin, place.clock, "ops:operator", self.index)
        self.controller = RetentionController(place.ports, [], log)

    def _pick(self, number: int) -> str:
        names = sorted(self.objects)
        return names[number % len(names)]

    def _files(self) -> set[str]:
        return set(self.place.admin.backups)

    def _ref(self, name: str) -> Ref:
        return Ref(BACKUP, NAMESPACE, name, self.objects[name]["metadata"]["uid"])

    def _edited(self, name: str) -> dict[str, Any]:
        body = self.place.cluster.objects[BACKUP, name]
        self.place.cluster.version += 1
        body["metadata"]["resourceVersion"] = str(self.place.cluster.version)
        return body

    def _delete(self, names: Iterable[str], *, files: bool = False) -> None:
        """Delete objects. ``files``: with ``deleteFile`` and the finalizer, as the kubectl plugin does."""
        for name in names:
            body = self._edited(name)
            if files:
                body["spec"]["deleteFile"] = True
                body["metadata"]["finalizers"] = [FINALIZER]
                body["metadata"]["deletionTimestamp"] = timestamps.text(self.place.clock.now())
                self.index.upsert(Backup.parse(body))
            else:
                del self.place.cluster.objects[BACKUP, name]
                self.index.drop(Backup.parse(body).meta.ref.uid)

    def _finish(self) -> None:
        """Run the finalizer of all objects that are being deleted, also after crashes, and remove the objects."""
        for name in [name for name, body in self.objects.items() if "deletionTimestamp" in body["metadata"]]:
            self.index.upsert(Backup.parse(self.objects[name]))
            self.place.run(self._ref(name), forget=True)
            body = self.place.cluster.objects.pop((BACKUP, name))
            self.index.drop(Backup.parse(body).meta.ref.uid)

    def _file_of(self, body: dict[str, Any]) -> str:
        return str(
            (body.get("status") or {}).get("backupID") or self.place.admin.backup_id("v" * 32, body["metadata"]["uid"])
        )

    # The rules: actions of users, of the operator, and changes of the environment.

    @rule(
        group=st.sampled_from(["nightly", "nightly", "nightly", "manual", "of a stranger"]),
        ttl=st.sampled_from([None, None, "1d", "10d"]),
        pinned=st.sampled_from([False, False, False, True]),
        crashes=CRASHES,
    )
    def a_backup_is_made(self, group: str, ttl: str | None, pinned: bool, crashes: set[int]) -> None:
        """``of a stranger``: by a person who puts it into the group of the schedule."""
        self.number += 1
        spec: dict[str, Any] = {"group": "nightly" if group == "of a stranger" else group, "pinned": pinned}
        if ttl is not None:
            spec["ttl"] = ttl
        before, files_made = self._files(), self.place.admin.files_made
        name = f"b{self.number}"
        self.place.cluster.add(BACKUP, name, spec)
        self._restart(crashes)
        self.place.run(self._ref(name))
        status = self.place.status_of(name)
        if group == "nightly":
            self._is_made_by_the_schedule(name, ttl)
        assert status["phase"] in ("Completed", "Failed")
        assert before <= self._files()
        assert self.place.admin.files_made - files_made <= 1

    @rule(number=st.integers(2, 8), hours=st.sampled_from([1, 6, 24, 24]))
    def the_schedule_runs(self, number: int, hours: int) -> None:
        self._run_schedule(number, hours)

    def _run_schedule(self, number: int, hours: int) -> None:
        """Several backups without trouble, so that there is something that a policy can delete."""
        self.place.admin.live, self.place.admin.counts = "new", Counts(configs=1, projects=1, users=9, api_keys=1)
        if number:
            self._restart(())
        for _ in range(number):
            self.number += 1
            self.place.cluster.add(BACKUP, f"b{self.number}", {"group": "nightly"})
            self.place.run(self._ref(f"b{self.number}"))
            self._is_made_by_the_schedule(f"b{self.number}")
            self.place.clock.advance(hours * 3600)

    def _is_made_by_the_schedule(self, name: str, ttl: str | None = None) -> None:
        """Set the origin in the status and in the manifest, which need a real Job otherwise."""
        body = self._edited(name)
        thresholds = {} if ttl is None else {"ttl": ttl}
        body["status"].update(origin="Schedule", schedule="nightly", thresholds=thresholds)
        stored_backup = self.place.admin.backups.get(self._file_of(body))
        if stored_backup is not None:
            metadata = {**stored_backup[0].metadata, "origin": "Schedule", "schedule": "nightly"}
            changed = stored_backup[0].model_copy(update={"metadata": metadata})
            self.place.admin.backups[changed.backup_id] = (changed, stored_backup[1])

    @rule(hours=st.sampled_from([0.01, 1, 6, 24, 24, 72, 24 * 30]))
    def time_passes(self, hours: float) -> None:
        self.place.clock.advance(hours * 3600)

    @rule(live=st.sampled_from(["old", "new", "newer", "broken", None]), users=st.integers(0, 12))
    def the_config_changes(self, live: str | None, users: int) -> None:
        self.place.admin.live, self.place.admin.counts = live, Counts(configs=1, projects=1, users=users, api_keys=1)

    @rule(policy=st.sampled_from(POLICIES))
    def the_policy_changes(self, policy: dict[str, Any] | None) -> None:
        def change(body: dict[str, Any]) -> None:
            body["spec"]["retention"] = policy

        if self._schedule is None:
            return
        self.place.edit("nightly", change, "GatewayBackupSchedule")
        meta = self.place.cluster.objects[SCHEDULE]["metadata"]
        meta["generation"] += 1
        self.large_approved, self.loss_approved = False, None

    @property
    def _schedule(self) -> dict[str, Any] | None:
        return self.place.cluster.objects.get(SCHEDULE)

    @rule(policy=st.sampled_from(POLICIES), repeated=st.sampled_from([True, True, False]))
    def the_schedule_is_deleted(self, policy: dict[str, Any] | None, repeated: bool) -> None:
        """``repeated``: and created again at once, as by a mistake in a GitOps repository."""
        exists = self.place.cluster.objects.pop(SCHEDULE, None) is not None
        if repeated or not exists:
            self.place.schedule(retention=policy)
        self.large_approved, self.loss_approved, self.last_left = False, None, None

    @property
    def _asked(self) -> list[dict[str, str]]:
        """The approvals that the schedule's status names."""
        status = (self._schedule or {}).get("status", {})
        return list(status.get("retention", {}).get("approvals") or [])

    @precondition(lambda self: self._asked)
    @rule()
    def a_person_approves(self) -> None:
        reasons = {one["reason"] for one in self._asked}
        self.place.approve()
        self.large_approved = self.large_approved or "LargeDeletion" in reasons
        self.loss_approved = self.last_loss if "InventoryShrank" in reasons else self.loss_approved
        self._pass(1)

    @precondition(lambda self: self.place.admin.volume == VOLUME and self.place.admin.backups)
    @rule(picks=st.lists(PICK, min_size=1, max_size=6))
    def an_older_snapshot_is_mounted(self, picks: list[int]) -> None:
        """Some files vanish, with their manifests; the volume keeps its id."""
        for pick in picks:
            names = sorted(self._files())
            if names:
                name = names[pick % len(names)]
                self.lost[name] = self.place.admin.backups.pop(name)

    @rule()
    def the_right_snapshot_is_mounted(self) -> None:
        if self.place.admin.volume == VOLUME:
            self.place.admin.backups.update(self.lost)
            self.lost.clear()

    @rule()
    def the_other_volume_is_mounted(self) -> None:
        admin = self.place.admin
        admin.volume = "w" * 32 if admin.volume == VOLUME else VOLUME
        admin.backups, self.other_volume = self.other_volume, admin.backups

    @precondition(lambda self: self.objects)
    @rule(number=PICK, pinned=st.booleans())
    def it_is_pinned_or_not(self, number: int, pinned: bool) -> None:
        self._edited(self._pick(number))["spec"]["pinned"] = pinned

    @precondition(lambda self: self.objects)
    @rule(number=PICK)
    def a_shrink_is_accepted(self, number: int) -> None:
        self._edited(self._pick(number))["spec"]["accepted"] = True

    @precondition(lambda self: self.objects)
    @rule(number=PICK)
    def a_restore_begins_and_takes_its_time(self, number: int) -> None:
        self.number += 1
        self.place.cluster.add("GatewayRestore", f"r{self.number}", {"backupName": self._pick(number)})

    @rule()
    def all_restores_end(self) -> None:
        for key in [key for key in self.place.cluster.objects if key[0] == "GatewayRestore"]:
            del self.place.cluster.objects[key]

    @rule(crashes=CRASHES, passes=st.integers(1, 2))
    def a_pass_that_crashes(self, crashes: set[int], passes: int) -> None:
        self._restart(crashes)
        self._pass(passes)

    @rule(runs=st.integers(0, 6))
    def a_pass(self, runs: int) -> None:
        """After this number of runs of the schedule, a day apart."""
        self._run_schedule(runs, 24)
        self._pass(1)

    def _pass(self, passes: int) -> None:
        before = self._before()
        files, approved = self._files(), self.loss_approved
        crashed = False
        for _ in range(passes):
            try:
                asyncio.run(self.controller.run_once())
                crashed = False
            except CrashError:
                crashed = True
                self._restart(())
            self._finish()
        while any(body["status"]["phase"] == "Deleting" for body in self.objects.values()):
            asyncio.run(self.controller.run_once())  # finish deletions that a crashed pass has committed
        before.check(files - self._files(), large_approved=self.large_approved, loss_approved=approved)
        self._remember(crashed=crashed)

    def _before(self) -> Before:
        """The inputs of a pass, for the second implementation of the rules."""
        objects = self.place.cluster.objects
        return Before(
            now=self.place.clock.now(),
            policy=copy.deepcopy(self._schedule["spec"].get("retention")) if self._schedule is not None else None,
            bodies={name: copy.deepcopy(body) for name, body in self.objects.items()},
            files={
                name: (record.created, str(record.metadata.get("schedule", "")))
                for name, (record, _) in self.place.admin.backups.items()
            },
            used={str(body["spec"].get("backupName")) for (kind, _), body in objects.items()
                  if kind == "GatewayRestore"},
            last_left=self.last_left if self.left_on == self.place.admin.volume else None,
            volume=self.place.admin.volume,
            has_schedule=self._schedule is not None,
        )  # fmt: skip

    def _remember(self, *, crashed: bool) -> None:
        """Remember what the pass has seen and left, as the product does in the schedule's status."""
        status = (self._schedule or {}).get("status", {})
        conditions = status.get("conditions") or []
        reason = next((one["reason"] for one in conditions if one["type"] == "RetentionApplied"), "")
        after = self._before()
        self.last_loss = after.halves()
        if crashed:
            # The condition is that of an earlier pass. The number was recorded before the first deletion, if at all.
            recorded = status.get("retention", {})
            self.last_left, self.left_on = recorded.get("inventory"), recorded.get("volumeID") or ""
        elif reason == "Applied":
            self.last_left, self.left_on = len(after.there()), self.place.admin.volume
        elif reason in ("NoPolicy", "DryRun"):
            self.last_left = None

    @rule(early=st.booleans(), days=st.sampled_from([-1, 1, 365]))
    def a_pass_that_cannot_be_trusted(self, early: bool, days: int) -> None:
        """The list is incomplete or the clock is wrong: no file is deleted."""
        cluster, clock, files = self.place.cluster, self.place.clock, self._files()
        now = clock.now()
        if early and len(self.objects) > 3:
            cluster.listing_ends_early = True
        else:
            cluster.server_time, clock.time = now, now + timedelta(days=days)
        self._restart(())
        files = self._files()
        asyncio.run(self.controller.run_once())
        cluster.listing_ends_early, cluster.server_time, clock.time = False, None, now
        assert self._files() == files
        assert not [name for name, body in self.objects.items() if body["status"]["phase"] == "Deleting"]

    @precondition(lambda self: self.objects)
    @rule(number=PICK, asked=st.booleans(), crashes=CRASHES, there=st.sampled_from([True, True, True, False]))
    def a_person_deletes_one(self, number: int, asked: bool, crashes: set[int], there: bool) -> None:
        """``asked``: with its file, as the plugin does. ``there``: whether the gateway exists."""
        name, files = self._pick(number), self._files()
        body = copy.deepcopy(self.objects[name])
        self._restart(crashes)
        self.place.cluster.present = there
        self._delete([name], files=asked)
        there = there and (body.get("status") or {}).get("volumeID") in (None, self.place.admin.volume)
        self._finish()
        self.place.cluster.present = True
        assert files - self._files() <= ({self._file_of(body)} if asked and there else set())
        if asked and there:
            assert self._file_of(body) not in self._files()
        assert name not in self.objects

    @precondition(lambda self: len(self.objects) >= 4)
    @rule(crashes=CRASHES)
    def all_are_deleted_at_once(self, crashes: set[int]) -> None:
        """As by a prune, or with their namespace or CRD: no file is deleted."""
        files = self._files()
        self._restart(crashes)
        self._delete(list(self.objects))
        assert self._files() == files

    @rule(crashes=CRASHES)
    def the_volume_is_imported(self, crashes: set[int]) -> None:
        self.number += 1
        files = self._files()
        self._restart(crashes)
        self.place.run(self.place.cluster.add("GatewayBackupImport", f"i{self.number}", {}))
        assert self._files() == files
        owners = [self._file_of(body) for body in self.objects.values() if body["status"]["phase"] == "Completed"]
        assert files <= set(owners)
        assert len(owners) == len(set(owners))

    # The invariants, checked after each step.

    @invariant()
    def a_completed_record_never_changes_and_has_its_file(self) -> None:
        for body in self.objects.values():
            status, uid = body.get("status") or {}, body["metadata"]["uid"]
            if status.get("phase") != "Completed" or "deletionTimestamp" in body["metadata"]:
                continue
            record = {key: status.get(key) for key in RECORD}
            assert self.records.setdefault(uid, record) == record
            files = {*self.place.admin.backups, *self.lost, *self.other_volume}
            assert status["backupID"] in files, f"{status['path']} was deleted and its record was not"

    @invariant()
    def no_file_has_two_records(self) -> None:
        paths = [(body.get("status") or {}).get("path") for body in self.objects.values()
                 if (body.get("status") or {}).get("phase") == "Completed"]  # fmt: skip
        assert len(paths) == len(set(paths))


Life.TestCase.settings = settings(max_examples=int(os.environ.get("LIVES", "30")), stateful_step_count=40)
TestLife = Life.TestCase
