"""Keeps the last complete listing of the files of each gateway.

A volume is listed every ten minutes, after a new backup, and before a pass that deletes. The admin API answers 304 if
nothing has changed, so most listings cost one small request. Nothing is deleted here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from gateway_operator.domain.gateway.health import GatewayHealthIndex
from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.model.identifiers import NamespacedGateway
from gateway_operator.domain.model.problem import GatewayProblem, describe_error
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.retention.plan import COMPLETED
from gateway_operator.domain.retention.volume import VolumeFile, VolumeListing
from gateway_operator.ports import AdminApiError, ClusterError, Ports
from gateway_operator.reconcile.replicas import replica_problem
from gateway_operator.reconcile.retention.gateway_checks import GatewayChecks
from gateway_operator.reconcile.status_writer import Log

LISTING_INTERVAL: Final = timedelta(minutes=10)
RETRY_INTERVAL: Final = timedelta(minutes=1)
"""The pause after a listing that failed, so that many unreachable gateways do not delay each pass."""
_GATEWAY_TIMEOUT: Final = 20.0
"""Seconds for the listing of one gateway, so that a gateway that does not answer delays a pass only briefly."""
_IN_PARALLEL: Final = 16


class IncompleteListingError(Exception):
    """The pages do not describe one volume at one time. The text says why."""


@dataclass(frozen=True, slots=True)
class _State:
    """The result of the last attempt at one gateway."""

    tried: datetime
    listing: VolumeListing | None = None
    etag: str = ""
    problem: str = ""
    expired: bool = False
    """Whether files were deleted since the listing."""


class Volumes:
    """The listings of all gateways that have a schedule or a Completed backup."""

    def __init__(self, ports: Ports, log: Log, health: GatewayHealthIndex) -> None:
        self._ports = ports
        self._log = log
        self._health = health
        self._states: dict[NamespacedGateway, _State] = {}
        self._checks = GatewayChecks(ports, health)

    def listing(self, gateway: NamespacedGateway) -> VolumeListing | None:
        """The last complete listing; None if there is none or the last attempt failed."""
        state = self._states.get(gateway)
        return state.listing if state is not None else None

    def problem(self, gateway: NamespacedGateway) -> str:
        """Why there is no listing; empty if there is one."""
        state = self._states.get(gateway)
        return "They were not listed yet." if state is None else state.problem

    def forget(self, namespace: str, gateways: Collection[NamespacedGateway]) -> None:
        """Drop the listings of a namespace for gateways that no object names any more. Empty: of all namespaces."""
        for one in [one for one in self._states if namespace in ("", one.namespace) and one not in gateways]:
            del self._states[one]
        self._health.forget(namespace, gateways)

    def expire(self, gateway: NamespacedGateway) -> None:
        """List the volume again in the next pass, because files of it were deleted."""
        state = self._states.get(gateway)
        if state is not None and state.listing is not None:
            self._states[gateway] = replace(state, expired=True)

    async def refresh_due(self, gateways: Iterable[NamespacedGateway], backups: Iterable[BackupSummary]) -> None:
        """List the volumes whose listing is old or lacks a Completed backup. Check the health of the other gateways.

        ``gateways`` are those that a schedule names.
        """
        newest: dict[NamespacedGateway, datetime] = {}
        for one in backups:
            if one.phase == COMPLETED and one.completion_time is not None and not one.is_deleting:
                gateway = one.set_id.namespaced_gateway
                newest[gateway] = max(one.completion_time, newest.get(gateway, one.completion_time))
        now = self._ports.clock.now()
        due = [one for one in {*gateways, *newest} if self._is_due(one, newest.get(one), now)]
        limit = asyncio.Semaphore(_IN_PARALLEL)

        async def refresh(gateway: NamespacedGateway) -> None:
            async with limit:
                await self.refresh(gateway)

        async def check(gateway: NamespacedGateway) -> None:
            async with limit:
                await self._checks.check(gateway)

        # A listing is a check as well.
        to_check = self._checks.due({*gateways}, now) - {*due}
        await asyncio.gather(*(refresh(one) for one in due), *(check(one) for one in to_check))

    def _is_due(self, gateway: NamespacedGateway, newest: datetime | None, now: datetime) -> bool:
        state = self._states.get(gateway)
        if state is None or state.expired:
            return True
        # The absolute difference: a clock that was set back must not stop the listings.
        waited = abs(now - state.tried)
        if state.listing is None:
            return waited >= RETRY_INTERVAL
        lacks_newest = newest is not None and state.listing.listed_at <= newest <= now
        return waited >= LISTING_INTERVAL or (lacks_newest and now > state.tried)

    async def refresh(self, gateway: NamespacedGateway) -> None:
        """List the volume of a gateway now. A failure is remembered as the gateway's problem and raises nothing."""
        before = self._states.get(gateway)
        now = self._ports.clock.now()
        try:
            async with asyncio.timeout(_GATEWAY_TIMEOUT):
                self._states[gateway] = await self._list(gateway, before, now)
                return
        except TimeoutError:
            problem = f"The gateway did not answer within {_GATEWAY_TIMEOUT:.0f} s."
            self._health.record(gateway, GatewayProblem(Reason.CallTimedOut, problem), self._ports.clock.now())
        except (IncompleteListingError, AdminApiError, ClusterError) as error:
            problem = str(error)
        except Exception as error:  # whatever one gateway causes must not stop the pass over the others
            self._log.exception("The files of %s cannot be listed.", gateway.gateway)
            problem = describe_error(error)
        self._states[gateway] = _State(now, problem=problem)
        if before is None or before.problem != problem:
            self._log.info(
                "The files of %s in namespace %s cannot be listed: %s", gateway.gateway, gateway.namespace, problem
            )

    async def _list(self, gateway: NamespacedGateway, before: _State | None, now: datetime) -> _State:
        resolved = await self._checks.observe(gateway, reads_volume=True)
        if resolved.target is None:
            raise IncompleteListingError(getattr(resolved.gateway, "message", "The gateway was not observed."))
        problem = await replica_problem(self._ports, resolved)
        if problem is not None:
            raise IncompleteListingError(f"{problem.reason}: {problem.message}")
        previous = before.listing if before is not None else None
        first = await self._ports.admin_api.list_if_changed(resolved.target, before.etag if before and previous else "")
        if first.page is None and previous is not None:
            # Unchanged until now: also every backup that completed since then is compared by this listing.
            return _State(now, replace(previous, listed_at=now), first.etag)
        page = first.page
        if page is None or page.volume_id is None:
            raise IncompleteListingError("The admin API does not report the id of its volume.")
        volume_id, listed_at = page.volume_id, page.listed_at
        files: dict[str, VolumeFile] = {}
        while True:
            if page.volume_id != volume_id:
                raise IncompleteListingError("The volume was changed during the listing.")
            files.update((one.path, VolumeFile.from_entry(one)) for one in page.items)
            listed_at = min(listed_at, page.listed_at)
            if page.continue_token is None:
                # Completion times are of the operator's clock. A gateway's clock ahead of it must not judge too early.
                listing = VolumeListing(volume_id, min(listed_at, now), files)
                return _State(now, listing, first.etag)
            page = await self._ports.admin_api.list_files(resolved.target, page.continue_token)
