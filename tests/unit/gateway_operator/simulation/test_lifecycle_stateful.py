"""Stateful test of the life cycle of backups: no sequence of events deletes a file that must be kept.

Hypothesis generates sequences of user actions, clock changes, crashes and lost answers. Cluster and admin API are
fakes; the reconcile, the deletion, the import and the retention pass are real. After each step an independent, simpler
implementation of the rules checks the deleted files. ``LIVES=2000`` runs more sequences.
"""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway_api.contract import Counts
from gateway_operator.domain.index.backup_index import BackupIndex
from gateway_operator.domain.model import durations, timestamps
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import FINALIZER
from gateway_operator.domain.model.resources import Backup
from gateway_operator.ports import Ports
from gateway_operator.reconcile.retention.sweep import RetentionController
from tests.unit.gateway_operator.retention.test_sweep import RetentionWorld
from tests.unit.gateway_operator.simulation.fake_cluster import NAMESPACE
from tests.unit.gateway_operator.simulation.faults import CrashError, Faults, log

BACKUP = "GatewayBackup"
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
        self.sweeper = RetentionController(place.ports, [], log)

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
                self.index.remove(Backup.parse(body))

    def _finish(self) -> None:
        """Run the finalizer of all objects that are being deleted, also after crashes, and remove the objects."""
        for name in [name for name, body in self.objects.items() if "deletionTimestamp" in body["metadata"]]:
            self.index.upsert(Backup.parse(self.objects[name]))
            self.place.run(self._ref(name), forget=True)
            gone = self.place.cluster.objects.pop((BACKUP, name))
            self.index.remove(Backup.parse(gone))

    def _file_of(self, body: dict[str, Any]) -> str:
        return str(
            (body.get("status") or {}).get("backupID") or self.place.admin.backup_id("v" * 32, body["metadata"]["uid"])
        )

    # The rules: actions of users, of the operator, and changes of the environment.

    @rule(
        group=st.sampled_from(["nightly", "nightly", "manual"]),
        ttl=st.sampled_from([None, None, "1d", "10d"]),
        pinned=st.sampled_from([False, False, False, True]),
        crashes=CRASHES,
    )
    def a_backup_is_made(self, group: str, ttl: str | None, pinned: bool, crashes: set[int]) -> None:
        self.number += 1
        spec: dict[str, Any] = {"group": group, "pinned": pinned}
        if ttl is not None:
            spec["ttl"] = ttl
        before, made = self._files(), self.place.admin.made
        name = f"b{self.number}"
        self.place.cluster.add(BACKUP, name, spec)
        self._restart(crashes)
        self.place.run(self._ref(name))
        status = self.place.status_of(name)
        if group == "nightly":
            thresholds = {} if ttl is None else {"ttl": ttl}
            self._edited(name)["status"].update(origin="Schedule", schedule=group, thresholds=thresholds)
        assert status["phase"] in ("Completed", "Failed")
        assert before <= self._files()
        assert self.place.admin.made - made <= 1

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

        self.place.edit("nightly", change, "GatewayBackupSchedule")

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

    @rule(crashes=CRASHES, restarted=st.booleans(), passes=st.integers(1, 2))
    def a_pass(self, crashes: set[int], restarted: bool, passes: int) -> None:
        before, files = {name: copy.deepcopy(body) for name, body in self.objects.items()}, self._files()
        schedule = copy.deepcopy(self.place.cluster.objects["GatewayBackupSchedule", "nightly"])
        if restarted:
            self._restart(crashes)
        for _ in range(passes):
            try:
                asyncio.run(self.sweeper.run_once())
            except CrashError:
                self._restart(())
            self._finish()
        while any(body["status"]["phase"] == "Deleting" for body in self.objects.values()):
            asyncio.run(self.sweeper.run_once())  # finish deletions that a crashed pass has committed
        self._all_of_it_was_right(before, files - self._files(), schedule["spec"].get("retention"))

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
        asyncio.run(self.sweeper.run_once())
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
        assert sorted(owners) == sorted(files)

    # The invariants, checked after each step.

    @invariant()
    def a_completed_record_never_changes_and_has_its_file(self) -> None:
        for body in self.objects.values():
            status, uid = body.get("status") or {}, body["metadata"]["uid"]
            if status.get("phase") != "Completed" or "deletionTimestamp" in body["metadata"]:
                continue
            record = {key: status.get(key) for key in RECORD}
            assert self.records.setdefault(uid, record) == record
            assert status["backupID"] in self.place.admin.backups, f"{status['path']} is gone and its record is not"

    @invariant()
    def no_file_has_two_records(self) -> None:
        paths = [(body.get("status") or {}).get("path") for body in self.objects.values()
                 if (body.get("status") or {}).get("phase") == "Completed"]  # fmt: skip
        assert len(paths) == len(set(paths))

    def _all_of_it_was_right(
        self, before: dict[str, dict[str, Any]], gone: set[str], policy: dict[str, Any] | None
    ) -> None:
        now, policy = self.place.clock.now(), policy or {}
        used = {body["spec"].get("backupName") for (kind, _), body in self.place.cluster.objects.items()
                if kind == "GatewayRestore"}  # fmt: skip
        of_file = {self._file_of(body): (name, body) for name, body in before.items()}
        assert gone <= set(of_file), "a file went that no GatewayBackup named"
        for file in gone:
            name, body = of_file[file]
            spec, status = body["spec"], body["status"]
            ttl, age = durations.parse_or_none(spec.get("ttl")), now - timestamps.parse(status["snapshotTime"])  # type: ignore[operator]
            by_ttl = ttl is not None and age >= ttl
            by_rule = spec["group"] == "nightly" and bool(policy) and not policy.get("dryRun")
            assert by_ttl or by_rule, f"{name} went and nothing said so"
            assert not spec.get("pinned"), f"{name} was pinned"
            assert name not in used, f"{name} is being restored"
            adopted = status["origin"] == "Adopted"
            assert not adopted or (spec["group"] == "nightly" and policy.get("includeAdopted")), f"{name} was adopted"
            suspicious = any(one["type"] == "Suspicious" and one["status"] == "True" for one in status["conditions"])
            accepted = spec.get("accepted") is True
            assert accepted or not suspicious, f"{name} was suspicious"
        for group in ("nightly", "manual"):
            good = [
                body
                for body in before.values()
                if body["spec"]["group"] == group and body["status"]["phase"] == "Completed"
            ]
            good.sort(
                key=lambda body: (timestamps.parse(body["status"]["snapshotTime"]), body["metadata"]["name"]),
                reverse=True,
            )
            left = [body for body in good if self._file_of(body) not in gone]
            least = int(policy.get("minKeep") or 1) if group == "nightly" else 1
            assert len(left) >= min(least, len(good)), f"too few are left of {group}"


Life.TestCase.settings = settings(max_examples=int(os.environ.get("LIVES", "30")), stateful_step_count=40)
TestLife = Life.TestCase
