"""Simulates the operator with a fake cluster and a fake admin API in memory, and injects faults.

The fakes keep the two contracts that the operator depends on: optimistic locking, and repeatable requests with a
request id. Every order of crashes and lost answers can be simulated in milliseconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.leadership import NotLeaderError
from gateway_operator.ports import AdminApiError, Ports
from gateway_operator.reconcile.backup.deletion import finalize_backup
from gateway_operator.reconcile.backup.run import reconcile_backup
from gateway_operator.reconcile.backup_import import reconcile_import
from gateway_operator.reconcile.gateway_lock import GatewayLocks
from gateway_operator.reconcile.restore_object import reconcile_restore
from tests.unit.gateway_operator.simulation.fake_admin_api import Admin
from tests.unit.gateway_operator.simulation.fake_cluster import GATEWAY, NAMESPACE, Clock, Cluster
from tests.unit.gateway_operator.simulation.fake_drill import AdminRouter, DrillObjects

log = logging.getLogger("tests")


READS = {
    "read", "list_ours", "workload", "pods", "pod", "secret", "health", "read_restore", "event",
    "volume_claim", "persistent_volume",
}  # fmt: skip
"""Calls that change nothing on which the operator depends."""


class CrashError(BaseException):
    """Simulates the end of the operator's process."""


class Faults:
    """Counts the calls to the ports, and injects faults at some of them, by their number from 1 on.

    ``crash_before`` and ``crash_after``: the process ends before or after the call. ``lost``: the call is executed and
    its answer is lost, if it is a call to an admin API. ``meanwhile``: a user does something during the call.
    ``frozen``: something happens before the call, after the operator has decided to make it.
    """

    def __init__(
        self,
        crash_before: set[int] | None = None,
        crash_after: set[int] | None = None,
        lost: set[int] | None = None,
        meanwhile: Mapping[int, Callable[[], None]] | None = None,
        frozen: Mapping[int, Callable[[], None]] | None = None,
    ) -> None:
        self.frozen = frozen or {}
        self.is_leader = True
        """Whether calls are allowed. A call that was frozen before it was sent is allowed in any case."""
        self.meanwhile = meanwhile or {}
        self.before = crash_before or set()
        self.after = crash_after or set()
        self.lost = lost or set()
        self.calls = 0
        self.names: list[str] = []
        self._answered: set[int] = set()

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
                    if network:
                        faults._answered.add(number)
                    if number in faults.before:
                        raise CrashError
                    if not faults.is_leader:
                        raise NotLeaderError("This replica of the operator is not the leader.")
                    faults.frozen.get(number, lambda: None)()
                    result = await method(*arguments, **options)
                    faults.meanwhile.get(number, lambda: None)()
                    if number in faults.after:
                        raise CrashError
                    if network and number in faults.lost:
                        raise AdminApiError("Unreachable", "cut", retryable=True, outcome_unknown=True)
                    return result

                return call

        return Wrapped()

    def telling_calls(self) -> list[int]:
        """The numbers of the calls at which a fault can matter.

        Between two changes a wait repeats its reads. Of the same read only the first and the last are in the list.
        """
        changes = 0
        calls: dict[tuple[str, int, bool], int] = {}
        for number, name in enumerate(self.names, 1):
            changes += name not in READS
            first = calls.setdefault((name, changes, True), number)
            calls[name, changes, number == first] = number
        return sorted(calls.values())

    @contextmanager
    def named(self, name: str) -> Iterator[None]:
        """An assertion that fails in the block names the fault and the calls of the run."""
        try:
            yield
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}; {self.names}") from error

    def single_faults(self) -> Iterator[tuple[str, Faults]]:
        """For each telling call of this undisturbed run: a crash before it, a crash after it, and a lost answer."""
        for number in self.telling_calls():
            yield f"before {number}", Faults(crash_before={number})
            yield f"after {number}", Faults(crash_after={number})
            if number in self._answered:
                yield f"lost {number}", Faults(lost={number})


class World:
    """The fakes, ports with faults, ports without faults (``plain``), and a loop in place of the work queues."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.clock = Clock()
        self.cluster = Cluster(self.clock)
        self.admin = Admin(self.cluster, self.clock)
        self.faults = faults or Faults()
        self.drills = DrillObjects(self.cluster, self.clock)
        router = AdminRouter(self.admin, self.drills)
        self.plain = Ports(self.cluster, router, self.clock, "ops:operator", policies="op", drill_objects=self.drills)
        self.ports = Ports(
            self.faults.wrap(self.cluster, False),
            self.faults.wrap(router, True),
            self.clock,
            "o:o",
            policies="op",
            drill_objects=self.faults.wrap(self.drills, False),
        )
        self.after_each_run: list[Callable[[], None]] = []
        """The actions of people between two runs of the operator."""
        self.clock.on_sleep.append(self._others)

    async def _others(self) -> None:
        """Reconcile all backups while the object under test waits, as the other work queue does."""
        for (kind, name), body in list(self.cluster.objects.items()):
            # An ended backup has nothing to reconcile.
            if kind == "GatewayBackup" and (body.get("status") or {}).get("phase") not in ("Completed", "Failed"):
                ref = Ref(kind, NAMESPACE, name, body["metadata"]["uid"])
                await reconcile_backup(self.plain, GatewayLocks(), ref, log, GATEWAY)

    def run(self, ref: Ref, *, forget: bool = False, limit: int = 400) -> int:
        """Reconcile until nothing is left to do. Returns the number of process starts.

        ``forget``: run the finalizer of a GatewayBackup instead of its reconcile.
        """
        return asyncio.run(self._run(ref, forget, limit))

    async def _run(self, ref: Ref, forget: bool, limit: int) -> int:
        starts, locks = 1, GatewayLocks()
        for _ in range(limit):
            try:
                if forget:
                    wait = await finalize_backup(self.ports, ref, log)
                elif ref.kind == "GatewayBackup":
                    wait = await reconcile_backup(self.ports, locks, ref, log, GATEWAY)
                elif ref.kind == "GatewayBackupImport":
                    wait = await reconcile_import(self.ports, ref, log)
                    await self._others()
                else:
                    wait = await reconcile_restore(self.ports, locks, ref, log)
                for act in self.after_each_run:
                    act()
            except CrashError:
                starts, locks = starts + 1, GatewayLocks()
                self.clock.advance(1)
                continue
            if wait is None:
                return starts
            self.clock.advance(wait)
        raise AssertionError(f"{ref} is not finished after {limit} runs: {self.cluster.status(ref)}")
