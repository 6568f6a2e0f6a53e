"""``kubectl gateway restore diff``: shows what a restore would change, from a GatewayRestore with mode DryRun.

Exit codes: 0 if the restore would be accepted, whether or not it would change anything; 1 if it would be refused.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway_operator.adapters.custom_resources import custom_resource_path
from gateway_operator.cli.creation import generate_name
from gateway_operator.cli.restores import restore_spec
from gateway_operator.cli.session import FailedError, Session, UsageError
from gateway_operator.cli.wait import wait_until_completed
from gateway_operator.domain.model.names import RESTORE_KIND
from gateway_operator.domain.model.resources import Json
from gateway_operator.ports import ClusterError

_TITLES: Final = {"configs": "MCP configs", "projects": "Projects", "users": "Users", "apiKeys": "API keys"}
_SOURCES: Final = ("backupName", "latest", "before", "path", "factoryReset")
_MARKS: Final = (("added", "+"), ("removed", "-"), ("changed", "~"))


async def diff(session: Session, arguments: argparse.Namespace) -> None:
    """``restore diff``: the difference of an existing dry run, or of a new one that is deleted afterwards."""
    if arguments.name is not None:
        name = await _existing(session, arguments)
    else:
        name = await _create(session, arguments)
    try:
        body = await wait_until_completed(session, RESTORE_KIND, name, arguments.timeout)
        _print(session, body)
    finally:
        if arguments.name is None and not arguments.keep:
            await _delete(session, name)


async def _existing(session: Session, arguments: argparse.Namespace) -> str:
    if arguments.gateway is not None:
        raise UsageError("give the NAME of a dry run, or --gateway and a source for a new one, not both")
    body = await session.get(RESTORE_KIND, arguments.name)
    mode = body["spec"].get("mode", "Apply")
    if mode != "DryRun":
        raise FailedError(
            f"GatewayRestore {arguments.name} has mode {mode}. Only a dry run has a difference: "
            "kubectl gateway restore diff --gateway NAME and a source."
        )
    return str(arguments.name)


async def _create(session: Session, arguments: argparse.Namespace) -> str:
    if arguments.gateway is None:
        raise UsageError("give the NAME of a dry run, or --gateway and a source")
    spec = restore_spec(arguments) | {"mode": "DryRun"}
    if not spec.keys() & set(_SOURCES):
        raise UsageError("give a source: --backup, --latest, --before, --path or --factory-reset")
    name = generate_name(arguments.gateway, "diff")
    await session.create(RESTORE_KIND, {"metadata": {"name": name}, "spec": spec})
    return name


async def _delete(session: Session, name: str) -> None:
    """Delete the dry run that this command created. A failure leaves an object that does nothing more."""
    try:
        await session.cluster.request("DELETE", custom_resource_path(RESTORE_KIND, session.namespace, name))
    except ClusterError as error:
        session.stderr(f"GatewayRestore {name} was not deleted: {error}")


def _print(session: Session, body: Json) -> None:
    if not session.print_document(dict(body)):
        for line in diff_lines(body.get("status") or {}):
            session.stdout(line)


def diff_lines(status: Mapping[str, Any]) -> Iterator[str]:
    """The difference for a terminal. A change of the admin key comes first; names follow their section."""
    source, difference = status.get("source") or {}, status.get("diff") or {}
    what = source.get("backupName") or source.get("path") or "an empty config (factory reset)"
    yield f"Source: {what}"
    if difference.get("comparedWith") == "nothing":
        yield "The live config is missing or cannot be read: everything in the source is new."
    yield f"Admin key: {'CHANGES' if difference.get('adminKeyChanges') else 'unchanged'}"
    for section in difference.get("sections") or ():
        yield f"{_TITLES.get(section['name'], section['name'])}: {_counts(section)}"
        for kind, mark in _MARKS:
            names = section.get(f"{kind}Names") or ()
            yield from (f"  {mark} {name}" for name in names)
            hidden = int(section.get(kind) or 0) - len(names)
            if names and hidden > 0:
                yield f"  {mark} and {hidden} more"
    settings = difference.get("settingsChanged") or ()
    yield f"Settings: {', '.join(settings) + ' changed' if settings else 'unchanged'}"
    if obstacle := difference.get("obstacle"):
        yield f"Warning: a restore would be refused now: {obstacle}"


def _counts(section: Mapping[str, Any]) -> str:
    counts = [f"{mark}{section[kind]}" for kind, mark in _MARKS if section.get(kind)]
    counts += [f"{section[kind]} {kind}" for kind in ("disabled", "enabled") if section.get(kind)]
    return " ".join(counts) or "unchanged"
