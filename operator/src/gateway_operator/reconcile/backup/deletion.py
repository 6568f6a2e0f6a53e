"""Deletes the file of a GatewayBackup.

There are two callers. If a user deletes an object with ``spec.deleteFile``, the finalizer holds the object until its
file is deleted. Retention and ttl first commit the deletion in the status, and then delete the file and the object.
"""

from __future__ import annotations

from gateway_operator.domain.backup import deletion
from gateway_operator.domain.model.actions import DeleteFile, RemoveFinalizer, Wait
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.identifiers import GatewayRef, Ref
from gateway_operator.domain.model.names import FINALIZER
from gateway_operator.domain.model.resources import Backup
from gateway_operator.ports import AdminTarget, Cluster, ConflictError, MissingError, Ports
from gateway_operator.reconcile.gateway_lookup import backup_id_of, call_or_failure, resolve_gateway
from gateway_operator.reconcile.status_writer import Log, update_status


async def finalize_backup(ports: Ports, ref: Ref, log: Log) -> float | None:
    """Run the finalizer of a GatewayBackup. Returns the seconds to wait; None if the finalizer can be removed."""
    wait = await delete_file(ports, ref, log)
    return None if wait is None else wait.seconds


async def sync_finalizer(cluster: Cluster, ref: Ref) -> None:
    """Add our finalizer to a backup with ``deleteFile``; remove it from any other and from one that is being deleted.

    For a backup that is being deleted, call this only after ``finalize_backup`` has returned None: without the
    finalizer the object disappears and nothing deletes its file. ConflictError: read and decide again.
    """
    body = await cluster.read(ref)
    if body is None:
        return
    backup = Backup.parse(body)
    needed = backup.delete_file and backup.meta.deleting_since is None
    if needed != (FINALIZER in backup.meta.finalizers):
        await cluster.set_finalizer(backup.meta, needed)


async def finish_deletion(ports: Ports, ref: Ref, log: Log) -> str:
    """Finish a deletion that retention or ttl has committed: first the file, then the object.

    Returns the reason why the file cannot be deleted now; empty if nothing is left to do. ClusterError: try again
    later.
    """
    body = await ports.cluster.read(ref)
    if body is None or not Backup.parse(body).deletion_committed:
        return ""
    # The file before the object: a crash in between leaves an object in phase Deleting, and the next pass finishes it.
    # The other order would leave a file that no object names.
    wait = await delete_file(ports, ref, log)
    if wait is not None:
        return str(wait.status.get("message", ""))
    try:
        # The precondition is the uid and not the version: status writes since the commit must not stop the deletion,
        # and a new object of the same name must not be deleted.
        await ports.cluster.delete_by_uid(ref)
    except (MissingError, ConflictError):
        return ""
    return ""


async def gateway_problem(ports: Ports, namespace: str, ref: GatewayRef) -> str:
    """The reason why a gateway cannot delete files now; empty if it can.

    Retention commits no deletion while there is a problem.
    """
    resolved = await resolve_gateway(ports, namespace, ref)
    if resolved.target is None:
        return resolved.problem.message
    health = await call_or_failure(ports.admin_api.health(resolved.target))
    if isinstance(health, Failure):
        return health.sentence()
    return "" if health.volume_id is not None else "The admin API does not report the id of its volume."


async def delete_file(ports: Ports, ref: Ref, log: Log) -> Wait | None:
    """Delete the file of a GatewayBackup whose deletion has begun.

    Returns None if the file is deleted or must be kept, and a ``Wait`` if the gateway cannot delete it now.
    """
    answer: bool | Failure | None = None
    while True:
        body = await ports.cluster.read(ref)
        if body is None:
            return None
        backup = Backup.parse(body)
        observation, target = await _observe(ports, backup, answer)
        action = deletion.decide(observation, ports.clock.now())
        try:
            match action:
                case RemoveFinalizer():
                    # The event comes before the finalizer is removed: afterwards the object no longer exists.
                    if action.event is not None:
                        log.info("%s: %s", action.event.reason, action.event.message)
                        await ports.cluster.event(ref, action.event, ports.clock.now())
                    return None
                case Wait():
                    # The status first: it tells a user why the object is still there. The caller then requeues.
                    await update_status(ports, Backup.parse, backup, action.status, action.event, log)
                    return action
                case DeleteFile():
                    # The status before the call: from now on the file may be deleted, also if the operator crashes.
                    await update_status(ports, Backup.parse, backup, action.status, None, log)
                    if target is None:
                        raise AssertionError("The decision deletes a file, but no gateway was resolved.")
                    answer = await call_or_failure(ports.admin_api.delete_backup(target, action.backup_id))
        except MissingError:
            return None
        except ConflictError:
            # Another writer changed the object, for example `deleteFile`. Read and decide again.
            continue


async def _observe(
    ports: Ports, backup: Backup, answer: bool | Failure | None
) -> tuple[deletion.DeletionObservation, AdminTarget | None]:
    if deletion.deletion_started(backup) is None or not backup.has_file or answer is not None:
        return deletion.DeletionObservation(backup, answer=answer), None
    resolved = await resolve_gateway(ports, backup.meta.ref.namespace, backup.gateway)
    health = await call_or_failure(ports.admin_api.health(resolved.target)) if resolved.target is not None else None
    backup_id = backup_id_of(ports, health, backup.meta.ref)
    return deletion.DeletionObservation(backup, resolved.gateway, health, backup_id), resolved.target
