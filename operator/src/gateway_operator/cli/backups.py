"""The commands of ``kubectl gateway backup``: create, adopt, import, list, pin, unpin, accept and delete."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from gateway_operator.adapters.conflicts import retry_on_conflict
from gateway_operator.cli.argument_types import fields, with_settings
from gateway_operator.cli.creation import create_new, gateway_reference, generate_name, print_created
from gateway_operator.cli.from_job import create_once, named_job, of_job, parse_template
from gateway_operator.cli.session import FailedError, NotInTimeError, Session, UsageError, age, confirm
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import BACKUP_KIND, FINALIZER, IMPORT_KIND
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Json, Meta
from gateway_operator.domain.schedule.cronjob import TEMPLATE_VARIABLE
from gateway_operator.ports import ForbiddenError

_COMMON_FIELDS: Final = ("description", "timeout_seconds", "retry_limit", "starting_deadline_seconds")


async def create(session: Session, arguments: argparse.Namespace) -> None:
    """``backup create``: creates a GatewayBackup, and waits for it with ``--wait``."""
    body = new_backup(arguments, os.environ)
    if arguments.from_job:
        created = await create_once(session, BACKUP_KIND, body)
    else:
        created = await create_new(session, BACKUP_KIND, body["metadata"]["name"], body["spec"])
    await print_created(session, arguments, BACKUP_KIND, created)


def new_backup(arguments: argparse.Namespace, environment: Mapping[str, str]) -> dict[str, Any]:
    """The GatewayBackup to create, from the options or from the template in a Job's pod."""
    if not arguments.from_job:
        spec = with_settings(_spec(arguments), arguments.set)
        return {"metadata": {"name": arguments.name or generate_name(arguments.gateway)}, "spec": spec}
    job = named_job(environment)
    if arguments.name:
        raise UsageError("--from-job uses the Job's name for the backup: leave NAME out")
    template = environment.get(TEMPLATE_VARIABLE)
    if template and arguments.gateway:
        raise UsageError(f"{TEMPLATE_VARIABLE} contains the whole spec: leave --gateway out")
    body = parse_template(TEMPLATE_VARIABLE, template) if template else {"metadata": {}, "spec": _spec(arguments)}
    return of_job(body, job)


def _spec(arguments: argparse.Namespace) -> dict[str, Any]:
    if not arguments.gateway:
        raise UsageError("--gateway is required")
    verification = {"level": arguments.verification, "maxShrinkPercent": arguments.max_shrink_percent}
    spec = fields(arguments, ("group", "ttl", *_COMMON_FIELDS))
    return {"gatewayRef": gateway_reference(arguments), **spec, **_kept_and_verified(arguments, verification)}


def _kept_and_verified(arguments: argparse.Namespace, verification: Mapping[str, Any]) -> dict[str, Any]:
    """The fields ``pinned`` and ``verification`` of a new or adopted backup, if they were given."""
    spec: dict[str, Any] = {}
    if arguments.pin:
        spec["pinned"] = True
    if given := {key: value for key, value in verification.items() if value is not None}:
        spec["verification"] = given
    return spec


async def adopt(session: Session, arguments: argparse.Namespace) -> None:
    """``backup adopt``: creates a GatewayBackup for a file that is already on the volume."""
    spec = {
        "gatewayRef": gateway_reference(arguments),
        "existing": {"path": arguments.path},
        **fields(arguments, ("group", *_COMMON_FIELDS)),
        **_kept_and_verified(arguments, {"level": arguments.verification}),
    }
    spec = with_settings(spec, arguments.set)
    created = await create_new(session, BACKUP_KIND, arguments.name, spec)
    await print_created(session, arguments, BACKUP_KIND, created, "adopted")


async def import_(session: Session, arguments: argparse.Namespace) -> None:
    """``backup import``: creates a GatewayBackupImport, which creates a GatewayBackup for every file without one."""
    name = arguments.name or generate_name(arguments.gateway)
    spec: dict[str, Any] = {"gatewayRef": gateway_reference(arguments), **fields(arguments, ("timeout_seconds",))}
    if arguments.under:
        spec["paths"] = arguments.under
    if arguments.dry_run:
        spec["dryRun"] = True
    spec = with_settings(spec, arguments.set)
    created = await create_new(session, IMPORT_KIND, name, spec, "An import runs once: use another name.")
    await print_created(session, arguments, IMPORT_KIND, created)


async def show(session: Session, arguments: argparse.Namespace) -> None:
    """``backup list``: the newest first, filtered by group and gateway."""
    bodies = [body for body in await session.list(BACKUP_KIND) if _is_selected(body["spec"], arguments)]
    bodies.sort(key=lambda body: str(body["metadata"]["creationTimestamp"]), reverse=True)
    rows = [_row(body) for body in bodies]
    head = ("NAME", "PHASE", "REASON", "GATEWAY", "SIZE", "VERIFIED", "GROUP", "PINNED", "KEPT BY", "AGE")
    session.print_list(BACKUP_KIND, bodies, head, rows)


def _is_selected(spec: Json, arguments: argparse.Namespace) -> bool:
    group_matches = arguments.group in (None, spec.get("group"))
    return bool(group_matches and arguments.gateway in (None, spec["gatewayRef"]["name"]))


def _row(body: Json) -> tuple[str, ...]:
    spec, status = body["spec"], body.get("status") or {}
    return (
        str(body["metadata"]["name"]),
        str(status.get("phase", "Pending")),
        str(status.get("reason", "")),
        str(spec["gatewayRef"]["name"]),
        str(status.get("sizeBytes", "")),
        str((status.get("verification") or {}).get("level", "")),
        str(spec.get("group", "")),
        "yes" if spec.get("pinned") else "",
        ",".join(status.get("keptBy") or ()),
        age(body),
    )


async def pin(session: Session, arguments: argparse.Namespace) -> None:
    """``backup pin``: protects backups from retention."""
    await session.set_each(BACKUP_KIND, arguments.names, "pinned", True, "pinned")


async def unpin(session: Session, arguments: argparse.Namespace) -> None:
    """``backup unpin``: lets retention decide about backups again."""
    await session.set_each(BACKUP_KIND, arguments.names, "pinned", False, "unpinned")


async def accept(session: Session, arguments: argparse.Namespace) -> None:
    """``backup accept``: acknowledges Suspicious backups, so that later ones are compared with them."""
    await session.set_each(BACKUP_KIND, arguments.names, "accepted", True, "accepted")


async def delete(session: Session, arguments: argparse.Namespace) -> None:
    """``backup delete``: deletes objects and their files. FailedError if the operator has kept a file."""
    # All objects are read first: a misspelt name must not leave the deletion half done.
    bodies = [await session.get(BACKUP_KIND, name) for name in arguments.names]
    session.print_target()
    if not arguments.yes:
        for body in bodies:
            session.stderr(f"  {(body.get('status') or {}).get('path') or body['metadata']['name']}")
        confirm("Delete these backups and their files permanently?")
    kept_files: list[str] = []
    for body in bodies:
        ref = Meta.parse(body, BACKUP_KIND).ref
        await _delete(session, ref, arguments.timeout)
        session.print_object(BACKUP_KIND, body, "deleted")
        kept_files += await _kept_file_messages(session, ref)
    if kept_files:
        raise FailedError(" ".join(kept_files))


async def _delete(session: Session, ref: Ref, seconds: float) -> None:
    async def mark_and_delete(body: Json | None) -> bool:
        if body is None:
            return False
        meta = Meta.parse(body, BACKUP_KIND)
        # deleteFile and the finalizer are set in one write and before the deletion. Without the finalizer the object
        # would disappear and leave its file.
        patch = {
            "metadata": {
                "uid": ref.uid,
                "resourceVersion": meta.resource_version,
                "finalizers": [*(one for one in meta.finalizers if one != FINALIZER), FINALIZER],
            },
            "spec": {"deleteFile": True},
        }
        marked = await session.patch(BACKUP_KIND, ref.name, patch)
        await session.cluster.delete_ours(Meta.parse(marked, BACKUP_KIND))
        return True

    if await retry_on_conflict(partial(session.cluster.read, ref), mark_and_delete):
        await _wait_deleted(session, ref, seconds)


async def _kept_file_messages(session: Session, ref: Ref) -> list[str]:
    """The messages of the operator's events about a file that it kept. Empty without permission to read events."""
    query = {"fieldSelector": f"involvedObject.uid={ref.uid}"}
    try:
        events = await session.cluster.request("GET", f"/api/v1/namespaces/{ref.namespace}/events", query=query)
    except ForbiddenError:
        return []
    return [str(one.get("message")) for one in events.get("items") or () if one.get("reason") == Reason.FileKept]


async def _wait_deleted(session: Session, ref: Ref, seconds: float) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        body = await session.cluster.read(ref)
        if body is None:
            return
        if asyncio.get_running_loop().time() > deadline:
            status = body.get("status") or {}
            raise NotInTimeError(
                f"GatewayBackup {ref.name} is not deleted after {seconds:.0f} s: {status.get('message')}"
            )
        await asyncio.sleep(0.5)
