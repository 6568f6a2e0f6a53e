"""How many good backups the last pass left of the sets that have no schedule, and so no status to remember it in.

It is noted on the gateway's workload, for the next start. Only sets of which something may go one day are noted.
"""

from __future__ import annotations

from collections.abc import Container

from gateway_operator.domain import traces
from gateway_operator.domain.objects import BackupSetId
from gateway_operator.domain.retention import Policy
from gateway_operator.domain.retention_brakes import shrank
from gateway_operator.domain.retention_sets import BackupSet
from gateway_operator.ports import ForbiddenError, Ports


class Inventories:
    """What is remembered, and where it is noted."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._known: dict[BackupSetId, int] = {}
        self._noted: dict[BackupSetId, int] = {}

    def forget(self, namespace: str, present: Container[BackupSetId]) -> None:
        """Sets of which nothing is left. What is noted stays: that all are gone at once is the greatest loss."""
        for memory in (self._known, self._noted):
            for key in [one for one in memory if namespace in ("", one.namespace) and one not in present]:
                del memory[key]

    async def before(self, backups: BackupSet) -> tuple[int | None, str]:
        """How many there were, and what a person wrote about fewer. The workload is read only where it may matter."""
        key, inventory = backups.id, backups.inventory
        known = self._known.get(key)
        if not _mortal(backups) or (known is not None and not shrank(inventory, known)):
            return known, ""
        workload = await self._ports.cluster.workload(key.namespace, key.gateway)
        if workload is None:
            return known, ""
        noted = traces.inventory(workload.annotations.get(traces.inventory_note(key.gateway, key.group)))
        accepted = str(workload.annotations.get(traces.accept_note(key.gateway, key.group), ""))
        return known if known is not None else noted, accepted

    async def promise(self, backups: BackupSet, inventory: int) -> None:
        """Before the first deletion: else, after a crash in the middle, it looks like a loss.

        Conflict, Forbidden: without the note nothing goes."""
        await self._note(backups, inventory)
        self._known[backups.id] = inventory

    async def remember(self, backups: BackupSet, inventory: int) -> None:
        """After a pass. Conflict: the next pass tries again."""
        self._known[backups.id] = inventory
        try:
            await self._note(backups, inventory)
        except ForbiddenError:  # nothing is deleted without it: see promise
            return

    async def _note(self, backups: BackupSet, inventory: int) -> None:
        key = backups.id
        if not _mortal(backups) or self._noted.get(key) == inventory:
            return
        workload = await self._ports.cluster.workload(key.namespace, key.gateway)
        if workload is None:
            return
        name = traces.inventory_note(key.gateway, key.group)
        if traces.inventory(workload.annotations.get(name)) != inventory:
            await self._ports.cluster.annotate(workload, name, str(inventory))
        self._noted[key] = inventory


def _mortal(backups: BackupSet) -> bool:
    """Whether any of them can ever go."""
    rules = isinstance(backups.policy, Policy) and backups.policy.has_rules
    return rules or any(one.ttl is not None for one in backups.rows)
