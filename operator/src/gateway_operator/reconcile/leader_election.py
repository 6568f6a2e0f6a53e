"""Runs the leader election of one replica: claims and renews the Lease, and starts and stops the work of the leader.

A leader that could not renew in time stops its work before it tries again. Its work is also stopped by the clock: see
``leadership``. Nothing here is needed for correct backups, because every call and every write may be repeated.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from gateway_operator.domain.leader_election import Candidate, Lease
from gateway_operator.leadership import Leadership, elapsed_seconds
from gateway_operator.ports import Clock, ClusterError, ConflictError, ForbiddenError
from gateway_operator.ports.leases import Leases

RELEASE_SECONDS: Final = 3.0
"""The limit for the release of the Lease when the process stops."""

log = logging.getLogger("gateway_operator.leader")


class LeaderElection:
    """The election of one replica. ``start`` begins the work of the leader, and ``stop`` ends it completely."""

    def __init__(
        self,
        leases: Leases,
        candidate: Candidate,
        leadership: Leadership,
        clock: Clock,
        start: Callable[[], None],
        stop: Callable[[], Awaitable[None]],
    ) -> None:
        self._leases = leases
        self._candidate = candidate
        self._leadership = leadership
        self._clock = clock
        self._start = start
        self._stop = stop
        self._lease: Lease | None = None
        """The version that this replica has written last; None if it has to be read."""
        self._works = False
        self._problem = ""

    async def run(self) -> None:
        """Take part in the election until the task is cancelled."""
        while True:
            await self._attempt()
            pause = self._candidate.times.retry_period
            # At the end of the leadership, and not at the next attempt: until then the tasks would only collect errors.
            await asyncio.sleep(max(0.0, min(pause, self._leadership.remaining)) if self._works else pause)

    async def release(self) -> None:
        """Stop the work, and then give the Lease to the next replica. Errors are ignored: the Lease expires."""
        held = self._lease if self._leadership.is_leader else None
        await self._end_work(logging.INFO)
        if held is None:
            return
        # After the work has ended: from this write on another replica acts.
        with suppress(ClusterError, TimeoutError):
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._leases.write(held, {"holderIdentity": "", "leaseDurationSeconds": 1})
                log.info("Released the Lease.")

    async def _attempt(self) -> None:
        if self._works and not self._leadership.is_leader:
            # Before the next attempt: a new term must not begin while tasks of the previous one still run.
            await self._end_work()
        begun = elapsed_seconds()
        limit = self._candidate.times.attempt_limit
        try:
            # An attempt ends with the leadership at the latest, so that the work is stopped in time.
            async with asyncio.timeout(min(limit, self._leadership.remaining) if self._works else limit):
                held = await self._claim()
        except (ClusterError, TimeoutError) as error:
            self._lease = None
            self._report(error)
            return
        self._report(None)
        if not held:
            await self._end_work()
        elif begun + self._candidate.times.renew_deadline > elapsed_seconds():
            await self._lead_until(begun + self._candidate.times.renew_deadline)

    async def _claim(self) -> bool:
        """Write the Lease if this replica may. Returns whether it holds the Lease."""
        try:
            return await self._claim_once()
        except ConflictError:
            # Another replica has written, or a person has labelled the Lease: only a new read can tell.
            self._lease = None
            return await self._claim_once()

    async def _claim_once(self) -> bool:
        lease = self._lease or await self._leases.read()
        if lease is None:
            self._lease = await self._leases.create(self._candidate.claim(None, self._clock.now()))
            return True
        if not self._candidate.may_claim(lease, elapsed_seconds()):
            self._lease = None
            return False
        self._lease = await self._leases.write(lease, self._candidate.claim(lease, self._clock.now()))
        return True

    async def _lead_until(self, until: float) -> None:
        if self._works and not self._leadership.is_leader:
            # The leadership ended during this attempt: tasks of the previous term must not continue in the next one.
            await self._end_work()
        self._leadership.extend(until)
        if not self._works:
            log.info("This replica leads: it holds the Lease as %s.", self._candidate.identity)
            self._works = True
            self._start()

    async def _end_work(self, level: int = logging.WARNING) -> None:
        self._leadership.revoke()
        if self._works:
            log.log(level, "This replica no longer leads. Its calls are cancelled; the next leader repeats them.")
            await self._stop()
            self._works = False

    def _report(self, error: Exception | None) -> None:
        """Log a problem once, and not at each attempt."""
        problem = "" if error is None else f"{type(error).__name__}: {error}"
        if problem and problem != self._problem:
            remedy = (
                " The operator's chart creates the Lease and its Role." if isinstance(error, ForbiddenError) else ""
            )
            log.warning("The Lease could not be read or written: %s.%s", problem.rstrip("."), remedy)
        self._problem = problem
