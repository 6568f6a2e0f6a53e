"""Decides which replica of the operator leads: the holder of a Lease, as the Kubernetes components do.

Two rules keep two replicas from leading at the same time, without comparing their clocks. The leader stops
``renew_deadline`` seconds after the start of its last successful write. Another replica writes its own name only after
it has observed the same version of the Lease for the Lease's whole duration, which is longer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway_operator.domain.model.resources import Json


@dataclass(frozen=True)
class LeaseTimes:
    """The times of an election in seconds, derived from the Lease's duration in the proportions of client-go."""

    duration: float = 15.0

    @property
    def renew_deadline(self) -> float:
        """The leader leads for this time after the start of its last successful write."""
        return self.duration * 2 / 3

    @property
    def retry_period(self) -> float:
        """The pause between two attempts to write or observe the Lease."""
        return self.duration * 2 / 15

    @property
    def attempt_limit(self) -> float:
        """The limit for one attempt: half of the deadline, so that one lost request does not end the leadership."""
        return self.renew_deadline / 2


@dataclass(frozen=True, slots=True)
class Lease:
    """The parsed fields of a Lease. ``holder`` is empty if no replica holds it; ``duration`` is in seconds."""

    resource_version: str
    holder: str
    duration: float
    acquired: str
    transitions: int

    @classmethod
    def parse(cls, body: Json) -> Lease:
        """Parse a Lease. A missing duration counts as 0: such a Lease was not written by a replica."""
        spec = body.get("spec") or {}
        return cls(
            str(body["metadata"]["resourceVersion"]),
            str(spec.get("holderIdentity") or ""),
            float(spec.get("leaseDurationSeconds") or 0),
            str(spec.get("acquireTime") or ""),
            int(spec.get("leaseTransitions") or 0),
        )


class Candidate:
    """One replica in the election. It remembers since when it observes the current version of the Lease.

    ``identity`` must differ between all processes, also between two starts in one pod. All times are in seconds of one
    clock that never goes back.
    """

    def __init__(self, identity: str, times: LeaseTimes) -> None:
        self.identity = identity
        self.times = times
        self._version = ""
        self._since = 0.0

    def may_claim(self, lease: Lease, now: float) -> bool:
        """Whether the replica may write its name into this Lease, which it has read before ``now``."""
        if lease.resource_version != self._version:
            self._version, self._since = lease.resource_version, now
        if lease.holder in ("", self.identity):
            return True
        # The duration in the Lease, because its holder relies on that one.
        return now - self._since >= max(lease.duration, 1.0)

    def claim(self, lease: Lease | None, now: datetime) -> dict[str, Any]:
        """The spec with which this replica claims or renews the Lease. None: there is no Lease yet."""
        time = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        renews = lease is not None and lease.holder == self.identity
        transitions = lease.transitions if lease is not None else -1
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": math.ceil(self.times.duration),
            "acquireTime": lease.acquired if lease is not None and renews else time,
            "renewTime": time,
            "leaseTransitions": transitions if renews else transitions + 1,
        }
