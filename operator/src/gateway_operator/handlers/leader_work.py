"""The work that only the leader does: the reconciles of the work queues and the periodic task.

Every other replica only watches, and checks its watches, so that it knows all objects when it begins to lead. Each
leadership has a retention controller of its own, because another replica may have acted in between.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from contextlib import suppress

from gateway_operator.adapters.kubernetes_api import KubernetesApi
from gateway_operator.adapters.objects.leases import KubernetesLeases
from gateway_operator.domain.gateway.health import GatewayHealthIndex
from gateway_operator.domain.leader_election import Candidate, LeaseTimes
from gateway_operator.handlers import retention_task, standby_task
from gateway_operator.handlers.common import HandlerDependencies
from gateway_operator.reconcile.leader_election import LeaderElection
from gateway_operator.reconcile.watch_check import WatchCheck
from gateway_operator.reconcile.watch_coverage import WatchCoverage
from gateway_operator.settings import OperatorSettings


class LeaderWork:
    """Starts and stops the work of the leader, and reports why the process should be restarted."""

    def __init__(
        self,
        dependencies: HandlerDependencies,
        settings: OperatorSettings,
        health: GatewayHealthIndex,
        coverage: WatchCoverage,
        watch_check: WatchCheck,
    ) -> None:
        self._health = health
        self._coverage = coverage
        self._dependencies = dependencies
        self._settings = settings
        self._watch_check = watch_check
        self._retention: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Reconcile all objects that the watches have found, and start the periodic task."""
        for queue in self._dependencies.queues.values():
            queue.resume()
        self._retention = retention_task.start(
            self._dependencies.ports,
            self._settings,
            self._watch_check,
            self._health,
            self._coverage,
            self._dependencies.schedules.add_all,
        )

    async def stop(self) -> None:
        """Cancel everything that ``start`` began, and wait until it has ended. Every step can be repeated later."""
        if self._retention is not None:
            await _cancel(self._retention)
        self._retention = None
        for queue in self._dependencies.queues.values():
            await queue.pause()

    def watch_standby(self) -> asyncio.Task[None]:
        """Start the task that checks the watches while this replica does not lead."""
        dependencies = self._dependencies
        check = standby_task.run(
            dependencies.ports, self._settings.namespaces, self._watch_check, dependencies.leadership
        )
        return asyncio.create_task(check, name="standby")

    def problem(self) -> str:
        """Why the kubelet should restart the operator; empty if it should not.

        kopf can lose a watching task and continue without it, so a watch without events is a reason.
        """
        if self._watch_check.missed:
            ref = self._watch_check.missed[0]
            return f"No watch event was received for {ref.kind} {ref.namespace}/{ref.name}."
        return (
            "The periodic retention task has ended." if self._retention is not None and self._retention.done() else ""
        )


class LeaderProcess:
    """The leader's work in one process: it begins at once, or with leader election when the Lease is held."""

    def __init__(self, work: LeaderWork) -> None:
        self.work = work
        self._election: LeaderElection | None = None
        self._task: asyncio.Task[None] | None = None
        self._standby: asyncio.Task[None] | None = None
        self._connection: KubernetesApi | None = None

    async def start(self, dependencies: HandlerDependencies, settings: OperatorSettings) -> None:
        """Start the work, or the election. ClusterError if there are no credentials."""
        if not settings.leader_elect:
            self.work.start()
            return
        # A connection of its own: the renewal must not wait behind other requests, and needs no leadership.
        self._connection = await KubernetesApi.connect()
        # A random part: a restarted container must not take the Lease of its previous process for its own.
        identity = f"{os.environ['POD_ID']}_{uuid.uuid4().hex[:8]}"
        self._election = LeaderElection(
            KubernetesLeases(self._connection, settings.lease_name),
            Candidate(identity, LeaseTimes(settings.lease_seconds)),
            dependencies.leadership,
            dependencies.ports.clock,
            self.work.start,
            self.work.stop,
        )
        self._task = asyncio.create_task(self._election.run(), name="leader election")
        self._standby = self.work.watch_standby()

    async def stop(self) -> None:
        """Stop the election and the work, and then release the Lease."""
        for task in (self._standby, self._task):
            if task is not None:
                await _cancel(task)
        if self._election is not None:
            await self._election.release()
        await self.work.stop()
        if self._connection is not None:
            await self._connection.close()

    def problem(self) -> str:
        """Why the kubelet should restart the operator; empty if it should not."""
        if self._task is not None and self._task.done():
            return "The leader election has ended."
        return self.work.problem()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    # A task that ended with an error before has been reported by the liveness probe.
    with suppress(asyncio.CancelledError, Exception):
        await task
