"""What lies on the volumes, asked now and then: files that no GatewayBackup names are counted, and left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway_operator.domain.objects import GatewayRef
from gateway_operator.domain.retention_sets import Candidate, Schedule
from gateway_operator.ports import AdminApiError, ClusterError, Ports
from gateway_operator.reconcile.gateways import resolve_gateway
from gateway_operator.reconcile.writing import Log

EVERY: Final = timedelta(minutes=10)
_PATIENCE: Final = 20.0
"""Seconds for one gateway. A pass must not wait long for one that does not answer."""

Place = tuple[str, GatewayRef]


@dataclass(frozen=True, slots=True)
class File:
    """A file on a volume; without an id where no manifest describes it."""

    path: str
    backup_id: str


class Volumes:
    """The files of the gateways that have a schedule, each asked every ten minutes."""

    def __init__(self, ports: Ports, log: Log) -> None:
        self._ports = ports
        self._log = log
        self._asked: dict[Place, datetime] = {}

    async def due(self, schedules: Iterable[Schedule]) -> dict[Place, Sequence[File]]:
        """The files of those whose turn it is; without those that do not answer, which are asked again as late.

        Asked before the objects are listed: a file that is made in between has its object by then.
        """
        now = self._ports.clock.now()
        places = {(one.key.namespace, one.key.gateway) for one in schedules}
        turn = [place for place in places if abs(now - self._asked.get(place, now - EVERY)) >= EVERY]
        self._asked.update(dict.fromkeys(turn, now))
        answers = await asyncio.gather(*(self._files(place) for place in turn))
        return {place: files for place, files in zip(turn, answers, strict=True) if files is not None}

    async def _files(self, place: Place) -> Sequence[File] | None:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._listed(place)
        except (AdminApiError, ClusterError, TimeoutError) as error:
            self._log.info("the files of %s in %s cannot be listed: %s", place[1], place[0], error)
            return None

    async def _listed(self, place: Place) -> Sequence[File] | None:
        resolved = await resolve_gateway(self._ports, *place)
        if resolved.target is None:
            return None
        found: list[File] = []
        token: str | None = None
        while True:
            page, token = await self._ports.admin_api.list_files(resolved.target, token)
            found.extend(File(one.path, one.stored.backup_id if one.stored else "") for one in page)
            if token is None:
                return found


def unowned(files: Sequence[File], candidates: Iterable[Candidate]) -> int:
    """How many no GatewayBackup of this gateway names. One that was gzipped by hand still has its manifest's id."""
    known = list(candidates)
    paths = {one.path for one in known if one.path}
    ids = {one.backup_id for one in known if one.backup_id}
    return sum(1 for one in files if one.path not in paths and (not one.backup_id or one.backup_id not in ids))
