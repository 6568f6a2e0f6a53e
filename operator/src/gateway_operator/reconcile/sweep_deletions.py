"""The deletions of a pass over a set: one at a time, each looked at again before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from gateway_operator.domain.names import BACKUP_KIND, BY_RETENTION, BY_TTL, RESTORE_KIND
from gateway_operator.domain.objects import Meta, Ref, Restore
from gateway_operator.domain.reasons import Reason
from gateway_operator.domain.retention import COMPLETED, Cause, Decision
from gateway_operator.domain.retention_outcome import Outcome, note, refused
from gateway_operator.domain.retention_sets import BackupSet, in_use
from gateway_operator.ports import ClusterError, ConflictError, MissingError, Ports
from gateway_operator.reconcile.deletion import delete_with_file
from gateway_operator.reconcile.writing import Log

_MARKS: Final = {Cause.retention: BY_RETENTION, Cause.ttl: BY_TTL}


class Deletions:
    """What a pass deletes of a set, and what came of it. ``owner`` is the schedule that is told."""

    def __init__(self, ports: Ports, backups: BackupSet, owner: Ref | None, log: Log) -> None:
        self._ports = ports
        self._set = backups
        self._owner = owner
        self._log = log
        self._left: list[Decision] = []
        self._answer = ""
        self._refusals = 0
        self.done = 0

    async def delete(self, decision: Decision) -> None:
        """Delete one, if it still is exactly what was decided about and no restore has come to need it."""
        candidate = decision.backup
        ref = Ref(BACKUP_KIND, self._set.id.namespace, candidate.name, candidate.uid)
        try:
            body = await self._ports.cluster.read(ref)
            if body is None:
                return
            meta = Meta.parse(body, BACKUP_KIND)
            if meta.resource_version != candidate.resource_version:
                raise ConflictError("it was changed since it was listed")
            listed = await self._ports.cluster.list_ours(RESTORE_KIND, ref.namespace)
            user = in_use(candidate, [Restore.parse(one) for one in listed])
            if user is not None:
                raise ConflictError(f"GatewayRestore {user} needs it")
            if decision.cause is Cause.failed:  # only the record: if in doubt, a file stays
                await self._ports.cluster.delete_ours(meta)
            elif not await delete_with_file(self._ports.cluster, meta, _MARKS[decision.cause or Cause.retention]):
                return
        except MissingError:
            return
        except ConflictError as error:  # the next pass decides anew
            self._log.info("GatewayBackup %s/%s stays for now: %s", ref.namespace, ref.name, error)
            self._left.append(decision)
            return
        except ClusterError as error:
            await self._refused(ref, decision, str(error))
            return
        self.done += 1
        await self._tell(ref, decision)

    def leave(self, decisions: Sequence[Decision]) -> None:
        """To the next pass."""
        self._left.extend(decisions)

    async def _tell(self, ref: Ref, decision: Decision) -> None:
        said, now = note(decision), self._ports.clock.now()
        self._log.info("%s/%s: %s", ref.namespace, self._set.id.group, said.message)
        for one in (ref, self._owner):
            if one is not None:
                await self._ports.cluster.event(one, said, now)

    async def _refused(self, ref: Ref, decision: Decision, answer: str) -> None:
        self._log.warning("GatewayBackup %s/%s could not be deleted: %s", ref.namespace, ref.name, answer)
        self._left.append(decision)
        self._refusals += 1
        if not self._answer and self._owner is None:  # a schedule's condition says it; others have only this
            await self._ports.cluster.event(ref, refused(decision, answer), self._ports.clock.now())
        self._answer = self._answer or answer

    def conclusion(self, outcome: Outcome) -> Outcome:
        """How it stands after them."""
        if not self._left:
            return outcome
        good = sum(1 for one in self._left if one.backup.phase == COMPLETED)
        # What was promised stands as the inventory: it is what the next pass will leave.
        outcome = replace(outcome, kept=outcome.kept + good, would_delete=outcome.would_delete + len(self._left))
        if not self._answer:
            return outcome
        message = f"{self._refusals} backups could not be deleted: {self._answer}"
        return replace(outcome, applied=False, reason=Reason.DeletionRefused, message=message)
