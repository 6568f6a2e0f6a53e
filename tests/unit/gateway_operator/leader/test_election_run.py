"""The run of an election: start and stop of the leader's work, lost requests, a hanging API server, and the release."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway_operator.adapters.clock import SystemClock
from gateway_operator.domain.leader_election import Candidate, Lease, LeaseTimes
from gateway_operator.leadership import Leadership, NotLeaderError
from gateway_operator.ports import ClusterError, ConflictError, ForbiddenError
from gateway_operator.reconcile.leader_election import LeaderElection

TIMES = LeaseTimes(0.6)


class FakeLeases:
    """The Lease in memory, shared by all replicas of a test. Each replica has its own view with its own errors."""

    def __init__(self, shared: FakeLeases | None = None) -> None:
        self.shared = shared or self
        self.lease: Lease | None = None
        self.version = 0
        self.error: Exception | None = None
        self.hangs = False
        self.calls: list[str] = []

    async def _gate(self, name: str) -> None:
        self.calls.append(name)
        if self.hangs:
            await asyncio.sleep(3600)
        if self.error is not None:
            raise self.error

    async def read(self) -> Lease | None:
        await self._gate("read")
        return self.shared.lease

    async def create(self, spec: Mapping[str, Any]) -> Lease:
        await self._gate("create")
        if self.shared.lease is not None:
            raise ConflictError("exists")
        return self._store(spec)

    async def write(self, lease: Lease, spec: Mapping[str, Any]) -> Lease:
        await self._gate("write")
        if self.shared.lease is None or self.shared.lease.resource_version != lease.resource_version:
            raise ConflictError("newer")
        return self._store(spec)

    def _store(self, spec: Mapping[str, Any]) -> Lease:
        self.shared.version += 1
        # The fake keeps fractions of a second, so that the test is short.
        self.shared.lease = Lease(str(self.shared.version), spec["holderIdentity"], TIMES.duration, "", 0)
        return self.shared.lease


class Replica:
    """One replica. ``log`` has an entry for each start and stop of its work."""

    def __init__(self, name: str, leases: FakeLeases) -> None:
        self.leases = leases
        self.leadership = Leadership(elected=True)
        self.log: list[str] = []
        candidate = Candidate(name, TIMES)
        self.election = LeaderElection(
            leases, candidate, self.leadership, SystemClock(), lambda: self.log.append("start"), self._stop
        )

    async def _stop(self) -> None:
        assert not self.leadership.is_leader
        self.log.append("stop")

    @asynccontextmanager
    async def runs(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.election.run())
        try:
            yield
        finally:
            assert not task.done()
            task.cancel()


async def until(check: Callable[[], bool], seconds: float = 3) -> None:
    async with asyncio.timeout(seconds):
        while not check():
            await asyncio.sleep(0.01)


async def test_first_replica_leads_and_the_second_takes_over_a_released_lease() -> None:
    first = Replica("a", FakeLeases())
    second = Replica("b", FakeLeases(first.leases))
    async with first.runs():
        await until(lambda: first.leadership.is_leader)
        async with second.runs():
            await asyncio.sleep(2 * TIMES.duration)
            assert (first.log, second.log) == (["start"], [])
    await first.election.release()
    assert first.log == ["start", "stop"]
    assert first.leases.lease is not None
    assert first.leases.lease.holder == ""
    async with second.runs():
        await until(lambda: second.log == ["start"], TIMES.duration)


@pytest.mark.parametrize("how", ["error", "hangs"])
async def test_leader_without_api_server_stops_in_time_and_another_takes_over(how: str) -> None:
    first = Replica("a", FakeLeases())
    second = Replica("b", FakeLeases(first.leases))
    async with first.runs(), second.runs():
        await until(lambda: first.leadership.is_leader or second.leadership.is_leader)
        leader, other = (first, second) if first.leadership.is_leader else (second, first)
        if how == "error":
            leader.leases.error = ClusterError("refused")
        else:
            leader.leases.hangs = True
        await until(lambda: leader.log == ["start", "stop"], TIMES.duration)
        assert other.log == []
        await until(lambda: other.log == ["start"])
        leader.leases.error, leader.leases.hangs = None, False
        await asyncio.sleep(2 * TIMES.retry_period)
        assert leader.log == ["start", "stop"]


async def test_leader_that_was_frozen_may_not_act_in_its_first_step() -> None:
    """No task of the leader has run since, so its own state in memory still says that it leads."""
    now = [0.0]
    leadership = Leadership(elected=True, clock=lambda: now[0])
    with pytest.raises(NotLeaderError):
        leadership.require()
    leadership.extend(10)
    leadership.require()
    now[0] = 10
    with pytest.raises(NotLeaderError):
        leadership.require()


async def test_leader_that_renews_late_ends_its_term_before_the_next() -> None:
    """The Lease was not taken by another replica, but tasks of the previous term must not run into the new one."""
    replica = Replica("a", FakeLeases())
    async with replica.runs():
        await until(lambda: replica.leadership.is_leader)
        replica.leadership.extend(0)
        await until(lambda: len(replica.log) == 3)
    assert replica.log == ["start", "stop", "start"]


async def test_a_lost_answer_or_a_label_on_the_lease_ends_no_leadership() -> None:
    replica = Replica("a", FakeLeases())
    async with replica.runs():
        await until(lambda: replica.leadership.is_leader)
        replica.leases.error = ClusterError("lost")
        calls = len(replica.leases.calls)
        await until(lambda: len(replica.leases.calls) > calls)
        replica.leases.error = None
        assert replica.leases.lease is not None
        replica.leases._store({"holderIdentity": "a"})
        await asyncio.sleep(TIMES.duration)
    assert replica.log == ["start"]
    assert replica.leadership.is_leader


async def test_a_problem_is_logged_once_with_its_remedy(caplog: pytest.LogCaptureFixture) -> None:
    replica = Replica("a", FakeLeases())
    replica.leases.error = ForbiddenError("leases is forbidden")
    with caplog.at_level(logging.WARNING):
        async with replica.runs():
            await until(lambda: len(replica.leases.calls) >= 3)
    (record,) = caplog.records
    assert "leases is forbidden. The operator's chart creates" in record.getMessage()


def test_without_election_the_process_always_leads() -> None:
    assert Leadership(elected=False).is_leader
