"""Deleting a GatewayBackup: seeing to its file when it goes, and having one go together with its file."""

from __future__ import annotations

from gateway_operator.domain import deletion, traces
from gateway_operator.domain.actions import CountFile, DeleteFile, Release, Wait
from gateway_operator.domain.calls import Failure
from gateway_operator.domain.known import Burst, KnownBackups
from gateway_operator.domain.names import BACKUP_KIND, DELETE_FILE
from gateway_operator.domain.objects import Backup, Json, Meta, Ref
from gateway_operator.ports import Cluster, ConflictError, ForbiddenError, MissingError, Ports
from gateway_operator.reconcile.gateways import View, backup_id_of, look, tried
from gateway_operator.reconcile.writing import Log, write

_TRIES = 5


async def forget_backup(ports: Ports, ref: Ref, log: Log) -> float | None:
    """See to the file of a GatewayBackup that is being deleted. None: let the object go."""
    answer: bool | Failure | None = None
    barred: str | None = None
    while True:
        body = await ports.cluster.read(ref)
        if body is None:
            return None
        backup = Backup.parse(body)
        seen, view = await _look(ports, backup, answer, barred)
        action = deletion.decide(seen, ports.clock.now())
        try:
            match action:
                case Release():
                    if action.note is not None:
                        log.info("%s: %s", action.note.reason, action.note.message)
                        await ports.cluster.event(ref, action.note, ports.clock.now())
                    return None
                case Wait():
                    await write(ports, Backup.parse, backup, action.status, action.note, log)
                    return action.seconds
                case CountFile():
                    if view is None or view.workload is None:
                        raise AssertionError("a file was counted without a gateway")
                    try:
                        await ports.cluster.annotate(view.workload, action.key, action.value)
                    except ForbiddenError as error:
                        barred = str(error)
                case DeleteFile():
                    await write(ports, Backup.parse, backup, action.status, None, log)
                    if view is None or view.target is None:
                        raise AssertionError("a deletion was decided on without a gateway")
                    answer = await tried(ports.admin_api.delete_backup(view.target, action.backup_id))
                case _:
                    await write(ports, Backup.parse, backup, action.status, action.note, log)
        except MissingError:
            return None
        except ConflictError:
            continue


async def _look(
    ports: Ports, backup: Backup, answer: bool | Failure | None, barred: str | None
) -> tuple[deletion.Observed, View | None]:
    ref = backup.meta.ref
    if not deletion.file_goes(backup) or not deletion.has_file(backup) or answer is not None:
        return deletion.Observed(backup, answer=answer), None
    swept = await ports.cluster.swept(ref.namespace, ref.kind)
    if swept is not None:
        return deletion.Observed(backup, swept=swept), None
    burst = None if deletion.asked_for(backup) else await _burst(ports, backup)
    view = await look(ports, ref.namespace, backup.gateway)
    health = await tried(ports.admin_api.health(view.target)) if view.target is not None else None
    backup_id = backup_id_of(ports, health, ref)
    spent = view.workload.annotations.get(traces.files_note(backup.gateway)) if view.workload is not None else None
    return deletion.Observed(backup, None, burst, view.gateway, health, backup_id, None, spent, barred), view


async def _burst(ports: Ports, backup: Backup) -> Burst:
    known = ports.backup_index
    if not isinstance(known, KnownBackups):
        listed = await ports.cluster.list_ours(BACKUP_KIND, backup.meta.ref.namespace)
        known = KnownBackups(Backup.parse(body) for body in listed)
    return known.burst(backup)


async def delete_with_file(cluster: Cluster, meta: Meta, why: str) -> bool:
    """Delete a GatewayBackup together with its file, if it still is what ``meta`` was read from. Gives whether it was
    there.

    ``why`` is one of ``names.FILE_GOES``. The mark comes first, so that a crash between the two leaves an object that
    is deleted the next time. Conflict, with the mark taken back, if somebody changed what a decision may rest on.
    """
    try:
        marked = Meta.parse(await cluster.mark_file_for_deletion(meta, why), BACKUP_KIND)
        for _ in range(_TRIES):
            try:
                await cluster.delete_ours(marked)
            except ConflictError:  # the operator, too, writes to it: a finalizer, its own notes
                found = await cluster.read(meta.ref)
                if found is None:
                    return True
                marked = Meta.parse(found, BACKUP_KIND)
                if marked.deleting_since is not None:
                    return True
                if not _the_same(meta, marked, found, why):
                    await cluster.unmark_file(marked)
                    raise
            else:
                return True
        raise ConflictError(f"GatewayBackup {meta.ref.namespace}/{meta.ref.name} keeps changing")
    except MissingError:
        return False


def _the_same(before: Meta, now: Meta, body: Json, why: str) -> bool:
    unchanged = (before.generation, dict(before.labels)) == (now.generation, dict(now.labels))
    finished = (body.get("status") or {}).get("phase") in ("Completed", "Failed", "Deleting")
    return unchanged and finished and now.annotations.get(DELETE_FILE) == why
