"""The interface to the Lease of the leader election. `cluster` documents the errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from gateway_operator.domain.leader_election import Lease


class Leases(Protocol):
    """The one Lease of the election. Every call may raise ClusterError."""

    async def read(self) -> Lease | None:
        """The Lease; None if it does not exist."""
        ...

    async def create(self, spec: Mapping[str, Any]) -> Lease:
        """Create the Lease. ConflictError if it exists."""
        ...

    async def write(self, lease: Lease, spec: Mapping[str, Any]) -> Lease:
        """Replace the fields of the spec on top of the version of ``lease``. ConflictError if there is a newer one."""
        ...
