"""The periodic retention pass: retention rules, ttl and objectives of all backup sets.

A pass lists all objects, compares the backups with the files on their volumes, and plans each set with pure functions.
Where a plan deletes something, the files and the objects of that gateway are listed again and the plan is made again.
Then the pass records what will be left, and deletes one backup at a time. At the end it writes the schedule's status.

No state is needed between two passes, so the operator may stop at any point and the next pass continues. Each write
names the resourceVersion that it is based on, so two operators that run by mistake do not overwrite each other.
An exception in one set is reported on that set, and the pass continues with the others.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Final

from gateway_operator.domain.gateway.admission import SCHEDULES_POLICY, policy_problem
from gateway_operator.domain.gateway.health import GatewayHealthIndex
from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.index.file_state import FileState
from gateway_operator.domain.model.identifiers import BackupSetId, NamespacedGateway, Ref
from gateway_operator.domain.model.names import BACKUP_KIND
from gateway_operator.domain.model.resources import Meta
from gateway_operator.domain.retention.guards import (
    SetObservation,
    approvable_holds,
    first_hold,
    restore_pending_hold,
)
from gateway_operator.domain.retention.plan import COMPLETED, RetentionDecision, plan
from gateway_operator.domain.retention.policy import RetentionPolicy
from gateway_operator.domain.retention.result import FORGET, RetentionResult, executed_deletions, summarize
from gateway_operator.domain.retention.sets import BackupSet, gather, kept_by_status
from gateway_operator.domain.retention.status import left_by_last_pass, recorded_inventory
from gateway_operator.domain.retention.volume import VolumeFile, set_inventory, unowned_files
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import ClusterError, ConflictError, MissingError, Ports
from gateway_operator.reconcile.retention.deletions import Deletions, GatewayProblems, RestoreList
from gateway_operator.reconcile.retention.file_presence import FilePresence
from gateway_operator.reconcile.retention.objects import Listing, list_objects
from gateway_operator.reconcile.retention.reports import Reports, describe
from gateway_operator.reconcile.retention.volumes import Volumes
from gateway_operator.reconcile.status_writer import Log
from gateway_operator.reconcile.watch_check import WatchCheck
from gateway_operator.reconcile.watch_coverage import WatchCoverage

_LARGE_SET: Final = 500
"""A set with at least this number of backups is planned in a thread, so that the event loop is not blocked."""
_MAX_DELETIONS_PER_PASS: Final = 100
"""Maximum deletions of one set in a pass. More would delay the other sets, and the listing would become stale."""


@dataclass
class _Overview:
    """The inputs of all sets in one pass, or of the sets of one gateway shortly before deletions."""

    listing: Listing
    sets: list[BackupSet]
    unowned: dict[NamespacedGateway, list[VolumeFile]]
    """The files without an object, for each gateway whose volume is listed."""
    fresh: bool
    """Whether it was read for deletions. Otherwise a set with deletions is left to a fresh overview."""


@dataclass
class _Pass:
    """State that the sets of one pass share."""

    problems: GatewayProblems = field(default_factory=dict)
    to_delete: dict[NamespacedGateway, set[BackupSetId]] = field(default_factory=lambda: defaultdict(set))
    """The sets whose plan deletes something, by gateway."""


class RetentionController:
    """Runs retention passes over the given namespaces; over all namespaces if none is given."""

    def __init__(
        self,
        ports: Ports,
        namespaces: Sequence[str],
        log: Log,
        watch_check: WatchCheck | None = None,
        health: GatewayHealthIndex | None = None,
        coverage: WatchCoverage | None = None,
    ) -> None:
        self._ports = ports
        self._watch_check = watch_check
        self._coverage = coverage
        self._namespaces = tuple(namespaces) or ("",)
        self._log = log
        self._health = health if health is not None else GatewayHealthIndex()
        self._volumes = Volumes(ports, log, self._health)
        self._reports = Reports(ports, log)
        self.listing_seconds = 0.0
        """Seconds that the last pass spent on listing. The caller derives the pause between passes from it."""

    async def run_once(self) -> None:
        """Run one pass. An error in one set, gateway or namespace is reported, and the others are still processed."""
        self.listing_seconds = 0.0
        unfinished: list[Ref] | None = []
        for namespace in self._namespaces:
            began = monotonic()
            try:
                listing = await list_objects(self._ports, namespace, self._log)
            except Exception as error:  # also an unexpected one: the other namespaces are still processed
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
            if listing.complete and self._coverage is not None:
                self._coverage.compare(namespace, listing.uids)
            try:
                await self._process_namespace(namespace, listing)
            except Exception:
                self._log.exception("The retention pass failed with an unexpected error.")
        if self._watch_check is not None and unfinished is not None:
            self._watch_check.compare(unfinished, monotonic())

    async def _process_namespace(self, namespace: str, listing: Listing) -> None:
        for ref, error in listing.unreadable.items():
            await self._reports.report_unreadable(ref, error)
        gateways = {one.set_id.namespaced_gateway for one in listing.schedules}
        if listing.complete:
            await self._volumes.refresh_due(gateways, listing.backups)
        overview, state = await self._overview(listing, fresh=False), _Pass()
        if listing.complete:
            present = gateways | {one.set_id.namespaced_gateway for one in listing.backups}
            self._volumes.forget(namespace, present)
            self._reports.forget_missing(namespace, {one.id for one in overview.sets})
        for backups in overview.sets:
            await self._process_guarded(backups, overview, state)
        for gateway, set_ids in state.to_delete.items():
            await self._delete_at(gateway, set_ids, state)

    async def _delete_at(self, gateway: NamespacedGateway, set_ids: set[BackupSetId], state: _Pass) -> None:
        """Process the sets with deletions at one gateway, on fresh complete lists.

        The files are listed before the objects: a file that is written in between has its object in the later list.
        """
        await self._volumes.refresh(gateway)
        began = monotonic()
        try:
            listing = await list_objects(self._ports, gateway.namespace, self._log)
        except Exception as error:  # also an unexpected one: the other gateways are still processed
            self._log.warning("%s in namespace %s waits: %s", gateway.gateway, gateway.namespace, error)
            return
        finally:
            self.listing_seconds += monotonic() - began
        listing.backups = [one for one in listing.backups if one.set_id.namespaced_gateway == gateway]
        overview = await self._overview(listing, fresh=True)
        # Before the deletions: whatever ends them, the next pass must not work with this listing.
        self._volumes.expire(gateway)
        for backups in overview.sets:
            if backups.id in set_ids:
                await self._process_guarded(backups, overview, state)

    async def _overview(self, listing: Listing, *, fresh: bool) -> _Overview:
        """Compare the backups with the files, and group them into sets."""
        if not listing.complete:
            return _Overview(listing, gather([], listing.schedules, []), {}, fresh)
        by_gateway: dict[NamespacedGateway, list[BackupSummary]] = defaultdict(list)
        for schedule in listing.schedules:
            by_gateway[schedule.set_id.namespaced_gateway] = []
        for row in listing.backups:
            by_gateway[row.set_id.namespaced_gateway].append(row)
        compared: list[BackupSummary] = []
        unowned: dict[NamespacedGateway, list[VolumeFile]] = {}
        for gateway, rows in by_gateway.items():
            files = self._volumes.listing(gateway)
            presence = FilePresence(self._ports, gateway, files, self._log)
            compared += await presence.judge(rows)
            if presence.listing_is_old:
                self._volumes.expire(gateway)
            if files is not None:
                unowned[gateway] = unowned_files(files, rows, listing.began)
        return _Overview(listing, gather(compared, listing.schedules, listing.restores), unowned, fresh)

    async def _process_guarded(self, backups: BackupSet, overview: _Overview, state: _Pass) -> None:
        try:
            await self._process_set(backups, overview, state)
        except (ConflictError, MissingError) as error:
            # Another writer changed an object of this set. The next pass plans the set from a new listing.
            self._log.debug("%s is left to the next pass: %s", describe(backups.id), error)
        except ClusterError as error:
            self._log.warning("%s cannot be processed in this pass: %s", describe(backups.id), error)
        except Exception as error:
            await self._reports.report_internal_error(backups, error)

    async def _approval_problem(self) -> str:
        """Why approvals of deletions do not count: their admission policy is not in force. Empty if they do."""
        prefix = self._ports.policies
        installed = await self._ports.cluster.admission_policy(f"{prefix}-{SCHEDULES_POLICY}") if prefix else None
        return policy_problem(SCHEDULES_POLICY, installed)

    async def _process_set(self, backups: BackupSet, overview: _Overview, state: _Pass) -> None:
        if backups.error is not None:
            raise backups.error
        policy = backups.policy if isinstance(backups.policy, RetentionPolicy) else RetentionPolicy()
        now, listing = self._ports.clock.now(), overview.listing
        complete = listing.is_complete_in(backups.id.namespace)
        if len(backups.members) < _LARGE_SET:
            decisions = plan(backups.rows, policy, now)
        else:
            decisions = await asyncio.to_thread(plan, backups.rows, policy, now)
        observation = self._observe(backups, overview, executed_deletions(decisions, policy))
        if approvable_holds(observation):
            observation = replace(observation, approval_problem=await self._approval_problem())
        approvals = [] if observation.approval_problem else approvable_holds(observation)
        result = summarize(decisions, backups.policy, first_hold(observation, now), approvals)
        if result.deletions and backups.unresolved_restore:
            result = summarize(decisions, backups.policy, restore_pending_hold(backups.unresolved_restore), approvals)
        result = replace(result, volume_id=self._volume_id(backups.id.namespaced_gateway))
        if listing.complete and not isinstance(backups.policy, str):
            await self._write_kept_by(backups, decisions)
        deletions = Deletions(self._ports, backups, RestoreList(self._ports), state.problems, self._log)
        if not overview.fresh:
            # Deletions that an earlier pass has committed come first, even under a hold: their status promises it.
            await deletions.finish_committed()
            reported = {one.get("nonce") for one in backups.approvals}
            if result.deletions or any(one.nonce not in reported for one in approvals):
                # These lists may be old by now: a backup that the plan keeps may be gone, and a file without an object
                # may be gone as well. So a deletion and a new hold are decided on fresh lists.
                state.to_delete[backups.id.namespaced_gateway].add(backups.id)
                return
        # The record comes before the first deletion. It is not written while the gateway cannot delete files: it would
        # then announce backups as deleted that stay.
        if backups.schedule is not None and result.deletions and not await deletions.gateway_problem():
            backups = replace(backups, schedule=await self._record_before_deleting(backups.schedule, result))
        for decision in result.deletions[:_MAX_DELETIONS_PER_PASS]:
            await deletions.delete(decision)
        deletions.defer(result.deletions[_MAX_DELETIONS_PER_PASS:])
        unowned = overview.unowned.get(backups.id.namespaced_gateway)
        # The status comes last, because it reports the deletions. After a crash the next pass writes it.
        await self._reports.write_result(
            backups,
            deletions.update_result(result),
            deletions.deleted,
            complete=complete,
            unowned=None if unowned is None else len(unowned),
            gateway=self._health.checks.get(backups.id.namespaced_gateway),
        )

    def _observe(
        self, backups: BackupSet, overview: _Overview, deletions: Sequence[RetentionDecision]
    ) -> SetObservation:
        schedule, gateway, listing = backups.schedule, backups.id.namespaced_gateway, overview.listing
        problem = self._volumes.problem(gateway) if backups.needs_files else ""
        unowned = overview.unowned.get(gateway, [])
        return SetObservation(
            complete=listing.is_complete_in(backups.id.namespace),
            newest=backups.newest,
            server_time=self._ports.clock.now() + listing.skew if listing.skew is not None else None,
            files_problem=problem,
            inventory=set_inventory(backups.id, backups.rows, unowned),
            deletions=[one.backup.uid for one in deletions if one.deletes_file and one.backup.phase == COMPLETED],
            present=backups.present,
            left_before=left_by_last_pass(schedule, self._volume_id(gateway)) if schedule is not None else None,
            schedule=schedule,
        )

    def _volume_id(self, gateway: NamespacedGateway) -> str:
        listing = self._volumes.listing(gateway)
        return listing.volume_id if listing is not None else ""

    async def _write_kept_by(self, backups: BackupSet, decisions: Sequence[RetentionDecision]) -> None:
        """Write ``keptBy`` and ``expiresAt`` where they have changed. A backup that will be deleted is not written.

        Such a write would change its version, and the deletion would then be refused as a conflict. A backup whose
        file is not compared yet keeps what it has.
        """
        for decision in decisions:
            row = decision.backup
            unjudged = row.phase == COMPLETED and row.file in (FileState.unknown, FileState.missing)
            if not decision.keep or row.phase not in ("Completed", "Failed") or unjudged:
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
        """Record in the schedule's status the number of backups that the deletions will leave. Returns the schedule.

        The record precedes the first deletion. With it, an approved large deletion that a crash interrupts is continued
        without another approval. A conflict ends the pass over this set before anything is deleted.
        """
        if result.inventory is None or result.inventory == FORGET:
            return schedule
        if left_by_last_pass(schedule, result.volume_id) == result.inventory:
            return schedule
        status = {"retention": recorded_inventory(result)}
        return GatewayBackupSchedule.parse(await self._ports.cluster.write_status(schedule.meta, status))


def _version(ref: Ref, resource_version: str) -> Meta:
    """The metadata that a write on top of a version needs; a summary holds no more of an object."""
    return replace(Meta.parse({}, ref.kind), ref=ref, resource_version=resource_version)
