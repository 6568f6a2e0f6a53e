"""What time drives: retention, ttl and objectives, in one pass over all sets after another.

A pass lists everything anew, decides with pure functions, shows what it decided, remembers what it is about to leave,
and then deletes one backup at a time, each looked at again before. It may die anywhere: the next pass begins anew, and
finds what is left of the work. Two operators by mistake do the same work twice, and each write names the version it
is based on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from time import monotonic
from typing import Final

from gateway_operator.domain.index.backup_index import TERMINAL_BACKUP_PHASES, BackupSummary
from gateway_operator.domain.model.actions import KubernetesEvent
from gateway_operator.domain.model.identifiers import BackupSetId, NamespacedGateway, Ref
from gateway_operator.domain.model.names import ACCEPT_INVENTORY, BACKUP_KIND, IMPORT_KIND, RESTORE_KIND, SCHEDULE_KIND
from gateway_operator.domain.model.resources import Backup, Import, Json, Meta, Restore
from gateway_operator.domain.restore.status import TERMINAL_RESTORE_PHASES
from gateway_operator.domain.retention.guards import DeletionHold, SetObservation, first_hold, restore_pending_hold
from gateway_operator.domain.retention.plan import RetentionDecision, plan
from gateway_operator.domain.retention.policy import RetentionPolicy
from gateway_operator.domain.retention.result import RetentionResult, summarize
from gateway_operator.domain.retention.sets import BackupSet, gather, kept_by_status
from gateway_operator.domain.retention.status import inventory_before, schedule_status
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import ClusterError, ConflictError, MissingError, Ports
from gateway_operator.reconcile.backup_import import TERMINAL_IMPORT_PHASES as IMPORT_TERMINAL
from gateway_operator.reconcile.retention.deletions import Deletions, GatewayProblems
from gateway_operator.reconcile.retention.unowned_files import UnownedFiles, unowned
from gateway_operator.reconcile.status_writer import Log
from gateway_operator.reconcile.watch_check import WatchCheck

_MANY: Final = 500
"""So many backups of a set are planned beside the event loop and not on it."""
_AT_ONCE: Final = 100
"""So many deletions of a set in one pass at most: the other sets have their turn, and the list does not grow old."""


@dataclass
class Listed:
    """What a pass works on. ``complete``: whether backups and restores were listed to their ends."""

    complete: bool = False
    backups: list[BackupSummary] = field(default_factory=list)
    restores: list[Restore] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    schedules: list[GatewayBackupSchedule] = field(default_factory=list)
    skew: timedelta | None = None
    """By how much the API server's clock is ahead of ours."""
    unowned: dict[NamespacedGateway, int] = field(default_factory=dict)
    """How many files no GatewayBackup names, of the gateways whose volume was looked at in this pass."""

    @property
    def unfinished(self) -> list[Ref]:
        """The objects that a watch must have registered for a reconcile."""
        backups = [
            Ref(BACKUP_KIND, one.set_id.namespace, one.name, one.uid)
            for one in self.backups
            if one.phase not in TERMINAL_BACKUP_PHASES and not one.is_deleting
        ]
        restores = [one.meta.ref for one in self.restores if one.phase not in TERMINAL_RESTORE_PHASES]
        imports = [one.meta.ref for one in self.imports if one.phase not in IMPORT_TERMINAL]
        return [*backups, *restores, *imports, *(one.meta.ref for one in self.schedules)]


class RetentionController:
    """Passes over the sets of some namespaces; of all of them if none is named."""

    def __init__(
        self, ports: Ports, namespaces: Sequence[str], log: Log, watch_check: WatchCheck | None = None
    ) -> None:
        self._ports = ports
        self._watch_check = watch_check
        self._namespaces = tuple(namespaces) or ("",)
        self._log = log
        self._volumes = UnownedFiles(ports, log)
        self._held: dict[BackupSetId, str] = {}
        """What holds those back, so that it is logged once."""
        self.listing = 0.0
        """Seconds that the last pass spent on listing: by them its pace is set."""

    async def run_once(self) -> None:
        """One pass. What goes wrong with one set or namespace is told, and does not hold the others up."""
        self.listing = 0.0
        unfinished: list[Ref] | None = []
        problems: GatewayProblems = {}
        for namespace in self._namespaces:
            began = monotonic()
            try:
                listed = await self._list(namespace)
            except ClusterError as error:
                self._log.warning("the schedules cannot be listed, so nothing is swept: %s", error)
                unfinished = None
                continue
            finally:
                self.listing += monotonic() - began
            unfinished = [*unfinished, *listed.unfinished] if listed.complete and unfinished is not None else None
            sets = self._sets(listed)
            if listed.complete:
                self._forget(namespace, {backups.id for backups in sets})
            for backups in sets:
                try:
                    await self._sweep_set(backups, listed, problems)
                except (ConflictError, MissingError) as error:  # somebody wrote in between: the next pass looks again
                    self._log.debug("%s: %s", backups.id, error)
                except ClusterError as error:
                    self._log.warning("%s of %s: %s", backups.id.group, backups.id.gateway, error)
        if self._watch_check is not None and unfinished is not None:
            self._watch_check.compare(unfinished, monotonic())

    def _forget(self, namespace: str, present: set[BackupSetId]) -> None:
        """Sets of which nothing is left."""
        for key in [one for one in self._held if namespace in ("", one.namespace) and one not in present]:
            del self._held[key]

    async def _list(self, namespace: str) -> Listed:
        listed = Listed()
        listed.schedules = [
            GatewayBackupSchedule.parse(body) for body in await self._whole(SCHEDULE_KIND, namespace, listed)
        ]
        files = await self._volumes.due(listed.schedules)
        try:
            # Restores after backups: one that was created in between is seen.
            listed.backups = await self._backups(namespace)
            listed.restores = [Restore.parse(body) for body in await self._whole(RESTORE_KIND, namespace, listed)]
            listed.imports = [Import.parse(body) for body in await self._whole(IMPORT_KIND, namespace, listed)]
            listed.complete = True
            for gateway, found in files.items():
                own = [one for one in listed.backups if one.set_id.namespaced_gateway == gateway]
                listed.unowned[gateway] = unowned(found, own)
        except ClusterError as error:
            self._log.warning("the listing is incomplete, so nothing is deleted: %s", error)
        return listed

    async def _whole(self, kind: str, namespace: str, listed: Listed) -> list[Json]:
        found: list[Json] = []
        more = ""
        while True:
            page = await self._ports.cluster.page(kind, namespace, more)
            found.extend(page.items)
            if page.server_time is not None:
                listed.skew = page.server_time - self._ports.clock.now()
            more = page.more
            if not more:
                return found

    async def _backups(self, namespace: str) -> list[BackupSummary]:
        """Page by page, so that ten thousand whole objects are never in memory at once."""
        rows: list[BackupSummary] = []
        more = ""
        while True:
            page = await self._ports.cluster.page(BACKUP_KIND, namespace, more)
            rows.extend(BackupSummary.from_backup(Backup.parse(body)) for body in page.items)
            more = page.more
            if not more:
                return rows

    @staticmethod
    def _sets(listed: Listed) -> list[BackupSet]:
        if listed.complete:
            return gather(listed.backups, listed.schedules, listed.restores)
        return gather([], listed.schedules, [])

    async def _sweep_set(self, backups: BackupSet, listed: Listed, problems: GatewayProblems) -> None:
        policy = backups.policy if isinstance(backups.policy, RetentionPolicy) else RetentionPolicy()
        now = self._ports.clock.now()
        if len(backups.members) < _MANY:
            decisions = plan(backups.rows, policy, now)
        else:
            decisions = await asyncio.to_thread(plan, backups.rows, policy, now)
        outcome = summarize(decisions, backups.policy, self._brake(backups, listed))
        if outcome.deletions and backups.choosing:
            outcome = summarize(decisions, backups.policy, restore_pending_hold(backups.choosing))
        if listed.complete and not isinstance(backups.policy, str):
            await self._show(backups, decisions)
        deletions = Deletions(self._ports, backups, problems, self._log)
        await deletions.finish_committed()
        if backups.schedule is not None and outcome.deletions and not await deletions.gateway_problem():
            backups = replace(backups, schedule=await self._promise(backups.schedule, outcome))
        for decision in outcome.deletions[:_AT_ONCE]:
            await deletions.delete(decision)
        deletions.leave(outcome.deletions[_AT_ONCE:])
        await self._settle(backups, deletions.conclusion(outcome), deletions.done, listed)

    def _brake(self, backups: BackupSet, listed: Listed) -> DeletionHold | None:
        schedule, now, key = backups.schedule, self._ports.clock.now(), backups.id
        seen = SetObservation(
            complete=listed.complete,
            newest=backups.newest,
            server_time=now + listed.skew if listed.skew is not None else None,
            inventory=backups.inventory,
            before=inventory_before(schedule) if schedule is not None else None,
            accepted=str(schedule.meta.annotations.get(ACCEPT_INVENTORY, "")) if schedule is not None else "",
            hint=f"-n {key.namespace} gwbs {key.group}",
        )
        return first_hold(seen, now)

    async def _show(self, backups: BackupSet, decisions: Sequence[RetentionDecision]) -> None:
        """What keeps each one, where that is news. One that goes is not written to any more."""
        for one in decisions:
            row = one.backup
            if not one.keep or row.phase not in ("Completed", "Failed"):
                continue
            news = kept_by_status(one.reasons, one.expires_at)
            if (list(row.kept_by) or None, row.expires_at or None) == (news["keptBy"], news["expiresAt"]):
                continue
            ref = Ref(BACKUP_KIND, backups.id.namespace, row.name, row.uid)
            try:
                await self._ports.cluster.write_status(_version(ref, row.resource_version), news)
            except (ConflictError, MissingError):  # the next pass sees what is there then
                continue

    async def _promise(self, schedule: GatewayBackupSchedule, outcome: RetentionResult) -> GatewayBackupSchedule:
        """Remember what the deletions will leave, before the first: else a crash in the middle looks like a loss.

        Gives the schedule as it is then. Conflict ends the pass over this set before anything is deleted.
        """
        if outcome.inventory is None or inventory_before(schedule) == outcome.inventory:
            return schedule
        status = {"retention": {"inventory": outcome.inventory}}
        return GatewayBackupSchedule.parse(await self._ports.cluster.write_status(schedule.meta, status))

    async def _settle(self, backups: BackupSet, outcome: RetentionResult, deleted: int, listed: Listed) -> None:
        """Say how it stands, where that is news."""
        schedule, complete = backups.schedule, listed.complete
        if schedule is None:
            await self._tell_hold(backups, outcome)
            return
        now, files = self._ports.clock.now(), listed.unowned.get(backups.id.namespaced_gateway)
        for _ in range(3):
            news = schedule_status(schedule, backups if complete else None, outcome, deleted, now, files)
            if all(schedule.status.get(name) == value for name, value in news.status.items()):
                return
            try:
                await self._ports.cluster.write_status(schedule.meta, news.status)
                break
            except ConflictError:  # its other reconcile writes to it as well
                body = await self._ports.cluster.read(schedule.meta.ref)
                if body is None:
                    return
                schedule = GatewayBackupSchedule.parse(body)
        for note in news.notes:
            self._log.info("%s: %s", schedule.meta.ref.name, note.message)
            await self._ports.cluster.event(schedule.meta.ref, note, now)

    async def _tell_hold(self, backups: BackupSet, outcome: RetentionResult) -> None:
        """A set without a schedule has no condition that could say it: its newest backup gets an event."""
        key, why = backups.id, outcome.message if outcome.inventory is None else ""
        if why and self._held.get(key) != why:
            self._log.warning("%s/%s of %s: %s", key.namespace, key.group, key.gateway, why)
            newest = max(backups.members.values(), key=lambda one: (one.time, one.name))
            ref = Ref(BACKUP_KIND, key.namespace, newest.name, newest.uid)
            await self._ports.cluster.event(
                ref, KubernetesEvent(str(outcome.reason), why, warning=True), self._ports.clock.now()
            )
        self._held[key] = why


def _version(ref: Ref, resource_version: str) -> Meta:
    """An object's version, of which nothing else was kept."""
    return replace(Meta.parse({}, ref.kind), ref=ref, resource_version=resource_version)
