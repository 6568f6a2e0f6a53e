"""Reconciling a GatewayBackupImport: read the volume, create what is missing, wait until all of it is adopted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from gateway_api.contract import BackupEntry
from gateway_operator.domain import backup_import
from gateway_operator.domain.model import conditions, timestamps
from gateway_operator.domain.model.actions import KubernetesEvent
from gateway_operator.domain.model.admin_api import Failure, NotFound
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import BACKUP_KIND
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup, Import
from gateway_operator.ports import AdminApiError, AdminTarget, ConflictError, MissingError, Ports
from gateway_operator.reconcile.gateway_lookup import call_or_failure, resolve_gateway
from gateway_operator.reconcile.status_writer import Log, write

TERMINAL_IMPORT_PHASES: Final = frozenset({"Completed", "Failed"})
_SHOWN_PATHS: Final = 50
_SHOWN_PROBLEMS: Final = 20
_NOT_A_CONFIG: Final = "BackupInvalid"


async def reconcile_import(ports: Ports, ref: Ref, log: Log) -> float | None:
    """Bring a GatewayBackupImport forward. Gives the seconds until it wants to be looked at again; None if never."""
    body = await ports.cluster.read(ref)
    thing = None if body is None else Import.parse(body)
    if thing is None or thing.phase in TERMINAL_IMPORT_PHASES or thing.meta.deleting_since is not None:
        return None
    try:
        return await _Run(ports, thing, log).go()
    except MissingError:
        return None


class _Run:
    """One run: resolve the gateway, list its files, create what is missing."""

    def __init__(self, ports: Ports, thing: Import, log: Log) -> None:
        self._ports = ports
        self._thing = thing
        self._log = log

    async def go(self) -> float | None:
        now = self._ports.clock.now()
        if now >= timestamps.later(self._thing.meta.created, self._thing.timeout):
            said = f" {self._thing.message}" if self._thing.message else ""
            cause = self._thing.reason if self._thing.reason not in ("", str(Reason.Importing)) else Reason.TimedOut
            return await self._finish(False, cause, f"It was not done within {self._thing.timeout} s.{said}", {})
        resolved = await resolve_gateway(self._ports, self._thing.meta.ref.namespace, self._thing.gateway)
        if resolved.target is None:
            why = (
                resolved.gateway
                if isinstance(resolved.gateway, GatewayProblem)
                else GatewayProblem(Reason.NoReadyPod, "It has no pod.")
            )
            return await self._wait(str(why.reason), why.message, now)
        health = await call_or_failure(self._ports.admin_api.health(resolved.target))
        if isinstance(health, Failure):
            return await self._failed(health, now)
        if health.volume_id is None:
            message = f"The admin API in pod {resolved.target.endpoint.pod} does not say which volume it has."
            return await self._wait(Reason.VolumeUnknown, message, now)
        try:
            return await self._import(resolved.target, health.volume_id, now)
        except AdminApiError as error:
            return await self._failed(Failure(error.code, error.detail, error.retryable, error.remedy), now)

    async def _import(self, target: AdminTarget, volume_id: str, now: datetime) -> float | None:
        files, ignored = await self._files(target)
        namespace = self._thing.meta.ref.namespace
        backups = [Backup.parse(body) for body in await self._ports.cluster.list_ours(BACKUP_KIND, namespace)]
        plan = backup_import.plan(self._thing, files, backups, volume_id)
        seen: dict[str, Any] = {
            "volumeID": volume_id,
            "pod": target.endpoint.pod,
            "startTime": timestamps.text(self._thing.time("startTime") or now),
            "found": plan.found,
            "alreadyOwned": plan.already_owned,
            "failed": len(plan.failed),
            "ignored": ignored,
        }
        shown = [{"path": one.path, "reason": one.reason, "message": one.message[:512]} for one in plan.failed]
        if shown:
            seen["problems"] = shown[:_SHOWN_PROBLEMS]
        if self._thing.dry_run:
            paths = [one.path for one in plan.create]
            seen.update(adopted=len(paths), wouldAdopt=paths[:_SHOWN_PATHS])
            message = f"{len(paths)} of {plan.found} backups would be adopted; nothing was created."
            return await self._finish(True, Reason.WouldImport, message, seen)
        seen["adopted"] = plan.adopted
        left = len(plan.create) + plan.waiting
        if left:
            message = f"{left} of {plan.found} backups are being adopted."
            await self._write({**self._running(Reason.Importing, message), **seen}, None)
        for adoption in plan.create:
            try:
                await self._ports.cluster.create_ours(BACKUP_KIND, namespace, backup_import.body(self._thing, adoption))
            except ConflictError:
                return 1.0  # somebody took the name meanwhile: list again
        if left:
            return timestamps.look_again(self._thing.time("startTime") or now, now)
        message = f"{plan.adopted} of {plan.found} backups were adopted; {plan.already_owned} had their GatewayBackup."
        if plan.failed:
            message = f"{message} {len(plan.failed)} could not be adopted: status.problems says why."
        return await self._finish(
            not plan.failed, Reason.ImportedInPart if plan.failed else Reason.Imported, message, seen
        )

    async def _files(self, target: AdminTarget) -> tuple[Sequence[BackupEntry], int]:
        """The files that may be backups, and how many are something else."""
        found: list[BackupEntry] = []
        ignored, token = 0, None
        while True:
            page = await self._ports.admin_api.list_files(target, token)
            token = page.continue_token
            for file in page.items:
                if not backup_import.is_selected(self._thing, file.path):
                    continue
                if file.kind == "foreign" and not await self._holds_a_config(target, file.path):
                    ignored += 1
                else:
                    found.append(file)
            if token is None:
                return found, ignored

    async def _holds_a_config(self, target: AdminTarget, path: str) -> bool:
        seen = await self._ports.admin_api.check_file(target, "", path)
        return not isinstance(seen, NotFound) and all(one.code != _NOT_A_CONFIG for one in seen.problems)

    def _running(self, reason: str, message: str) -> dict[str, Any]:
        return {
            "phase": "Running" if self._thing.time("startTime") or reason == Reason.Importing else "Pending",
            "reason": str(reason),
            "message": message,
            "observedGeneration": self._thing.meta.generation,
        }

    async def _failed(self, failure: Failure, now: datetime) -> float | None:
        if failure.retryable or failure.exempt_from_retry_limit:
            return await self._wait(failure.code, failure.sentence(), now)
        return await self._finish(False, failure.code, failure.sentence(), {})

    async def _wait(self, reason: str, message: str, now: datetime) -> float | None:
        told = self._thing.reason == str(reason)
        note = None if told else KubernetesEvent(str(reason), message, warning=True)
        await self._write(self._running(reason, message), note)
        return timestamps.look_again(self._thing.meta.created, now)

    async def _finish(self, succeeded: bool, reason: str, message: str, more: dict[str, Any]) -> float | None:
        now, generation = self._ports.clock.now(), self._thing.meta.generation
        ended = conditions.terminal_conditions(self._thing.conditions, succeeded, str(reason), message, generation, now)
        status = {
            **more,
            "phase": "Completed" if succeeded else "Failed",
            "reason": str(reason),
            "message": message,
            "observedGeneration": generation,
            "completionTime": timestamps.text(now),
            "conditions": ended,
        }
        await self._write(status, KubernetesEvent(str(reason), message, warning=not succeeded))
        return None

    async def _write(self, status: dict[str, Any], note: KubernetesEvent | None) -> None:
        self._thing = await write(self._ports, Import.parse, self._thing, status, note, self._log)
