"""The steps that all commands share which create an object: its gateway and name, the creation, and the wait."""

from __future__ import annotations

import argparse
import secrets
from datetime import UTC, datetime
from typing import Any, Final

from gateway_operator.cli.session import FailedError, Session
from gateway_operator.cli.wait import wait_until_completed
from gateway_operator.domain.model.identifiers import GatewayRef
from gateway_operator.domain.model.resources import Json
from gateway_operator.ports import ConflictError

_NAME_LIMIT: Final = 63


def gateway_reference(arguments: argparse.Namespace) -> dict[str, Any]:
    """``spec.gatewayRef`` from the options that name a gateway."""
    return GatewayRef(arguments.kind, arguments.gateway, arguments.ordinal).spec()


def generate_name(gateway: str, word: str = "") -> str:
    """A name from the gateway's name, ``word`` and the time. The random part keeps two commands of one second apart."""
    middle = f"-{word}" if word else ""
    suffix = f"{middle}-{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    return gateway[: _NAME_LIMIT - len(suffix)] + suffix


async def create_new(
    session: Session, kind: str, name: str, spec: dict[str, Any], remedy: str = "Use another name."
) -> Json:
    """Create an object. FailedError with ``remedy`` if the name is taken."""
    try:
        return await session.create(kind, {"metadata": {"name": name}, "spec": spec})
    except ConflictError:
        raise FailedError(f"{kind} {name} already exists. {remedy}") from None


async def print_created(
    session: Session, arguments: argparse.Namespace, kind: str, created: Json, finished: str = "completed"
) -> None:
    """Print a created object; with ``--wait``, wait until it is Completed, and print it with the word ``finished``."""
    if not arguments.wait:
        session.print_object(kind, created, "created")
        return
    body = await wait_until_completed(session, kind, str(created["metadata"]["name"]), arguments.timeout)
    session.print_object(kind, body, finished)
