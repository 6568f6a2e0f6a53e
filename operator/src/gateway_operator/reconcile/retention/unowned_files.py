"""What lies on the volumes, asked now and then: files that no GatewayBackup names are counted, and left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.model.identifiers import NamespacedGateway
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import AdminApiError, ClusterError, Ports
from gateway_operator.reconcile.gateway_lookup import resolve_gateway
from gateway_operator.reconcile.status_writer import Log

EVERY: Final = timedelta(minutes=10)
_PATIENCE: Final = 20.0
"""Seconds for one gateway. A pass must not wait long for one that does not answer."""


@dataclass(frozen=True, slots=True)
class File:
    """A file on a volume; without an id where no manifest describes it."""

    path: str
    backup_id: str


class UnownedFiles:
    """The files of the gateways that have a schedule, each asked every ten minutes."""

    def __init__(self, ports: Ports, log: Log) -> None:
        self._ports = ports
        self._log = log
        self._asked: dict[NamespacedGateway, datetime] = {}

    async def due(self, schedules: Iterable[GatewayBackupSchedule]) -> dict[NamespacedGateway, Sequence[File]]:
        """The files of those whose turn it is; without those that do not answer, which are asked again as late.

        Asked before the objects are listed: a file that is made in between has its object by then.
        """
        now = self._ports.clock.now()
        gateways = {one.set_id.namespaced_gateway for one in schedules}
        due = [one for one in gateways if abs(now - self._asked.get(one, now - EVERY)) >= EVERY]
        self._asked.update(dict.fromkeys(due, now))
        answers = await asyncio.gather(*(self._files(gateway) for gateway in due))
        return {gateway: files for gateway, files in zip(due, answers, strict=True) if files is not None}

    async def _files(self, gateway: NamespacedGateway) -> Sequence[File] | None:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._listed(gateway)
        except (AdminApiError, ClusterError, TimeoutError) as error:
            self._log.info("the files of %s in %s cannot be listed: %s", gateway.gateway, gateway.namespace, error)
            return None

    async def _listed(self, gateway: NamespacedGateway) -> Sequence[File] | None:
        resolved = await resolve_gateway(self._ports, gateway.namespace, gateway.gateway)
        if resolved.target is None:
            return None
        found: list[File] = []
        token: str | None = None
        while True:
            page = await self._ports.admin_api.list_files(resolved.target, token)
            token = page.continue_token
            found.extend(File(one.path, one.record.backup_id if one.record else "") for one in page.items)
            if token is None:
                return found


def unowned(files: Sequence[File], backups: Sequence[BackupSummary]) -> int:
    """How many no GatewayBackup of this gateway names. One that was gzipped by hand still has its manifest's id."""
    paths = {one.path for one in backups if one.path}
    ids = {one.backup_id for one in backups if one.backup_id}
    return sum(1 for one in files if one.path not in paths and (not one.backup_id or one.backup_id not in ids))
