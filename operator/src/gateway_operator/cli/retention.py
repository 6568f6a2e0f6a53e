"""The commands ``kubectl gateway retention explain``, which changes nothing, and ``retention approve``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from gateway_operator.cli.argument_types import retention
from gateway_operator.cli.session import FailedError, Session, UsageError, confirm
from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.model.identifiers import SetKind
from gateway_operator.domain.model.names import (
    APPROVE_DELETIONS,
    BACKUP_KIND,
    GROUP,
    RESTORE_KIND,
    SAFETY_GROUP,
    SCHEDULE_KIND,
)
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.retention.plan import plan
from gateway_operator.domain.retention.policy import RetentionPolicy, parse
from gateway_operator.domain.retention.result import ExplainRow, explain
from gateway_operator.domain.retention.sets import BackupSet, gather
from gateway_operator.domain.retention.volume import assume_present
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import ConflictError

_HEAD: Final = ("NAME", "TIME", "PHASE", "VERIFIED", "DECISION", "WHY", "EXPIRES")


async def show(session: Session, arguments: argparse.Namespace) -> None:
    """``retention explain``: which backups retention keeps or deletes, and why."""
    backup_set = await _select_set(session, arguments)
    policy = _policy(backup_set, arguments)
    rows = explain(plan(backup_set.rows, policy, datetime.now(UTC)))
    _print(session, rows)
    deletions = sum(row.decision == "delete" for row in rows)
    session.stderr(
        f"{backup_set.id.gateway}, {backup_set.id.kind} {backup_set.id.name}: backups: {len(rows)}, "
        f"to keep: {len(rows) - deletions}, to delete: {deletions}."
    )
    if arguments.policy:
        session.stderr("This is the result of the policy on the command line, which is not in force.")
    _print_hold(session, backup_set.schedule)


async def approve(session: Session, arguments: argparse.Namespace) -> None:
    """``retention approve``: quotes the nonces of the schedule's holds in an annotation.

    FailedError if nothing waits for an approval, or if the schedule changes in between.
    """
    schedule = GatewayBackupSchedule.parse(await session.get(SCHEDULE_KIND, arguments.schedule))
    waiting = schedule.retention_status.get("approvals") or ()
    if not waiting:
        raise FailedError(f"GatewayBackupSchedule {schedule.name} waits for no approval")
    session.print_target()
    _print_hold(session, schedule)
    arguments.group = arguments.gateway = arguments.policy = None
    backup_set = await _select_set(session, arguments)
    rows = explain(plan(backup_set.rows, _policy(backup_set, arguments), datetime.now(UTC)))
    for row in rows:
        if row.decision == "delete":
            session.stderr(f"  {row.name}  {row.time}  {row.why}")
    if not arguments.yes:
        confirm("Approve these deletions? They are permanent.")
    nonces = ",".join(str(one.get("nonce")) for one in waiting)
    # The version of the object that was shown: after another change a person has to look again.
    version = schedule.meta.resource_version
    metadata = {"resourceVersion": version, "annotations": {APPROVE_DELETIONS: nonces}}
    try:
        written = await session.patch(SCHEDULE_KIND, schedule.name, {"metadata": metadata})
    except ConflictError:
        raise FailedError("The schedule changed in the meantime. Check the plan again, then approve it.") from None
    session.print_object(SCHEDULE_KIND, written, "approved")


async def _select_set(session: Session, arguments: argparse.Namespace) -> BackupSet:
    if bool(arguments.schedule) == bool(arguments.group):
        raise UsageError("specify either SCHEDULE or --group")
    # A misspelt schedule must be an error, and not a set without backups.
    if arguments.schedule:
        await session.get(SCHEDULE_KIND, arguments.schedule)
    schedules = [GatewayBackupSchedule.parse(body) for body in await session.list(SCHEDULE_KIND)]
    listed = [BackupSummary.from_backup(Backup.parse(body)) for body in await session.list(BACKUP_KIND)]
    # Only the operator lists volumes. It marks missing files with a condition.
    backups = assume_present(listed)
    restores = [Restore.parse(body) for body in await session.list(RESTORE_KIND)]
    name, kinds = arguments.schedule or arguments.group, {SetKind.Schedule}
    if arguments.group:
        kinds = {SetKind.Safety if name == SAFETY_GROUP else SetKind.Group}
    sets = [one for one in gather(backups, schedules, restores) if one.id.name == name and one.id.kind in kinds]
    if arguments.schedule:
        sets = [one for one in sets if one.schedule is not None]
    if arguments.gateway:
        sets = [one for one in sets if one.id.gateway.name == arguments.gateway]
    if not sets:
        raise FailedError(f"no backups of the group {name} found in namespace {session.namespace}")
    if len(sets) > 1:
        names = ", ".join(sorted({one.id.gateway.name for one in sets}))
        raise UsageError(f"several gateways have a group {name}: select one with --gateway ({names})")
    return sets[0]


def _policy(backup_set: BackupSet, arguments: argparse.Namespace) -> RetentionPolicy:
    if arguments.policy:
        try:
            return parse(retention(arguments.policy))
        except ValueError as error:
            raise UsageError(str(error)) from None
    if isinstance(backup_set.policy, str):
        raise FailedError(f"the retention policy is invalid, so nothing is deleted: {backup_set.policy}")
    return backup_set.policy


def _print(session: Session, rows: Sequence[ExplainRow]) -> None:
    if session.print_document([row._asdict() for row in rows]):
        return
    if session.output == "name":
        for row in rows:
            if row.decision == "delete":
                session.stdout(f"{BACKUP_KIND.lower()}.{GROUP}/{row.name}")
    else:
        session.table(_HEAD, rows)


def _print_hold(session: Session, schedule: GatewayBackupSchedule | None) -> None:
    for condition in (schedule.status.get("conditions") or ()) if schedule is not None else ():
        if condition.get("type") == "RetentionApplied" and condition.get("status") != "True":
            session.stderr(f"Retention is on hold ({condition.get('reason')}): {condition.get('message')}")
