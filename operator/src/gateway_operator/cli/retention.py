"""``kubectl gateway retention``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from gateway_operator.adapters.custom_resources import custom_resource_path
from gateway_operator.cli.argument_types import retention
from gateway_operator.cli.session import FailedError, Session, UsageError
from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.model.names import BACKUP_KIND, GROUP, RESTORE_KIND, SCHEDULE_KIND
from gateway_operator.domain.model.resources import Backup, Restore
from gateway_operator.domain.retention.plan import plan
from gateway_operator.domain.retention.policy import RetentionPolicy, parse
from gateway_operator.domain.retention.result import ExplainRow, explain
from gateway_operator.domain.retention.sets import BackupSet, gather
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import MissingError

_HEAD: Final = ("NAME", "TIME", "PHASE", "VERIFIED", "VERDICT", "WHY", "EXPIRES")


async def show(session: Session, arguments: argparse.Namespace) -> None:
    """``retention explain``: what stays, what goes, and why; nothing is changed."""
    chosen = await _chosen(session, arguments)
    policy = _policy(chosen, arguments)
    rows = explain(plan(chosen.rows, policy, datetime.now(UTC)))
    _put(session, rows)
    going = sum(row.verdict == "delete" for row in rows)
    said = f"{len(rows) - going} stay and {going} go"
    if arguments.policy:
        said += " by the policy that you gave; it is not in force"
    session.stderr(f"Of {len(rows)} backups of {chosen.id.gateway} in the group {chosen.id.group}, {said}.")
    _tell_what_holds_back(session, chosen)


async def _chosen(session: Session, arguments: argparse.Namespace) -> BackupSet:
    if bool(arguments.schedule) == bool(arguments.group):
        raise UsageError("name a schedule or give --group, one of the two")
    if arguments.schedule:  # a word that is misspelt is no empty set
        try:
            await session.cluster.request(
                "GET", custom_resource_path(SCHEDULE_KIND, session.namespace, arguments.schedule)
            )
        except MissingError:
            raise FailedError(
                f"there is no GatewayBackupSchedule {arguments.schedule} in {session.namespace}"
            ) from None
    schedules = [GatewayBackupSchedule.parse(body) for body in await session.list(SCHEDULE_KIND)]
    backups = [BackupSummary.from_backup(Backup.parse(body)) for body in await session.list(BACKUP_KIND)]
    restores = [Restore.parse(body) for body in await session.list(RESTORE_KIND)]
    group = arguments.schedule or arguments.group
    sets = [one for one in gather(backups, schedules, restores) if one.id.group == group]
    if arguments.schedule:
        sets = [one for one in sets if one.schedule is not None]
    if arguments.gateway:
        sets = [one for one in sets if one.id.gateway.name == arguments.gateway]
    if not sets:
        raise FailedError(f"there is no backup of the group {group} in {session.namespace}")
    if len(sets) > 1:
        names = ", ".join(sorted({one.id.gateway.name for one in sets}))
        raise UsageError(f"several gateways have a group {group}: say which with --gateway ({names})")
    return sets[0]


def _policy(chosen: BackupSet, arguments: argparse.Namespace) -> RetentionPolicy:
    if arguments.policy:
        try:
            return parse(retention(arguments.policy))
        except ValueError as error:
            raise UsageError(str(error)) from None
    if isinstance(chosen.policy, str):
        raise FailedError(f"the policy cannot be understood, and nothing is deleted: {chosen.policy}")
    return chosen.policy


def _put(session: Session, rows: Sequence[ExplainRow]) -> None:
    if session.output == "json":
        session.stdout(json.dumps([row._asdict() for row in rows], indent=2))
    elif session.output == "name":
        for row in rows:
            if row.verdict == "delete":
                session.stdout(f"{BACKUP_KIND.lower()}.{GROUP}/{row.name}")
    else:
        session.table(_HEAD, rows)


def _tell_what_holds_back(session: Session, chosen: BackupSet) -> None:
    for one in (chosen.schedule.status.get("conditions") or ()) if chosen.schedule is not None else ():
        if one.get("type") == "RetentionApplied" and one.get("status") != "True":
            session.stderr(f"Retention is held back ({one.get('reason')}): {one.get('message')}")
