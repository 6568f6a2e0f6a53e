"""Counts the files on the gateways' volumes that no GatewayBackup names.

The retention pass lists the files of each gateway with a schedule every ten minutes. The count appears in the
schedule's status. Nothing is deleted here: a person decides what to do with such a file.
"""

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

LISTING_INTERVAL: Final = timedelta(minutes=10)
_GATEWAY_TIMEOUT: Final = 20.0
"""Seconds for the listing of one gateway, so that a gateway that does not answer delays a pass only briefly."""


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """A file on a volume. ``backup_id`` is empty if no manifest describes it."""

    path: str
    backup_id: str


class UnownedFiles:
    """Lists the files of the gateways that have a schedule, each at most every ``LISTING_INTERVAL``."""

    def __init__(self, ports: Ports, log: Log) -> None:
        self._ports = ports
        self._log = log
        self._listed_at: dict[NamespacedGateway, datetime] = {}

    async def list_due(
        self, schedules: Iterable[GatewayBackupSchedule]
    ) -> dict[NamespacedGateway, Sequence[VolumeFile]]:
        """List the files of the gateways that are due. Gateways that do not answer are left out.

        A gateway that does not answer is tried again after the same interval. Call this before the objects are
        listed: a file that is written in between then has its GatewayBackup in the list.
        """
        now = self._ports.clock.now()
        gateways = {one.set_id.namespaced_gateway for one in schedules}
        # The absolute difference: a clock that was set back must not stop the listings.
        due = [
            one for one in gateways if abs(now - self._listed_at.get(one, now - LISTING_INTERVAL)) >= LISTING_INTERVAL
        ]
        self._listed_at.update(dict.fromkeys(due, now))
        answers = await asyncio.gather(*(self._list_or_none(gateway) for gateway in due))
        return {gateway: files for gateway, files in zip(due, answers, strict=True) if files is not None}

    async def _list_or_none(self, gateway: NamespacedGateway) -> Sequence[VolumeFile] | None:
        try:
            async with asyncio.timeout(_GATEWAY_TIMEOUT):
                return await self._list_files(gateway)
        except (AdminApiError, ClusterError, TimeoutError) as error:
            detail = str(error) or f"no answer within {_GATEWAY_TIMEOUT:.0f} s"
            self._log.info(
                "The files of %s in namespace %s cannot be listed: %s", gateway.gateway, gateway.namespace, detail
            )
            return None

    async def _list_files(self, gateway: NamespacedGateway) -> Sequence[VolumeFile] | None:
        resolved = await resolve_gateway(self._ports, gateway.namespace, gateway.gateway)
        if resolved.target is None:
            return None
        files: list[VolumeFile] = []
        token: str | None = None
        while True:
            page = await self._ports.admin_api.list_files(resolved.target, token)
            token = page.continue_token
            files.extend(VolumeFile(one.path, one.record.backup_id if one.record else "") for one in page.items)
            if token is None:
                return files


def count_unowned(files: Sequence[VolumeFile], backups: Sequence[BackupSummary]) -> int:
    """The number of files that no GatewayBackup of this gateway names, by path or by backup id.

    The id counts as well: a file that was gzipped by hand has a new path and still the id of its manifest.
    """
    paths = {one.path for one in backups if one.path}
    ids = {one.backup_id for one in backups if one.backup_id}
    return sum(1 for one in files if one.path not in paths and (not one.backup_id or one.backup_id not in ids))
