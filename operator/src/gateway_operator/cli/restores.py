"""The commands of ``kubectl gateway restore``: create and list."""

from __future__ import annotations

import argparse
from typing import Any, Final

from gateway_operator.cli.argument_types import fields, with_settings
from gateway_operator.cli.session import FailedError, Session, UsageError, age
from gateway_operator.cli.wait import wait_until_completed
from gateway_operator.domain.model.names import RESTORE_KIND
from gateway_operator.domain.model.resources import Json
from gateway_operator.ports import ConflictError

_FIELDS: Final = (
    "expected_sha256",
    "safety_backup",
    "on_failure",
    "restart",
    "timeout_seconds",
    "starting_deadline_seconds",
    "description",
)


async def create(session: Session, arguments: argparse.Namespace) -> None:
    """``restore create``: creates a GatewayRestore, and waits for it with ``--wait``."""
    body = {"metadata": {"name": arguments.name}, "spec": with_settings(_spec(arguments), arguments.set)}
    try:
        created = await session.create(RESTORE_KIND, body)
    except ConflictError:
        message = f"GatewayRestore {arguments.name} already exists. A restore runs once: use another name."
        raise FailedError(message) from None
    if not arguments.wait:
        session.print_object(RESTORE_KIND, created, "created")
        return
    finished = await wait_until_completed(session, RESTORE_KIND, arguments.name, arguments.timeout)
    session.print_object(RESTORE_KIND, finished, "completed")


def _spec(arguments: argparse.Namespace) -> dict[str, Any]:
    gateway = {"kind": arguments.kind, "name": arguments.gateway, "ordinal": arguments.ordinal}
    spec: dict[str, Any] = {"gatewayRef": gateway}
    if arguments.group and not arguments.latest:
        raise UsageError("--group requires --latest")
    if arguments.latest:
        spec["latest"] = {"group": arguments.group} if arguments.group else {}
    for field, given in (("backupName", arguments.backup), ("before", arguments.before), ("path", arguments.path)):
        if given is not None:
            spec[field] = given
    if arguments.accept_unsigned:
        if arguments.expected_sha256 is None:
            raise UsageError(
                "--accept-unsigned requires --expected-sha256: without a signature only the digest identifies the file"
            )
        spec["acceptUnsigned"] = True
    if arguments.identity_key is not None and arguments.identity_secret is None:
        raise UsageError("--identity-key requires --identity-secret")
    identity = {"name": arguments.identity_secret, "key": arguments.identity_key}
    health = {"timeoutSeconds": arguments.health_timeout_seconds, "consecutive": arguments.health_consecutive}
    for field, parts in (("identitySecretRef", identity), ("healthCheck", health)):
        if given_parts := {key: value for key, value in parts.items() if value is not None}:
            spec[field] = given_parts
    return {**spec, **fields(arguments, _FIELDS)}


async def show(session: Session, _arguments: argparse.Namespace) -> None:
    """``restore list``: all restores in the namespace, the newest first."""
    bodies = await session.list(RESTORE_KIND)
    bodies.sort(key=lambda body: str(body["metadata"]["creationTimestamp"]), reverse=True)
    session.print_list(
        RESTORE_KIND, bodies, ("NAME", "PHASE", "GATEWAY", "SOURCE", "REASON", "AGE"), [_row(one) for one in bodies]
    )


def _row(body: Json) -> tuple[str, ...]:
    status = body.get("status") or {}
    source = status.get("source") or {}
    return (
        str(body["metadata"]["name"]),
        str(status.get("phase", "Pending")),
        str(body["spec"]["gatewayRef"]["name"]),
        str(source.get("backupName") or source.get("path") or ""),
        str(status.get("reason", "")),
        age(body),
    )
