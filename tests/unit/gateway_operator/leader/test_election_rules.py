"""The rules of the leader election: never two leaders at a time, for any delays, freezes, drift and lost answers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_operator.domain.leader_election import Candidate, Lease, LeaseTimes

TIMES = LeaseTimes(15)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def lease(holder: str, version: str = "1", duration: float = 15) -> Lease:
    return Lease(version, holder, duration, "2026-01-01T00:00:00.000000Z", 3)


@pytest.mark.parametrize("duration", [3, 4, 15, 60, 137])
def test_the_leader_stops_before_another_replica_may_claim(duration: float) -> None:
    times = LeaseTimes(duration)
    assert times.attempt_limit + times.retry_period < times.renew_deadline < times.duration
    # Two attempts fit into the deadline, so that one lost request does not end the leadership.
    assert 2 * times.attempt_limit <= times.renew_deadline


def test_claim_waits_for_the_duration_in_the_lease_of_another() -> None:
    candidate = Candidate("b", LeaseTimes(3))
    assert not candidate.may_claim(lease("a"), 100)
    assert not candidate.may_claim(lease("a"), 114.9)
    assert not candidate.may_claim(lease("a", "2"), 114.9)
    assert not candidate.may_claim(lease("a", "2"), 129)
    assert candidate.may_claim(lease("a", "2"), 130)


@pytest.mark.parametrize("holder", ["", "b"])
def test_released_or_own_lease_is_claimed_at_once(holder: str) -> None:
    assert Candidate("b", TIMES).may_claim(lease(holder), 0)


def test_lease_without_a_duration_is_not_claimed_at_once() -> None:
    candidate = Candidate("b", TIMES)
    written_by_hand = Lease.parse({"metadata": {"resourceVersion": "1"}, "spec": {"holderIdentity": "x"}})
    assert not candidate.may_claim(written_by_hand, 0)
    assert candidate.may_claim(written_by_hand, 1)


def test_claim_counts_transitions_and_a_renewal_keeps_the_time() -> None:
    candidate = Candidate("b", TIMES)
    first = candidate.claim(None, NOW)
    assert (first["leaseTransitions"], first["acquireTime"]) == (0, "2026-01-01T00:00:00.000000Z")
    taken = candidate.claim(lease("a"), NOW)
    assert (taken["leaseTransitions"], taken["holderIdentity"], taken["leaseDurationSeconds"]) == (4, "b", 15)
    renewed = candidate.claim(Lease("2", "b", 15, "earlier", 4), NOW)
    assert (renewed["leaseTransitions"], renewed["acquireTime"]) == (4, "earlier")
    assert renewed["renewTime"] == "2026-01-01T00:00:00.000000Z"


@dataclass
class Replica:
    """A replica whose clock has another zero and may run up to a tenth faster or slower."""

    candidate: Candidate
    offset: float
    rate: float
    terms: list[tuple[float, float]] = field(default_factory=list)
    """The real times between which the replica takes itself for the leader."""

    def clock(self, real: float) -> float:
        return self.offset + real * self.rate

    def real(self, clock: float) -> float:
        return (clock - self.offset) / self.rate


delays = st.one_of(st.floats(0, 0.5), st.floats(0, 40))
steps = st.tuples(st.integers(0, 2), delays, delays, delays, st.booleans())
replicas = st.tuples(st.floats(0, 1e6), st.floats(0.9, 1.1))


@given(st.lists(replicas, min_size=3, max_size=3), st.lists(steps, min_size=1, max_size=60))
@settings(max_examples=400, deadline=None)
def test_never_two_leaders_whatever_is_delayed_or_lost(
    clocks: list[tuple[float, float]], attempts: list[tuple[int, float, float, float, bool]]
) -> None:
    """Each attempt reads the Lease, is delayed, writes it, and gets its answer late or never."""
    everyone = [Replica(Candidate(str(n), TIMES), *one) for n, one in enumerate(clocks)]
    # Attempts of different replicas overlap: a write is applied at its own time, in the order of these times.
    free = [0.0, 0.0, 0.0]
    events: list[tuple[float, int, int, float]] = []
    for order, (number, pause, to_read, to_write, _) in enumerate(attempts):
        begun = free[number] + pause
        read = begun + to_read
        events += [(read, 0, order, begun), (read + to_write, 1, order, begun)]
        free[number] = read + to_write
    stored, version = lease("", "0"), 0
    pending: dict[int, Lease] = {}
    for real, kind, order, begun in sorted(events):
        number, *_, answered = attempts[order]
        replica = everyone[number]
        if kind == 0:
            if replica.candidate.may_claim(stored, replica.clock(real)):
                pending[order] = stored
        elif (read_lease := pending.pop(order, None)) is not None and read_lease == stored:
            version += 1
            spec = replica.candidate.claim(stored, NOW)
            stored = Lease(str(version), spec["holderIdentity"], 15, spec["acquireTime"], spec["leaseTransitions"])
            until = replica.real(replica.clock(begun) + TIMES.renew_deadline)
            if answered and until > real:
                replica.terms.append((real, until))
    terms = sorted((start, end, n) for n, one in enumerate(everyone) for start, end in one.terms)
    for earlier, later in itertools.pairwise(terms):
        if earlier[2] != later[2]:
            assert earlier[1] <= later[0], terms
