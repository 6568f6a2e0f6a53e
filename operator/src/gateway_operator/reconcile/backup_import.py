"""Reconciles a GatewayBackupImport: create a GatewayBackup for each backup file on a volume that has none.

A run lists the files of the gateway, compares them with all GatewayBackups and creates those that are missing. Each
created object then adopts its file in its own reconcile. The import is requeued until all adoptions have ended. The
plan is made again in each run, so a crash between two creations needs no record.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from gateway_api.contract import BackupEntry, ErrorCode
from gateway_operator.domain import backup_import
from gateway_operator.domain.model import conditions, timestamps
from gateway_operator.domain.model.actions import KubernetesEvent
from gateway_operator.domain.model.admin_api import Failure, NotFound
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.import_resource import Import
from gateway_operator.domain.model.names import BACKUP_KIND
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup
from gateway_operator.ports import AdminApiError, AdminTarget, ConflictError, InvalidError, MissingError, Ports
from gateway_operator.reconcile.gateway_lookup import call_or_failure, resolve_gateway
from gateway_operator.reconcile.status_writer import Log, update_status

TERMINAL_IMPORT_PHASES: Final = frozenset({"Completed", "Failed"})
_MAX_PATHS_IN_STATUS: Final = 50
_MAX_PROBLEMS_IN_STATUS: Final = 20
_MAX_PROBLEM_MESSAGE: Final = 512
_NO_CONFIG: Final = frozenset({ErrorCode.BackupTooLarge, ErrorCode.PathNotAllowed})
"""The errors about a file that cannot be a backup, such as an archive that someone put on the volume."""
_CONFLICT_DELAY: Final = 1.0


async def reconcile_import(ports: Ports, ref: Ref, log: Log) -> float | None:
    """Reconcile a GatewayBackupImport. Returns the seconds until the next run; None if there is nothing left to do."""
    body = await ports.cluster.read(ref)
    resource = None if body is None else Import.parse(body)
    if resource is None or resource.phase in TERMINAL_IMPORT_PHASES or resource.meta.deleting_since is not None:
        return None
    try:
        return await _ImportRun(ports, resource, log).go()
    except MissingError:
        return None


async def after_import_error(ports: Ports, resource: Import, failure: Failure, log: Log) -> float | None:
    """Record an exception that ended the last run. It is retried until the import's deadline."""
    if resource.phase in TERMINAL_IMPORT_PHASES or resource.meta.deleting_since is not None:
        return None
    return await _ImportRun(ports, resource, log).record(failure)


class _ImportRun:
    """One run: resolve the gateway, list its files, create the missing GatewayBackups."""

    def __init__(self, ports: Ports, resource: Import, log: Log) -> None:
        self._ports = ports
        self._import = resource
        self._log = log

    async def record(self, failure: Failure) -> float | None:
        now = self._ports.clock.now()
        if self._is_late(now):
            message = f"The import did not finish within {self._import.timeout} s. {failure.sentence()}"
            return await self._finish(False, failure.code, message, {})
        return await self._failed(failure, now)

    def _is_late(self, now: datetime) -> bool:
        return now >= timestamps.later(self._import.meta.created, self._import.timeout)

    async def go(self) -> float | None:
        now = self._ports.clock.now()
        if self._is_late(now):
            last_message = f" {self._import.message}" if self._import.message else ""
            cause = self._import.reason if self._import.reason not in ("", str(Reason.Importing)) else Reason.TimedOut
            message = f"The import did not finish within {self._import.timeout} s.{last_message}"
            return await self._finish(False, cause, message, {})
        resolved = await resolve_gateway(self._ports, self._import.meta.ref.namespace, self._import.gateway)
        if resolved.target is None:
            return await self._wait(str(resolved.problem.reason), resolved.problem.message, now)
        health = await call_or_failure(self._ports.admin_api.health(resolved.target))
        if isinstance(health, Failure):
            return await self._failed(health, now)
        if health.volume_id is None:
            message = f"The admin API in pod {resolved.target.endpoint.pod} does not report the id of its volume."
            return await self._wait(Reason.VolumeUnknown, message, now)
        try:
            return await self._adopt_files(resolved.target, health.volume_id, now)
        except AdminApiError as error:
            return await self._failed(Failure(error.code, error.detail, error.retryable, error.remedy), now)

    async def _adopt_files(self, target: AdminTarget, volume_id: str, now: datetime) -> float | None:
        # Files before objects: a backup that is made in between has its GatewayBackup in the list, and is not adopted.
        files, ignored = await self._list_files(target)
        namespace = self._import.meta.ref.namespace
        backups = [Backup.parse(body) for body in await self._ports.cluster.list_ours(BACKUP_KIND, namespace)]
        plan = backup_import.plan(self._import, files, backups, volume_id)
        progress = self._progress(plan, target, volume_id, ignored, now)
        if self._import.dry_run:
            paths = [one.path for one in plan.create]
            progress.update(adopted=len(paths), wouldAdopt=paths[:_MAX_PATHS_IN_STATUS])
            message = f"{len(paths)} of {plan.files} backups would be adopted; nothing was created."
            return await self._finish(True, Reason.WouldImport, message, progress)
        progress["adopted"] = plan.adopted
        remaining = len(plan.create) + plan.waiting
        if remaining:
            # The status comes before the objects: a user can then see which import creates them.
            message = f"{remaining} of {plan.files} backups are being adopted."
            pinned = {one.name for one in plan.create if one.pinned} | self._import.pinned_names
            # The names as well: after a crash between deletion and creation, only this status says which were pinned.
            names = {"pinnedNames": sorted(pinned)} if pinned else {}
            await self._write({**self._unfinished_status(Reason.Importing, message), **progress, **names}, None)
        try:
            refused = await self._create(plan, namespace)
        except ConflictError:
            # An object of this name was created in the meantime, or one with a finalizer is still being deleted.
            # Requeue: the next run plans with it.
            return _CONFLICT_DELAY
        if remaining > len(refused):
            # Requeue: the adoptions run in the reconciles of their own objects, and their events do not come here.
            return timestamps.recheck_delay(self._import.time("startTime") or now, now)
        message = (
            f"{plan.adopted} of {plan.files} backups were adopted; {plan.already_owned} already had a GatewayBackup."
        )
        failed = (*plan.failed, *refused)
        if failed:
            message = f"{message} {len(failed)} could not be adopted; see status.problems."
        progress.update(_problems(failed))
        return await self._finish(not failed, Reason.ImportedInPart if failed else Reason.Imported, message, progress)

    def _progress(
        self, plan: backup_import.ImportPlan, target: AdminTarget, volume_id: str, ignored: int, now: datetime
    ) -> dict[str, Any]:
        """The status fields about the files: their numbers, and those that cannot be adopted."""
        return {
            "volumeID": volume_id,
            "pod": target.endpoint.pod,
            "startTime": timestamps.text(self._import.time("startTime") or now),
            "found": plan.files,
            "alreadyOwned": plan.already_owned,
            "ignored": ignored,
            **_problems(plan.failed),
        }

    async def _create(self, plan: backup_import.ImportPlan, namespace: str) -> tuple[backup_import.ImportProblem, ...]:
        """Create the missing GatewayBackups; returns what the API server refuses. ConflictError if a name is taken."""
        refused: list[backup_import.ImportProblem] = []
        for adoption in plan.create:
            if adoption.replaces is not None:
                # The old object ended in NameUsed and has no file. By uid: a newer object of its name stays.
                with suppress(MissingError):
                    await self._ports.cluster.delete_by_uid(adoption.replaces)
            body = backup_import.backup_body(self._import, adoption)
            try:
                await self._ports.cluster.create_ours(BACKUP_KIND, namespace, body)
            except InvalidError as error:  # for example a path of more than 1024 characters
                refused.append(backup_import.ImportProblem(adoption.path, str(Reason.SpecInvalid), str(error)))
        return tuple(refused)

    async def _list_files(self, target: AdminTarget) -> tuple[Sequence[BackupEntry], int]:
        """The selected files that may be backups, and the number of files that contain something else."""
        files: list[BackupEntry] = []
        ignored, token = 0, None
        while True:
            page = await self._ports.admin_api.list_files(target, token)
            token = page.continue_token
            for file in page.items:
                if not backup_import.is_selected(self._import, file.path):
                    continue
                if file.kind == "foreign" and not await self._contains_config(target, file.path):
                    ignored += 1
                else:
                    files.append(file)
            if token is None:
                return files, ignored

    async def _contains_config(self, target: AdminTarget, path: str) -> bool:
        try:
            check = await self._ports.admin_api.check_file(target, "", path)
        except AdminApiError as error:
            if error.code == ErrorCode.BackupUnusable:
                return True  # for example a file with a second hard link: its GatewayBackup fails with the cause
            if error.code not in _NO_CONFIG:
                raise
            return False
        return not isinstance(check, NotFound) and all(one.code != ErrorCode.BackupInvalid for one in check.problems)

    def _unfinished_status(self, reason: str, message: str) -> dict[str, Any]:
        return {
            "phase": "Running" if self._import.time("startTime") or reason == Reason.Importing else "Pending",
            "reason": str(reason),
            "message": message,
            "observedGeneration": self._import.meta.generation,
        }

    async def _failed(self, failure: Failure, now: datetime) -> float | None:
        if failure.retryable or failure.exempt_from_retry_limit:
            return await self._wait(failure.code, failure.sentence(), now)
        return await self._finish(False, failure.code, failure.sentence(), {})

    async def _wait(self, reason: str, message: str, now: datetime) -> float | None:
        already_reported = self._import.reason == str(reason)
        event = None if already_reported else KubernetesEvent(str(reason), message, warning=True)
        await self._write(self._unfinished_status(reason, message), event)
        # Requeue: no watch event announces that the gateway can be called again.
        return timestamps.recheck_delay(self._import.meta.created, now)

    async def _finish(self, succeeded: bool, reason: str, message: str, extra_status: dict[str, Any]) -> float | None:
        now, generation = self._ports.clock.now(), self._import.meta.generation
        ended = conditions.terminal_conditions(
            self._import.conditions, succeeded, str(reason), message, generation, now
        )
        status = {
            **extra_status,
            "phase": "Completed" if succeeded else "Failed",
            "reason": str(reason),
            "message": message,
            "observedGeneration": generation,
            "completionTime": timestamps.text(now),
            "conditions": ended,
        }
        await self._write(status, KubernetesEvent(str(reason), message, warning=not succeeded))
        return None

    async def _write(self, status: dict[str, Any], event: KubernetesEvent | None) -> None:
        self._import = await update_status(self._ports, Import.parse, self._import, status, event, self._log)


def _problems(failed: Sequence[backup_import.ImportProblem]) -> dict[str, Any]:
    """The status fields about the files that cannot be adopted."""
    problems = [
        {"path": one.path, "reason": one.reason, "message": one.message[:_MAX_PROBLEM_MESSAGE]} for one in failed
    ]
    return {"failed": len(failed), **({"problems": problems[:_MAX_PROBLEMS_IN_STATUS]} if problems else {})}
