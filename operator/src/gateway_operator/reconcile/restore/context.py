"""The values that one run of a restore keeps between its actions."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway_api.contract import RestorePlan, RestoreResult
from gateway_operator.domain.model.admin_api import Failure, RestartRequested
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.ports import AdminTarget, Ports
from gateway_operator.reconcile.gateway_lock import GatewayLock, GatewayLocks
from gateway_operator.reconcile.gateway_lookup import ResolvedGateway
from gateway_operator.reconcile.status_writer import Log


@dataclass
class RestoreContext:
    """One run: its dependencies, the last answer, and the number of consecutive healthy observations."""

    ports: Ports
    locks: GatewayLocks
    ref: Ref
    log: Log
    answer: RestoreResult | RestorePlan | RestartRequested | Failure | None = None
    """The result of the last call."""
    streak: int = 0
    resolved: ResolvedGateway | None = None
    """The gateway of the last observation."""
    _lock: GatewayLock | None = field(default=None, repr=False)

    def lock_of(self, restore: Restore) -> GatewayLock:
        """The lock of the gateway. This run keeps it, so that it knows the safety backup until the end of the run."""
        if self._lock is None:
            self._lock = self.locks.get(self.ref.namespace, restore.gateway)
        return self._lock

    def end(self) -> None:
        """Let the next restore of the gateway begin, unless the status of this one stops it."""
        if self._lock is not None and self._lock.entering_restore == self.ref:
            self._lock.entering_restore = None

    @property
    def target(self) -> AdminTarget:
        """The admin API of the last observation. AssertionError if there is none."""
        if self.resolved is None or self.resolved.target is None:
            raise AssertionError("The decision requests a call, but no gateway was resolved.")
        return self.resolved.target
