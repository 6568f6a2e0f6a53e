"""The commands of ``kubectl gateway drill``: create and list.

A drill is a GatewayRestore of mode Drill. It restores a backup in a temporary pod and changes nothing at the gateway.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Any

from gateway_operator.cli.argument_types import fields, with_settings
from gateway_operator.cli.creation import create_new, gateway_reference, generate_name, print_created
from gateway_operator.cli.from_job import create_once, named_job, of_job, parse_template
from gateway_operator.cli.session import Session, UsageError, age
from gateway_operator.domain.model.names import RESTORE_KIND, SCHEDULE_KIND
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.schedule.drill_cronjob import DRILL_VARIABLE
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule


async def create(session: Session, arguments: argparse.Namespace) -> None:
    """``drill create``: creates a GatewayRestore of mode Drill, and waits for it with ``--wait``."""
    if arguments.from_job:
        body = of_job(_template(arguments, os.environ), named_job(os.environ))
        created = await create_once(session, RESTORE_KIND, body)
    else:
        spec = with_settings(await _spec(session, arguments), arguments.set)
        name = arguments.name or generate_name(str(spec["gatewayRef"]["name"]), "drill")
        created = await create_new(session, RESTORE_KIND, name, spec, "A drill runs once: use another name.")
    await print_created(session, arguments, RESTORE_KIND, created)


def _template(arguments: argparse.Namespace, environment: Mapping[str, str]) -> dict[str, Any]:
    if arguments.name or arguments.gateway or arguments.schedule:
        raise UsageError(f"--from-job takes the drill from {DRILL_VARIABLE}: leave NAME and the other options out")
    return parse_template(DRILL_VARIABLE, environment.get(DRILL_VARIABLE, ""))


async def _spec(session: Session, arguments: argparse.Namespace) -> dict[str, Any]:
    if (arguments.gateway is None) == (arguments.schedule is None):
        raise UsageError("set one of --gateway and --schedule")
    if arguments.identity_key is not None and arguments.identity_secret is None:
        raise UsageError("--identity-key requires --identity-secret")
    given = {"name": arguments.identity_secret, "key": arguments.identity_key}
    identity: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if arguments.schedule is not None:
        schedule = GatewayBackupSchedule.parse(await session.get(SCHEDULE_KIND, arguments.schedule))
        reference = schedule.gateway.spec()
        group: str | None = schedule.name
        identity = identity or dict((schedule.drill.identity if schedule.drill else None) or {})
    else:
        reference = gateway_reference(arguments)
        group = arguments.group
    if arguments.backup and arguments.group:
        raise UsageError("set only one of --backup and --group")
    latest = {"latest": {"group": group} if group else {}}
    source: dict[str, Any] = {"backupName": arguments.backup} if arguments.backup else latest
    spec = {"gatewayRef": reference, "mode": "Drill", **source}
    if identity:
        spec["identitySecretRef"] = identity
    return {**spec, **fields(arguments, ("timeout_seconds", "starting_deadline_seconds", "description"))}


async def show(session: Session, _arguments: argparse.Namespace) -> None:
    """``drill list``: all drills in the namespace, the newest first."""
    bodies = [body for body in await session.list(RESTORE_KIND) if body["spec"].get("mode") == "Drill"]
    bodies.sort(key=lambda body: str(body["metadata"]["creationTimestamp"]), reverse=True)
    head = ("NAME", "PHASE", "GATEWAY", "BACKUP", "SECONDS", "REASON", "AGE")
    session.print_list(RESTORE_KIND, bodies, head, [_row(one) for one in bodies])


def _row(body: Json) -> tuple[str, ...]:
    status = body.get("status") or {}
    source, seconds = status.get("source") or {}, (status.get("drill") or {}).get("totalSeconds")
    return (
        str(body["metadata"]["name"]),
        str(status.get("phase", "Pending")),
        str(body["spec"]["gatewayRef"]["name"]),
        str(source.get("backupName") or source.get("path") or ""),
        "" if seconds is None else f"{seconds:.0f}",
        str(status.get("reason", "")),
        age(body),
    )
