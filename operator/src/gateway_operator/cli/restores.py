"""The commands ``kubectl gateway restore create`` and ``list``."""

from __future__ import annotations

import argparse
from typing import Any, Final

from gateway_operator.cli.argument_types import fields, with_settings
from gateway_operator.cli.creation import create_new, gateway_reference, print_created
from gateway_operator.cli.session import Session, UsageError, age
from gateway_operator.domain.model.names import RESTORE_KIND
from gateway_operator.domain.model.resources import Json

_FIELDS: Final = (
    "mode",
    "safety_backup",
    "on_failure",
    "restart",
    "timeout_seconds",
    "starting_deadline_seconds",
    "description",
)


async def create(session: Session, arguments: argparse.Namespace) -> None:
    """``restore create``: creates a GatewayRestore, and waits for it with ``--wait``."""
    spec = with_settings(_spec(arguments), arguments.set)
    # Only a restore that changes a config can need an approval. The requester is recorded in any case.
    if spec.get("mode", "Apply") == "Apply" and "requestedBy" not in spec:
        spec["requestedBy"] = await session.user_name()
    remedy = "A restore runs once: use another name."
    created = await create_new(session, RESTORE_KIND, arguments.name, spec, remedy)
    await print_created(session, arguments, RESTORE_KIND, created)


def _spec(arguments: argparse.Namespace) -> dict[str, Any]:
    spec = restore_spec(arguments)
    health = {"timeoutSeconds": arguments.health_timeout_seconds, "consecutive": arguments.health_consecutive}
    if given := {key: value for key, value in health.items() if value is not None}:
        spec["healthCheck"] = given
    if arguments.supersede:
        spec["supersede"] = True
    return {**spec, **fields(arguments, _FIELDS)}


def restore_spec(arguments: argparse.Namespace) -> dict[str, Any]:
    """The gateway, the source and what is known about the file. UsageError for a wrong combination of options."""
    spec: dict[str, Any] = {"gatewayRef": gateway_reference(arguments)}
    if arguments.group and not arguments.latest:
        raise UsageError("--group requires --latest")
    if arguments.latest:
        spec["latest"] = {"group": arguments.group} if arguments.group else {}
    for field, value in (("backupName", arguments.backup), ("before", arguments.before), ("path", arguments.path)):
        if value is not None:
            spec[field] = value
    if arguments.rotate_admin_key and not arguments.factory_reset:
        raise UsageError("--rotate-admin-key requires --factory-reset")
    if arguments.factory_reset:
        spec["factoryReset"] = {"confirm": True, **({"rotateAdminKey": True} if arguments.rotate_admin_key else {})}
    if arguments.accept_unsigned:
        if arguments.expected_sha256 is None:
            raise UsageError(
                "--accept-unsigned requires --expected-sha256: without a signature only the digest identifies the file"
            )
        spec["acceptUnsigned"] = True
    if arguments.identity_key is not None and arguments.identity_secret is None:
        raise UsageError("--identity-key requires --identity-secret")
    identity = {"name": arguments.identity_secret, "key": arguments.identity_key}
    if given := {key: value for key, value in identity.items() if value is not None}:
        spec["identitySecretRef"] = given
    if arguments.allow_other_gateway:
        spec["allowOtherGateway"] = True
    return {**spec, **fields(arguments, ("expected_sha256",))}


async def show(session: Session, _arguments: argparse.Namespace) -> None:
    """``restore list``: all restores in the namespace, the newest first."""
    bodies = await session.list(RESTORE_KIND)
    bodies.sort(key=lambda body: str(body["metadata"]["creationTimestamp"]), reverse=True)
    session.print_list(
        RESTORE_KIND,
        bodies,
        ("NAME", "PHASE", "MODE", "GATEWAY", "SOURCE", "REASON", "AGE"),
        [_row(one) for one in bodies],
    )


def _row(body: Json) -> tuple[str, ...]:
    status = body.get("status") or {}
    source = status.get("source") or {}
    return (
        str(body["metadata"]["name"]),
        str(status.get("phase", "Pending")),
        str(body["spec"].get("mode", "Apply")),
        str(body["spec"]["gatewayRef"]["name"]),
        str(source.get("backupName") or source.get("path") or ("factory reset" if source else "")),
        str(status.get("reason", "")),
        age(body),
    )
