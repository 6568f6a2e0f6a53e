"""The rules of the leader election: never two leaders at a time, for any delays, freezes, drift and lost answers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

import pytest

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

    def clock(self, real: float) -> float:
        return self.offset + real * self.rate


def _attempts(chance: Random) -> list[tuple[float, float, float, int, bool]]:
    """The attempts of three replicas: (begin, read, write, number of the replica, whether the answer arrives)."""
    attempts: list[tuple[float, float, float, int, bool]] = []
    for number in range(3):
        time = chance.uniform(0, 2)
        while time < 200:
            # Some pauses and some requests last longer than a leadership: a frozen process, a lost connection.
            begin = time + TIMES.retry_period + (chance.uniform(0, 40) if chance.random() < 0.08 else 0)
            read = begin + chance.uniform(0, 0.3)
            write = read + (chance.uniform(0, 40) if chance.random() < 0.04 else chance.uniform(0, 0.3))
            attempts.append((begin, read, write, number, chance.random() < 0.9))
            time = write
    return attempts


def _terms(chance: Random) -> list[tuple[float, float, int]]:
    """All terms of leadership in one random run: (start, end, number of the replica), in real time."""
    everyone = [Replica(Candidate(str(n), TIMES), chance.uniform(0, 1e6), chance.uniform(0.9, 1.1)) for n in range(3)]
    attempts = _attempts(chance)
    steps = [(one[1], 0, n) for n, one in enumerate(attempts)] + [(one[2], 1, n) for n, one in enumerate(attempts)]
    stored, version, terms = lease("", "0"), 0, []
    pending: dict[int, Lease] = {}
    for real, is_write, n in sorted(steps):
        begin, _, _, number, answered = attempts[n]
        replica = everyone[number]
        if not is_write:
            if replica.candidate.may_claim(stored, replica.clock(real)):
                pending[n] = stored
        elif pending.pop(n, None) == stored:
            version += 1
            spec = replica.candidate.claim(stored, NOW)
            stored = Lease(str(version), spec["holderIdentity"], 15, spec["acquireTime"], spec["leaseTransitions"])
            end = begin + TIMES.renew_deadline / replica.rate
            if answered and end > real:
                terms.append((real, end, number))
    return terms


def test_never_two_leaders_whatever_is_delayed_or_lost() -> None:
    """300 random runs of 200 s with three replicas, whose clocks differ by any amount and run a tenth too fast."""
    changes = 0
    for seed in range(300):
        terms = _terms(Random(seed))
        for earlier, later in itertools.pairwise(terms):
            if earlier[2] != later[2]:
                changes += 1
                assert earlier[1] <= later[0], (seed, earlier, later)
    assert changes > 300
