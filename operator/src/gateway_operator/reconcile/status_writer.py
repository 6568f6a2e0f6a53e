"""Writing a status: each time on top of the version that was seen, and only what is new."""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from typing import Any, Final, TypeVar

from gateway_operator.domain.model.actions import KubernetesEvent, Patch
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.resources import Backup, Import, Json, Meta, Restore
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import Ports

NO_PROGRESS_DELAY: Final = 5.0
"""Seconds to wait where a step wrote nothing that was not there: no fault may become a loop without a pause."""
Log = logging.Logger | logging.LoggerAdapter[logging.Logger]
Thing = TypeVar("Thing", Backup, Restore, GatewayBackupSchedule, Import)


class _ObjectLog(logging.LoggerAdapter[logging.Logger]):
    """Names the object in each line; in JSON also as a field of its own."""

    def __init__(self, ref: Ref) -> None:
        fields = {"kind": ref.kind, "namespace": ref.namespace, "name": ref.name, "uid": ref.uid}
        super().__init__(logging.getLogger("gateway_operator.reconcile"), {"object": fields})
        self._prefix = f"{ref.kind} {ref.namespace}/{ref.name}"

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add both."""
        message, options = super().process(msg, kwargs)
        return f"{self._prefix}: {message}", options


def object_log(ref: Ref) -> Log:
    """The log of an object's reconciles."""
    return _ObjectLog(ref)


async def write(
    ports: Ports, parse: Callable[[Json], Thing], thing: Thing, status: Patch, note: KubernetesEvent | None, log: Log
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
