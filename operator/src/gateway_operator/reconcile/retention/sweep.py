"""The periodic retention pass: retention rules, ttl and objectives of all backup sets.

A pass lists all objects, plans each set with pure functions, and writes ``keptBy`` and ``expiresAt`` to the backups
that stay. It then records the inventory that will remain and deletes one backup at a time. Each backup is read again
before its deletion. At the end the pass writes the schedule's status.

No state is needed between two passes, so the operator may stop at any point and the next pass continues. Each write
names the resourceVersion that it is based on, so two operators that run by mistake do not overwrite each other.
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
from gateway_operator.domain.model.import_resource import Import
from gateway_operator.domain.model.names import ACCEPT_INVENTORY, BACKUP_KIND, IMPORT_KIND, RESTORE_KIND, SCHEDULE_KIND
from gateway_operator.domain.model.resources import Backup, Json, Meta, Restore
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
from gateway_operator.reconcile.retention.unowned_files import UnownedFiles, count_unowned
from gateway_operator.reconcile.status_writer import Log
from gateway_operator.reconcile.watch_check import WatchCheck

_LARGE_SET: Final = 500
"""A set with at least this number of backups is planned in a thread, so that the event loop is not blocked."""
_MAX_DELETIONS_PER_PASS: Final = 100
"""Maximum deletions of one set in a pass. More would delay the other sets, and the listing would become stale."""
_STATUS_ATTEMPTS: Final = 3


@dataclass
class Listing:
    """The objects that a pass works on. ``complete``: backups, restores and imports were listed without an error."""

    complete: bool = False
    backups: list[BackupSummary] = field(default_factory=list)
    restores: list[Restore] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    schedules: list[GatewayBackupSchedule] = field(default_factory=list)
    skew: timedelta | None = None
    """The API server's clock minus the operator's clock; None if no answer had a date."""
    unowned: dict[NamespacedGateway, int] = field(default_factory=dict)
    """Number of files that no GatewayBackup names, for each gateway whose files were listed in this pass."""

    @property
    def unfinished(self) -> list[Ref]:
        """The objects that a watch must have registered in a work queue."""
        backups = [
            Ref(BACKUP_KIND, one.set_id.namespace, one.name, one.uid)
            for one in self.backups
            if one.phase not in TERMINAL_BACKUP_PHASES and not one.is_deleting
        ]
        restores = [one.meta.ref for one in self.restores if one.phase not in TERMINAL_RESTORE_PHASES]
        imports = [one.meta.ref for one in self.imports if one.phase not in IMPORT_TERMINAL]
        return [*backups, *restores, *imports, *(one.meta.ref for one in self.schedules)]


class RetentionController:
    """Runs retention passes over the given namespaces; over all namespaces if none is given."""

    def __init__(
        self, ports: Ports, namespaces: Sequence[str], log: Log, watch_check: WatchCheck | None = None
    ) -> None:
        self._ports = ports
        self._watch_check = watch_check
        self._namespaces = tuple(namespaces) or ("",)
        self._log = log
        self._unowned_files = UnownedFiles(ports, log)
        self._reported_holds: dict[BackupSetId, str] = {}
        """The last reported message for each set without a schedule: the same message is reported once."""
        self.listing_seconds = 0.0
        """Seconds that the last pass spent on listing. The caller derives the pause between passes from it."""

    async def run_once(self) -> None:
        """Run one pass. An error in one set or namespace is logged, and the other sets are still processed."""
        self.listing_seconds = 0.0
        unfinished: list[Ref] | None = []
        problems: GatewayProblems = {}
        for namespace in self._namespaces:
            began = monotonic()
            try:
                listing = await self._list(namespace)
            except ClusterError as error:
                self._log.warning(
                    "The schedules in %s cannot be listed, so retention is skipped there: %s",
                    f"namespace {namespace}" if namespace else "the cluster",
                    error,
                )
                unfinished = None
                continue
            finally:
                self.listing_seconds += monotonic() - began
            unfinished = [*unfinished, *listing.unfinished] if listing.complete and unfinished is not None else None
            sets = self._sets(listing)
            if listing.complete:
                self._forget_missing_sets(namespace, {backups.id for backups in sets})
            for backups in sets:
                try:
                    await self._process_set(backups, listing, problems)
                except (ConflictError, MissingError) as error:
                    # Another writer changed an object of this set. The next pass plans the set from a new listing.
                    self._log.debug("%s is left to the next pass: %s", _describe(backups.id), error)
                except ClusterError as error:
                    self._log.warning("%s cannot be processed in this pass: %s", _describe(backups.id), error)
        if self._watch_check is not None and unfinished is not None:
            self._watch_check.compare(unfinished, monotonic())

    def _forget_missing_sets(self, namespace: str, present: set[BackupSetId]) -> None:
        for key in [one for one in self._reported_holds if namespace in ("", one.namespace) and one not in present]:
            del self._reported_holds[key]

    async def _list(self, namespace: str) -> Listing:
        listing = Listing()
        listing.schedules = [
            GatewayBackupSchedule.parse(body) for body in await self._list_all(SCHEDULE_KIND, namespace, listing)
        ]
        # Files before objects: a file that is written in between has its GatewayBackup in the later list. The other
        # order would count such a file as unowned.
        files = await self._unowned_files.list_due(listing.schedules)
        try:
            # Restores after backups: a restore that is created in between protects a backup that is already listed.
            listing.backups = await self._list_backups(namespace)
            listing.restores = [Restore.parse(body) for body in await self._list_all(RESTORE_KIND, namespace, listing)]
            listing.imports = [Import.parse(body) for body in await self._list_all(IMPORT_KIND, namespace, listing)]
            listing.complete = True
            for gateway, gateway_files in files.items():
                own = [one for one in listing.backups if one.set_id.namespaced_gateway == gateway]
                listing.unowned[gateway] = count_unowned(gateway_files, own)
        except ClusterError as error:
            # Nothing may be deleted on the basis of a partial list: a missing restore or backup could protect another.
            self._log.warning(
                "The listing of %s is incomplete, so retention deletes nothing there: %s",
                f"namespace {namespace}" if namespace else "the cluster",
                error,
            )
        return listing

    async def _list_all(self, kind: str, namespace: str, listing: Listing) -> list[Json]:
        bodies: list[Json] = []
        more = ""
        while True:
            page = await self._ports.cluster.page(kind, namespace, more)
            bodies.extend(page.items)
            if page.server_time is not None:
                listing.skew = page.server_time - self._ports.clock.now()
            more = page.more
            if not more:
                return bodies

    async def _list_backups(self, namespace: str) -> list[BackupSummary]:
        """All backups, summarized page by page: ten thousand whole objects are never in memory at once."""
        rows: list[BackupSummary] = []
        more = ""
        while True:
            page = await self._ports.cluster.page(BACKUP_KIND, namespace, more)
            rows.extend(BackupSummary.from_backup(Backup.parse(body)) for body in page.items)
            more = page.more
            if not more:
                return rows

    @staticmethod
    def _sets(listing: Listing) -> list[BackupSet]:
        if listing.complete:
            return gather(listing.backups, listing.schedules, listing.restores)
        return gather([], listing.schedules, [])

    async def _process_set(self, backups: BackupSet, listing: Listing, problems: GatewayProblems) -> None:
        policy = backups.policy if isinstance(backups.policy, RetentionPolicy) else RetentionPolicy()
        now = self._ports.clock.now()
        if len(backups.members) < _LARGE_SET:
            decisions = plan(backups.rows, policy, now)
        else:
            decisions = await asyncio.to_thread(plan, backups.rows, policy, now)
        result = summarize(decisions, backups.policy, self._hold(backups, listing))
        if result.deletions and backups.unresolved_restore:
            result = summarize(decisions, backups.policy, restore_pending_hold(backups.unresolved_restore))
        if listing.complete and not isinstance(backups.policy, str):
            await self._write_kept_by(backups, decisions)
        deletions = Deletions(self._ports, backups, problems, self._log)
        # Deletions that an earlier pass has committed come first, even under a hold: their status already promises it.
        await deletions.finish_committed()
        # The inventory record comes before the first deletion. It is not written while the gateway cannot delete
        # files: it would then announce backups as deleted that stay.
        if backups.schedule is not None and result.deletions and not await deletions.gateway_problem():
            backups = replace(backups, schedule=await self._record_before_deleting(backups.schedule, result))
        for decision in result.deletions[:_MAX_DELETIONS_PER_PASS]:
            await deletions.delete(decision)
        deletions.defer(result.deletions[_MAX_DELETIONS_PER_PASS:])
        # The status comes last, because it reports the deletions. After a crash the next pass writes it.
        await self._write_status(backups, deletions.update_result(result), deletions.deleted, listing)

    def _hold(self, backups: BackupSet, listing: Listing) -> DeletionHold | None:
        schedule, now, key = backups.schedule, self._ports.clock.now(), backups.id
        observation = SetObservation(
            complete=listing.complete,
            newest=backups.newest,
            server_time=now + listing.skew if listing.skew is not None else None,
            inventory=backups.inventory,
            before=inventory_before(schedule) if schedule is not None else None,
            accepted=str(schedule.meta.annotations.get(ACCEPT_INVENTORY, "")) if schedule is not None else "",
            annotate_target=f"-n {key.namespace} gwbs {key.name}",
        )
        return first_hold(observation, now)

    async def _write_kept_by(self, backups: BackupSet, decisions: Sequence[RetentionDecision]) -> None:
        """Write ``keptBy`` and ``expiresAt`` where they have changed. A backup that will be deleted is not written.

        Such a write would change its version, and the deletion would then be refused as a conflict.
        """
        for decision in decisions:
            row = decision.backup
            if not decision.keep or row.phase not in ("Completed", "Failed"):
                continue
            status = kept_by_status(decision.reasons, decision.expires_at)
            if (list(row.kept_by) or None, row.expires_at or None) == (status["keptBy"], status["expiresAt"]):
                continue
            ref = Ref(BACKUP_KIND, backups.id.namespace, row.name, row.uid)
            try:
                await self._ports.cluster.write_status(_version(ref, row.resource_version), status)
            except (ConflictError, MissingError):  # the next pass plans from the new version
                continue

    async def _record_before_deleting(
        self, schedule: GatewayBackupSchedule, result: RetentionResult
    ) -> GatewayBackupSchedule:
        """Record in the schedule's status the inventory that the deletions will leave. Returns the written schedule.

        The record precedes the first deletion. Without it, a crash between two deletions would look like a loss of
        backups, and the next pass would stop with ``InventoryShrank``. A conflict ends the pass over this set before
        anything is deleted.
        """
        if result.inventory is None or inventory_before(schedule) == result.inventory:
            return schedule
        status = {"retention": {"inventory": result.inventory}}
        return GatewayBackupSchedule.parse(await self._ports.cluster.write_status(schedule.meta, status))

    async def _write_status(self, backups: BackupSet, result: RetentionResult, deleted: int, listing: Listing) -> None:
        """Write the result to the schedule's status if it has changed, and emit events about the change."""
        schedule, complete = backups.schedule, listing.complete
        if schedule is None:
            await self._emit_blocked_event(backups, result)
            return
        now, files = self._ports.clock.now(), listing.unowned.get(backups.id.namespaced_gateway)
        for _ in range(_STATUS_ATTEMPTS):
            update = schedule_status(schedule, backups if complete else None, result, deleted, now, files)
            if all(schedule.status.get(name) == value for name, value in update.status.items()):
                return
            try:
                await self._ports.cluster.write_status(schedule.meta, update.status)
                break
            except ConflictError:
                # The schedule's own reconcile writes to the same status. Merge again, on top of the new version:
                # leaving it to the next pass would lose the count of deleted backups.
                body = await self._ports.cluster.read(schedule.meta.ref)
                if body is None:
                    return
                schedule = GatewayBackupSchedule.parse(body)
        # Events after the status: after a crash in between, an event is lost and the condition is still correct.
        for event in update.events:
            self._log.info("GatewayBackupSchedule %s/%s: %s", backups.id.namespace, schedule.name, event.message)
            await self._ports.cluster.event(schedule.meta.ref, event, now)

    async def _emit_blocked_event(self, backups: BackupSet, result: RetentionResult) -> None:
        """Report a hold on a set without a schedule. There is no condition for it, so its newest backup gets an event.

        The same message is reported once per run of the operator.
        """
        key, message = backups.id, result.message if result.inventory is None else ""
        if message and self._reported_holds.get(key) != message:
            self._log.warning("%s: %s", _describe(key), message)
            newest = max(backups.members.values(), key=lambda one: (one.time, one.name))
            ref = Ref(BACKUP_KIND, key.namespace, newest.name, newest.uid)
            await self._ports.cluster.event(
                ref, KubernetesEvent(str(result.reason), message, warning=True), self._ports.clock.now()
            )
        self._reported_holds[key] = message


def _describe(key: BackupSetId) -> str:
    return f"The {key.kind} {key.name} of {key.gateway} in namespace {key.namespace}"


def _version(ref: Ref, resource_version: str) -> Meta:
    """The metadata that a write on top of a version needs; a summary holds no more of an object."""
    return replace(Meta.parse({}, ref.kind), ref=ref, resource_version=resource_version)
