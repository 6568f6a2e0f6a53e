"""Writing a status: each time on top of the version that was seen, and only what is new."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeVar

from gateway_operator.domain.actions import Note, Patch
from gateway_operator.domain.objects import Backup, Import, Json, Meta, Restore
from gateway_operator.domain.scheduled import GatewayBackupSchedule
from gateway_operator.ports import Ports

NOTHING_NEW: Final = 5.0
"""Seconds to wait where a step wrote nothing that was not there: no fault may become a loop without a pause."""
Log = logging.Logger | logging.LoggerAdapter[logging.Logger]
Thing = TypeVar("Thing", Backup, Restore, GatewayBackupSchedule, Import)


async def write(
    ports: Ports, parse: Callable[[Json], Thing], thing: Thing, status: Patch, note: Note | None, log: Log
) -> Thing:
    """Merge into the status what differs from it, and tell people about a transition.

    Conflict and Missing come through: the caller looks again.
    """
    meta: Meta = thing.meta
    after = thing
    if any(thing.status.get(key) != value for key, value in status.items()):
        after = parse(await ports.cluster.write_status(meta, status))
        if (after.phase, after.reason) != (thing.phase, thing.reason):
            said = after.status.get("message", "")
            log.info("%s → %s (%s): %s", thing.phase or "new", after.phase, after.reason, said)
    if note is not None:
        await ports.cluster.event(meta.ref, note, ports.clock.now())
    return after
