"""Writes the status of a custom resource on top of the version that was read, and only if a field differs.

Also the logger whose lines name the object that is being reconciled.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from datetime import datetime
from typing import Any, Final, TypeVar

from gateway_operator.domain.index.backup_index import TERMINAL_BACKUP_PHASES
from gateway_operator.domain.model import conditions
from gateway_operator.domain.model.actions import KubernetesEvent, Patch
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.import_resource import Import
from gateway_operator.domain.model.resources import Backup, Json, Meta
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import Ports

NO_PROGRESS_DELAY: Final = 5.0
"""Seconds until the next run after a step that changed nothing, so that a defect cannot cause a busy loop."""
Log = logging.Logger | logging.LoggerAdapter[logging.Logger]
ResourceT = TypeVar("ResourceT", Backup, Restore, GatewayBackupSchedule, Import)


class _ObjectLog(logging.LoggerAdapter[logging.Logger]):
    """Prefixes each line with the object's kind and name; the JSON format also gets them as a field."""

    def __init__(self, ref: Ref) -> None:
        fields = {"kind": ref.kind, "namespace": ref.namespace, "name": ref.name, "uid": ref.uid}
        super().__init__(logging.getLogger("gateway_operator.reconcile"), {"object": fields})
        self._prefix = f"{ref.kind} {ref.namespace}/{ref.name}"

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        message, options = super().process(msg, kwargs)
        return f"{self._prefix}: {message}", options


def object_log(ref: Ref) -> Log:
    """The logger for the reconciles of one object."""
    return _ObjectLog(ref)


def with_progress(resource: ResourceT, status: Patch, now: datetime) -> Patch:
    """Add ``observedGeneration`` and the conditions for kstatus to a status that is going to be written.

    They never cause a write of their own. A schedule has no phase; its decision sets its conditions.
    """
    merged = {**resource.status, **status}
    generation, phase = resource.meta.generation, str(merged.get("phase") or "")
    if not phase or isinstance(resource, GatewayBackupSchedule):
        return {**status, "observedGeneration": generation}
    present = status.get("conditions") or resource.conditions
    reason, message = str(merged.get("reason") or ""), str(merged.get("message") or "")
    progress = conditions.progress_conditions(present, phase, reason, message, generation, now)
    observed = conditions.observed_at(progress, generation)
    return {**status, "observedGeneration": generation, "conditions": observed}


async def observe_generation(ports: Ports, ref: Ref) -> None:
    """Write that the spec of a finished backup was read after a change, for example of ``pinned``.

    Without it kstatus takes the backup for one in progress, and `kubectl wait` waits until its timeout. ConflictError:
    read and decide again.
    """
    body = await ports.cluster.read(ref)
    backup = None if body is None else Backup.parse(body)
    if backup is None or backup.phase not in TERMINAL_BACKUP_PHASES:
        return
    # The generations alone: nothing else of a finished backup changes.
    generation = backup.meta.generation
    if backup.status.get("observedGeneration") != generation:
        observed = conditions.observed_at(backup.conditions, generation)
        await ports.cluster.write_status(backup.meta, {"observedGeneration": generation, "conditions": observed})


async def update_status(
    ports: Ports,
    parse: Callable[[Json], ResourceT],
    resource: ResourceT,
    status: Patch,
    event: KubernetesEvent | None,
    log: Log,
) -> ResourceT:
    """Merge ``status`` into the resource's status if a field differs, then emit the event. Returns the new version.

    Returns ``resource`` itself if nothing differs. ConflictError and MissingError are raised: the caller reads and
    decides again.
    """
    meta: Meta = resource.meta
    written = resource
    if any(resource.status.get(key) != value for key, value in status.items()):
        written = parse(await ports.cluster.write_status(meta, with_progress(resource, status, ports.clock.now())))
        if (written.phase, written.reason) != (resource.phase, resource.reason):
            message = written.status.get("message", "")
            log.info("%s → %s (%s): %s", resource.phase or "new", written.phase, written.reason, message)
    # The event comes after the status: an event is emitted only for a transition that was really written.
    if event is not None:
        await ports.cluster.event(meta.ref, event, ports.clock.now())
    return written
