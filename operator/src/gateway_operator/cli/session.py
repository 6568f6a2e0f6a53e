"""What every command shares: the connection, the namespace, what is said and where, and how it ends."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from gateway_operator.adapters.cluster import KubernetesCluster
from gateway_operator.adapters.custom_resources import PLURALS, custom_resource_path
from gateway_operator.adapters.kubernetes_api import MERGE
from gateway_operator.domain.model.names import API_VERSION, GROUP
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.schedule.cronjob import EXIT_FAILED, EXIT_USAGE
from gateway_operator.ports import ClusterError, ForbiddenError, InvalidError

OK: Final = 0
TIMED_OUT: Final = 3


class FailedError(Exception):
    """It did not work; the message is for people."""


class UsageError(Exception):
    """The command cannot be meant like this."""


class NotInTimeError(Exception):
    """It was not finished in time."""


@dataclass
class Session:
    """One run of a command."""

    cluster: KubernetesCluster
    namespace: str
    output: str | None

    def stderr(self, line: str) -> None:
        """Progress and problems, beside the result."""
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def stdout(self, line: str) -> None:
        """The result."""
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def print_object(self, kind: str, body: Json, done: str) -> None:
        """One object as a result."""
        if self.output == "json":
            self.stdout(json.dumps(body, indent=2))
        elif self.output == "name":
            self.stdout(f"{kind.lower()}.{GROUP}/{body['metadata']['name']}")
        else:
            self.stdout(f"{kind.lower()}.{GROUP}/{body['metadata']['name']} {done}")

    def print_list(self, kind: str, bodies: Sequence[Json], head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Several objects as a result."""
        if self.output == "json":
            listing = {"apiVersion": API_VERSION, "kind": f"{kind}List", "items": list(bodies)}
            self.stdout(json.dumps(listing, indent=2))
        elif self.output == "name":
            for body in bodies:
                self.print_object(kind, body, "")
        elif not rows:
            self.stderr(f"No {kind} in namespace {self.namespace}.")
        else:
            self.table(head, rows)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table for people."""
        widths = [max(len(line[column]) for line in (head, *rows)) for column in range(len(head))]
        for line in (head, *rows):
            self.stdout("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())

    async def get(self, kind: str, name: str) -> Json:
        """An object that must be there."""
        return await self.cluster.request("GET", custom_resource_path(kind, self.namespace, name))

    async def list(self, kind: str) -> list[Json]:
        """All of a kind in the namespace."""
        return await self.cluster.list_ours(kind, self.namespace)

    async def create(self, kind: str, body: dict[str, Any]) -> Json:
        """Create an object."""
        body = {"apiVersion": API_VERSION, "kind": kind, **body}
        return await self.cluster.request("POST", custom_resource_path(kind, self.namespace), body)

    async def patch(self, kind: str, name: str, patch: dict[str, Any]) -> Json:
        """Merge into an object."""
        return await self.cluster.request(
            "PATCH", custom_resource_path(kind, self.namespace, name), patch, content_type=MERGE
        )

    async def set_each(self, kind: str, names: Sequence[str], field: str, value: bool, done: str) -> None:
        """Set a field of the spec of each of some objects, one after the other."""
        for name in names:
            self.print_object(kind, await self.patch(kind, name, {"spec": {field: value}}), done)


Act = Callable[[Session, argparse.Namespace], Awaitable[int | None]]


async def run(act: Act, arguments: argparse.Namespace) -> int:
    """Connect, do it, and turn what goes wrong into a sentence and an exit code."""
    cluster: KubernetesCluster | None = None
    try:
        cluster = await KubernetesCluster.connect(arguments.context)
        session = Session(cluster, arguments.namespace or cluster.namespace, arguments.output)
        return await act(session, arguments) or OK
    except NotInTimeError as error:
        return _end(f"{error}", TIMED_OUT)
    except UsageError as error:
        return _end(f"{error}", EXIT_USAGE)
    except ForbiddenError as error:
        return _end(f"{error}\n{_rule()}", EXIT_FAILED)
    except InvalidError as error:
        return _end(f"the API server refuses it: {error}", EXIT_FAILED)
    except (FailedError, ClusterError) as error:
        return _end(f"{error}", EXIT_FAILED)
    finally:
        if cluster is not None:
            await cluster.close()


def _end(said: str, code: int) -> int:
    sys.stderr.write(f"error: {said}\n")
    return code


def _rule() -> str:
    kinds = ", ".join(PLURALS.values())
    return (
        f"A right is missing: whoever may edit the namespace has it (ClusterRole gateway-backup-edit, for {kinds}); "
        "`kubectl auth can-i --list` shows which ones you have."
    )


def age(body: Json) -> str:
    """How old an object is, as kubectl writes it."""
    return _since(str(body["metadata"].get("creationTimestamp", "")))


def ago(time: str | None) -> str:
    """How long a time is past."""
    return _since(time) if time else ""


def _since(time: str) -> str:
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()
    except ValueError:
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"
