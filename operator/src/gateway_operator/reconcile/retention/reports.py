"""Reports the result of a pass over one set in the schedule's status. A set without a schedule gets an event."""

from __future__ import annotations

from typing import Final

from gateway_operator.domain.gateway.health import GatewayHealth
from gateway_operator.domain.model.actions import KubernetesEvent
from gateway_operator.domain.model.identifiers import BackupSetId, Ref
from gateway_operator.domain.model.names import BACKUP_KIND
from gateway_operator.domain.model.problem import describe_error
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.retention.result import RetentionResult
from gateway_operator.domain.retention.sets import BackupSet
from gateway_operator.domain.retention.status import schedule_status
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import ConflictError, Ports
from gateway_operator.reconcile.status_writer import Log

_STATUS_ATTEMPTS: Final = 3


def describe(set_id: BackupSetId) -> str:
    """The set in a log line."""
    return f"The {set_id.kind} {set_id.name} of {set_id.gateway} in namespace {set_id.namespace}"


class Reports:
    """Writes results. The same message about a set without a schedule, or about an object, is reported once."""

    def __init__(self, ports: Ports, log: Log) -> None:
        self._ports = ports
        self._log = log
        self._reported: dict[BackupSetId | Ref, str] = {}

    async def write_result(
        self,
        backups: BackupSet,
        result: RetentionResult,
        deleted: int,
        *,
        complete: bool,
        unowned: int | None,
        gateway: GatewayHealth | None = None,
    ) -> None:
        """Write the result to the schedule's status if it has changed, and emit events about the change.

        ``complete``: whether all backups were listed. ``unowned``: the number of files without an object, or None.
        """
        schedule = backups.schedule
        if schedule is None:
            await self._emit_blocked_event(backups, result)
            return
        now = self._ports.clock.now()
        for _ in range(_STATUS_ATTEMPTS):
            update = schedule_status(schedule, backups if complete else None, result, deleted, now, unowned, gateway)
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

    async def report_internal_error(self, backups: BackupSet, error: Exception) -> None:
        """Report an unexpected exception on the set in which it occurred. The pass over the other sets continues."""
        message = f"Nothing is deleted. {describe_error(error)}"
        kept = sum(one.phase == "Completed" for one in backups.members.values())
        result = RetentionResult((), False, Reason.InternalError, message, kept, 0, None)
        self._log.error("%s: %s", describe(backups.id), message, exc_info=error)
        try:
            await self.write_result(backups, result, 0, complete=False, unowned=None)
        except Exception as second:  # the report uses the same objects, so the same error may occur
            self._log.warning("%s: the error cannot be reported: %s", describe(backups.id), second)

    async def report_unreadable(self, ref: Ref, error: str) -> None:
        """Report an object that cannot be read, once for each error."""
        if self._reported.get(ref) == error:
            return
        self._reported[ref] = error
        message = f"Retention leaves this object out, because it cannot be read: {error}"
        self._log.warning("%s %s/%s: %s", ref.kind, ref.namespace, ref.name, message)
        event = KubernetesEvent(str(Reason.InternalError), message, warning=True)
        await self._ports.cluster.event(ref, event, self._ports.clock.now())

    def forget_missing(self, namespace: str, present: set[BackupSetId]) -> None:
        """Forget the reports about sets of a namespace that no longer exist. Empty: of all namespaces."""
        missing = [
            key
            for key in self._reported
            if isinstance(key, BackupSetId) and namespace in ("", key.namespace) and key not in present
        ]
        for key in missing:
            del self._reported[key]

    async def _emit_blocked_event(self, backups: BackupSet, result: RetentionResult) -> None:
        """Report a hold on a set without a schedule. There is no condition for it, so its newest backup gets an event.

        The same message is reported once per run of the operator.
        """
        key, message = backups.id, result.message if result.inventory is None else ""
        if message and self._reported.get(key) != message and backups.members:
            self._log.warning("%s: %s", describe(key), message)
            newest = max(backups.members.values(), key=lambda one: (one.created, one.name))
            ref = Ref(BACKUP_KIND, key.namespace, newest.name, newest.uid)
            await self._ports.cluster.event(
                ref, KubernetesEvent(str(result.reason), message, warning=True), self._ports.clock.now()
            )
        self._reported[key] = message
