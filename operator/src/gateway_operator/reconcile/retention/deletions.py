"""The deletions of a pass over a set: one at a time, each read again before its commit.

Each goes in three steps: the commit (phase Deleting, on top of the version that was judged), the file, the object. A
pass first finishes what an earlier one has committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from gateway_operator.domain.backup import deletion
from gateway_operator.domain.model.identifiers import NamespacedGateway, Ref
from gateway_operator.domain.model.names import BACKUP_KIND, RESTORE_KIND
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup, Restore
from gateway_operator.domain.retention.plan import COMPLETED, DeletionCause, RetentionDecision
from gateway_operator.domain.retention.result import RetentionResult, deletion_event
from gateway_operator.domain.retention.sets import BackupSet, in_use
from gateway_operator.ports import ClusterError, ConflictError, MissingError, Ports
from gateway_operator.reconcile.deletion import finish_deletion, gateway_problem
from gateway_operator.reconcile.status_writer import Log

GatewayProblems = dict[NamespacedGateway, str]
"""Why each gateway cannot delete files in this pass, empty if it can. Each is asked once a pass."""
_PATIENCE: Final = 30.0
"""Seconds for one deletion at a gateway: a pass must not wait long for one that does not answer."""
_REASONS: Final = {DeletionCause.retention: deletion.BY_RETENTION, DeletionCause.ttl: deletion.BY_TTL}


class Deletions:
    """What a pass deletes of a set."""

    def __init__(self, ports: Ports, backups: BackupSet, problems: GatewayProblems, log: Log) -> None:
        self._ports = ports
        self._set = backups
        self._problems = problems
        self._log = log
        self._left: list[RetentionDecision] = []
        self._answer = ""
        self._refusals = 0
        self.done = 0

    async def finish_committed(self) -> None:
        """Finish the deletions that an earlier pass has committed."""
        for name, candidate in self._set.members.items():
            if candidate.deletion_committed:
                await self._finish(Ref(BACKUP_KIND, self._set.id.namespace, name, candidate.uid))

    async def delete(self, decision: RetentionDecision) -> None:
        """Delete one, if it is still exactly what was judged and no restore has come to need it."""
        candidate = decision.backup
        ref = Ref(BACKUP_KIND, self._set.id.namespace, candidate.name, candidate.uid)
        try:
            if candidate.has_file and decision.cause is not DeletionCause.failed:
                problem = await self.gateway_problem()
                if problem:
                    self._refused(ref, decision, problem)
                    return
            body = await self._ports.cluster.read(ref)
            if body is None:
                return
            backup = Backup.parse(body)
            if backup.meta.resource_version != candidate.resource_version:
                raise ConflictError("it was changed since it was listed")
            listed = await self._ports.cluster.list_ours(RESTORE_KIND, ref.namespace)
            user = in_use(candidate, [Restore.parse(one) for one in listed])
            if user is not None:
                raise ConflictError(f"GatewayRestore {user} needs it")
            if decision.cause is DeletionCause.failed:  # only the record: in doubt a file stays
                await self._ports.cluster.delete_ours(backup.meta)
            else:
                # The commit point. It names the version that was judged, so a pin of the last moment wins.
                reason = _REASONS[decision.cause or DeletionCause.retention]
                status = deletion.deletion_status(reason, deletion_event(decision).message, self._ports.clock.now())
                await self._ports.cluster.write_status(backup.meta, status)
        except MissingError:
            return
        except ConflictError as error:  # the next pass decides anew
            self._log.info("GatewayBackup %s/%s stays for now: %s", ref.namespace, ref.name, error)
            self._left.append(decision)
            return
        except ClusterError as error:
            self._refused(ref, decision, str(error))
            return
        self.done += 1
        await self._tell(ref, decision)
        if decision.cause is not DeletionCause.failed:
            await self._finish(ref)

    def leave(self, decisions: Sequence[RetentionDecision]) -> None:
        """Leave them to the next pass."""
        self._left.extend(decisions)

    async def gateway_problem(self) -> str:
        """Why the gateway cannot delete files in this pass; empty if it can. It is asked once a pass."""
        gateway = self._set.id.namespaced_gateway
        if gateway not in self._problems:
            try:
                async with asyncio.timeout(_PATIENCE):
                    self._problems[gateway] = await gateway_problem(self._ports, gateway.namespace, gateway.gateway)
            except TimeoutError:
                self._problems[gateway] = f"The gateway did not answer within {_PATIENCE:.0f} s."
        return self._problems[gateway]

    async def _finish(self, ref: Ref) -> None:
        """Delete the file and the object of a committed one. Where that fails, the next pass tries again."""
        gateway = self._set.id.namespaced_gateway
        problem = self._problems.get(gateway, "")
        if not problem:
            try:
                async with asyncio.timeout(_PATIENCE):
                    problem = await finish_deletion(self._ports, ref, self._log)
                if not problem:
                    return
            except TimeoutError:
                problem = f"The gateway did not answer within {_PATIENCE:.0f} s."
            except ClusterError as error:
                self._note_refusal(ref, str(error))
                return
            self._problems[gateway] = problem
        self._note_refusal(ref, problem)

    def _note_refusal(self, ref: Ref, answer: str) -> None:
        if not self._answer:  # one line a set and pass: they mostly fail for the same reason
            self._log.warning("GatewayBackup %s/%s could not be deleted: %s", ref.namespace, ref.name, answer)
        self._refusals += 1
        self._answer = self._answer or answer

    async def _tell(self, ref: Ref, decision: RetentionDecision) -> None:
        event, now = deletion_event(decision), self._ports.clock.now()
        self._log.info("%s/%s: %s", ref.namespace, self._set.id.group, event.message)
        await self._ports.cluster.event(ref, event, now)
        if self._set.schedule is not None:
            await self._ports.cluster.event(self._set.schedule.meta.ref, event, now)

    def _refused(self, ref: Ref, decision: RetentionDecision, answer: str) -> None:
        self._left.append(decision)
        self._note_refusal(ref, answer)

    def conclusion(self, outcome: RetentionResult) -> RetentionResult:
        """The outcome after them."""
        good = sum(1 for one in self._left if one.backup.phase == COMPLETED)
        # What was promised stands as the inventory: it is what the next pass will leave.
        outcome = replace(outcome, kept=outcome.kept + good, would_delete=outcome.would_delete + len(self._left))
        if not self._answer:
            return outcome
        message = f"{self._refusals} backups could not be deleted: {self._answer}"
        # The inventory stays as it is recorded: as promised, or as before where nothing was promised.
        return replace(outcome, applied=False, reason=Reason.DeletionRefused, message=message, inventory=None)
