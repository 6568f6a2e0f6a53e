"""A whole small world in memory, and ways to break it.

It keeps the two contracts the operator leans on (optimistic locking; one request id does one thing once) and nothing
else, so that every order of crashes and lost answers can be played through in milliseconds.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.ports import AdminApiError, Ports
from gateway_operator.reconcile.backup import reconcile_backup
from gateway_operator.reconcile.backup_import import reconcile_import
from gateway_operator.reconcile.deletion import finalize_backup
from gateway_operator.reconcile.gateway_lock import GatewayLocks
from gateway_operator.reconcile.restore import reconcile_restore
from tests.unit.gateway_operator.simulation.fake_admin_api import Admin
from tests.unit.gateway_operator.simulation.fake_cluster import NAMESPACE, Clock, Cluster

log = logging.getLogger("tests")


class CrashError(BaseException):
    """The operator's process ends here."""


class Faults:
    """Counts the calls to the ports, and breaks some of them.

    ``crashes``: at the N-th call the process ends, before it (odd plans) or after it. ``lost``: the N-th call is done,
    but its answer is lost, where it is a call over the network to an admin API.
    """

    def __init__(self, crash_before: set[int] | None = None, crash_after: set[int] | None = None,
                 lost: set[int] | None = None) -> None:  # fmt: skip
        self.before = crash_before or set()
        self.after = crash_after or set()
        self.lost = lost or set()
        self.calls = 0
        self.names: list[str] = []

    def wrap(self, port: Any, network: bool) -> Any:
        faults = self

        class Wrapped:
            def __getattr__(self, name: str) -> Any:
                method = getattr(port, name)
                if name in ("backup_id", "now") or not callable(method):
                    return method

                async def call(*arguments: Any, **options: Any) -> Any:
                    faults.calls += 1
                    number = faults.calls
                    faults.names.append(name)
                    if number in faults.before:
                        raise CrashError
                    result = await method(*arguments, **options)
                    if number in faults.after:
                        raise CrashError
                    if network and number in faults.lost:
                        raise AdminApiError("Unreachable", "cut", retryable=True, outcome_unknown=True)
                    return result

                return call

        return Wrapped()


class World:
    """Everything together, and the loop that kopf is."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.clock = Clock()
        self.cluster = Cluster(self.clock)
        self.admin = Admin(self.cluster, self.clock)
        self.faults = faults or Faults()
        self.plain = Ports(self.cluster, self.admin, self.clock, "ops:operator")
        self.ports = Ports(self.faults.wrap(self.cluster, False), self.faults.wrap(self.admin, True), self.clock, "o:o")
        self.clock.on_sleep.append(self._others)

    async def _others(self) -> None:
        """What another worker of the operator does meanwhile: the safety backup."""
        for kind, name in list(self.cluster.objects):
            if kind == "GatewayBackup":
                uid = self.cluster.objects[(kind, name)]["metadata"]["uid"]
                await reconcile_backup(self.plain, GatewayLocks(), Ref(kind, NAMESPACE, name, uid), log)

    def run(self, ref: Ref, *, forget: bool = False, limit: int = 400) -> int:
        """Until the object wants nothing more. Gives how many times the process was started."""
        return asyncio.run(self._run(ref, forget, limit))

    async def _run(self, ref: Ref, forget: bool, limit: int) -> int:
        starts, locks = 1, GatewayLocks()
        for _ in range(limit):
            try:
                if forget:
                    wait = await finalize_backup(self.ports, ref, log)
                elif ref.kind == "GatewayBackup":
                    wait = await reconcile_backup(self.ports, locks, ref, log)
                elif ref.kind == "GatewayBackupImport":
                    wait = await reconcile_import(self.ports, ref, log)
                    await self._others()
                else:
                    wait = await reconcile_restore(self.ports, locks, ref, log)
            except CrashError:
                starts, locks = starts + 1, GatewayLocks()
                self.clock.advance(1)
                continue
            if wait is None:
                return starts
            self.clock.advance(wait)
        raise AssertionError(f"{ref} does not end: {self.cluster.status(ref)}")
