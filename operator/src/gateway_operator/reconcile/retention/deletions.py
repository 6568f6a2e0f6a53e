"""Deletes the backups that retention or ttl selected in one set, one at a time.

A deletion has three durable steps in this order: the commit (phase Deleting, on top of the version that was planned),
the file, the object. The backup and the restores are read again before the commit. A crash after the commit leaves an
object in phase Deleting, and the next pass finishes it before it deletes anything else.

The plan comes from lists that were read just before. Each backup is read again before its commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic
from typing import Final

from gateway_operator.domain.backup import deletion
from gateway_operator.domain.model.identifiers import NamespacedGateway, Ref
from gateway_operator.domain.model.names import BACKUP_KIND, RESTORE_KIND
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.retention.plan import COMPLETED, DeletionCause, RetentionDecision
from gateway_operator.domain.retention.result import RetentionResult, deletion_event
from gateway_operator.domain.retention.sets import BackupSet, in_use
from gateway_operator.ports import ClusterError, ConflictError, MissingError, Ports
from gateway_operator.reconcile.backup.deletion import finish_deletion, gateway_problem
from gateway_operator.reconcile.status_writer import Log

GatewayProblems = dict[NamespacedGateway, str]
"""For each gateway the reason why it cannot delete files in this pass; empty if it can. Each is checked once a pass."""
_GATEWAY_TIMEOUT: Final = 30.0
"""Seconds for one deletion, so that a gateway that does not answer delays a pass only briefly."""
_MAX_LIST_AGE: Final = 5.0
"""Seconds for which a list of restores is used."""
_REASONS: Final = {DeletionCause.retention: deletion.BY_RETENTION, DeletionCause.ttl: deletion.BY_TTL}


class RestoreList:
    """The restores of a namespace, listed at most every ``_MAX_LIST_AGE`` seconds during the deletions of a pass."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._lists: dict[str, tuple[float, list[Restore]]] = {}

    async def current(self, namespace: str) -> list[Restore]:
        """The restores of a namespace. A long pass lists them again, so that a new restore protects its source."""
        now = monotonic()
        listed = self._lists.get(namespace)
        if listed is None or now - listed[0] > _MAX_LIST_AGE:
            bodies = await self._ports.cluster.list_ours(RESTORE_KIND, namespace)
            listed = self._lists[namespace] = (now, [Restore.parse(one) for one in bodies])
        return listed[1]


class Deletions:
    """The deletions of one set in one pass, and a count of those that were done, deferred or refused."""

    def __init__(
        self, ports: Ports, backups: BackupSet, restores: RestoreList, problems: GatewayProblems, log: Log
    ) -> None:
        self._ports = ports
        self._restores = restores
        self._set = backups
        self._problems = problems
        self._log = log
        self._deferred: list[RetentionDecision] = []
        self._first_refusal = ""
        self._refusals = 0
        self.deleted = 0
        """Number of deletions that this pass has committed."""

    async def finish_committed(self) -> None:
        """Finish the deletions that an earlier pass has committed."""
        for name, candidate in self._set.members.items():
            if candidate.deletion_committed:
                await self._finish(Ref(BACKUP_KIND, self._set.id.namespace, name, candidate.uid))

    async def delete(self, decision: RetentionDecision) -> None:
        """Delete one backup, if it is unchanged since the listing and no restore uses it.

        A refusal or conflict raises nothing: it is counted, and the next pass decides again.
        """
        candidate = decision.backup
        ref = Ref(BACKUP_KIND, self._set.id.namespace, candidate.name, candidate.uid)
        try:
            if candidate.has_file and decision.deletes_file:
                # Before the commit: a committed deletion can only be finished, and must not wait for a gateway.
                problem = await self.gateway_problem()
                if problem:
                    self._refuse(ref, decision, problem)
                    return
            body = await self._ports.cluster.read(ref)
            if body is None:
                return
            backup = Backup.parse(body)
            if backup.meta.resource_version != candidate.resource_version:
                raise ConflictError("it was changed since it was listed")
            user = in_use(candidate, await self._restores.current(ref.namespace))
            if user is not None:
                raise ConflictError(f"GatewayRestore {user} needs it")
            if decision.cause is DeletionCause.failed:
                # Only the object: a failed backup may have left a file, and it stays because its content is unknown.
                await self._ports.cluster.delete_ours(backup.meta)
            else:
                # The commit point. The write names the planned version: if a user pins the backup now, it conflicts.
                reason = _REASONS[decision.cause or DeletionCause.retention]
                status = deletion.deletion_status(reason, deletion_event(decision).message, self._ports.clock.now())
                await self._ports.cluster.write_status(backup.meta, status)
        except MissingError:
            return
        except ConflictError as error:
            # The backup or a restore changed after the plan. The next pass plans again from a new listing.
            self._log.info("GatewayBackup %s/%s is kept until the next pass: %s", ref.namespace, ref.name, error)
            self._deferred.append(decision)
            return
        except ClusterError as error:
            self._refuse(ref, decision, str(error))
            return
        self.deleted += 1
        # Events before the object is deleted: afterwards there would be no object to attach them to.
        await self._emit_event(ref, decision)
        if decision.cause is not DeletionCause.failed:
            await self._finish(ref)

    def defer(self, decisions: Sequence[RetentionDecision]) -> None:
        """Count deletions that are left to the next pass."""
        self._deferred.extend(decisions)

    async def gateway_problem(self) -> str:
        """Why the gateway cannot delete files in this pass; empty if it can. The gateway is checked once a pass."""
        gateway = self._set.id.namespaced_gateway
        if gateway not in self._problems:
            try:
                async with asyncio.timeout(_GATEWAY_TIMEOUT):
                    self._problems[gateway] = await gateway_problem(self._ports, gateway.namespace, gateway.gateway)
            except TimeoutError:
                self._problems[gateway] = f"The gateway did not answer within {_GATEWAY_TIMEOUT:.0f} s."
        return self._problems[gateway]

    async def _finish(self, ref: Ref) -> None:
        """Delete the file and then the object of a committed deletion. After a failure the next pass tries again."""
        gateway = self._set.id.namespaced_gateway
        problem = self._problems.get(gateway, "")
        if not problem:
            try:
                async with asyncio.timeout(_GATEWAY_TIMEOUT):
                    problem = await finish_deletion(self._ports, ref, self._log)
                if not problem:
                    return
            except TimeoutError:
                problem = f"The gateway did not answer within {_GATEWAY_TIMEOUT:.0f} s."
            except ClusterError as error:
                self._count_refusal(ref, str(error))
                return
            # The other backups of this gateway would most likely wait for the same failure.
            self._problems[gateway] = problem
        self._count_refusal(ref, problem)

    def _count_refusal(self, ref: Ref, message: str) -> None:
        if not self._first_refusal:  # one line per set and pass: most refusals have the same reason
            self._log.warning("GatewayBackup %s/%s cannot be deleted: %s", ref.namespace, ref.name, message)
        self._refusals += 1
        self._first_refusal = self._first_refusal or message

    async def _emit_event(self, ref: Ref, decision: RetentionDecision) -> None:
        event, now = deletion_event(decision), self._ports.clock.now()
        self._log.info("Namespace %s, %s %s: %s", ref.namespace, self._set.id.kind, self._set.id.name, event.message)
        await self._ports.cluster.event(ref, event, now)
        if self._set.schedule is not None:
            await self._ports.cluster.event(self._set.schedule.meta.ref, event, now)

    def _refuse(self, ref: Ref, decision: RetentionDecision, message: str) -> None:
        self._deferred.append(decision)
        self._count_refusal(ref, message)

    def update_result(self, result: RetentionResult) -> RetentionResult:
        """The planned result, corrected by the deletions that were deferred or refused."""
        completed = sum(1 for one in self._deferred if one.backup.phase == COMPLETED)
        # The inventory is not corrected: it was recorded as the number that remains once the next pass has caught up.
        result = replace(result, kept=result.kept + completed, would_delete=result.would_delete + len(self._deferred))
        if not self._first_refusal:
            return result
        message = f"{self._refusals} backups could not be deleted: {self._first_refusal}"
        # No new inventory: the status keeps the number recorded before the deletions, or the one of an earlier pass.
        return replace(result, applied=False, reason=Reason.DeletionRefused, message=message, inventory=None)
