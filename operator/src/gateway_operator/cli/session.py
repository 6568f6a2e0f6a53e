"""The environment of every command: the connection, the namespace, the output, and the exit code.

Results go to stdout; progress, warnings and errors go to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from gateway_operator.adapters.cluster import KubernetesCluster
from gateway_operator.adapters.custom_resources import custom_resource_path
from gateway_operator.adapters.kubectl_proxy import KubectlContext, current_context, kubectl_proxy, pod_namespace
from gateway_operator.adapters.kubernetes_api import CLI_AGENT, MERGE
from gateway_operator.domain.model.names import API_VERSION, GROUP
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.schedule.cronjob import EXIT_FAILED, EXIT_USAGE
from gateway_operator.ports import ClusterError, ConflictError, ForbiddenError, InvalidError, MissingError

_REVIEWS: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
EXIT_OK: Final = 0
EXIT_TIMED_OUT: Final = 3
EXIT_NO_ANSWER: Final = 4
"""The API server did not answer. The Job of a schedule starts another pod then, as for a timeout."""
_PERMISSION_HINT: Final = (
    "Permission denied. These ClusterRoles grant permissions: `gateway-backup-view` to read, `gateway-backup-edit` to "
    "make and delete backups, `gateway-backup-restore` to restore. Check with `kubectl auth can-i --list`."
)


class FailedError(Exception):
    """The command failed. The message is printed for the user."""


class UsageError(Exception):
    """The options of the command contradict each other or are incomplete."""


class NotInTimeError(Exception):
    """The object was not finished before the timeout."""


@dataclass
class Session:
    """One run of a command. ``output`` is ``json``, ``yaml``, ``name``, or None for text."""

    cluster: KubernetesCluster
    namespace: str
    output: str | None
    context: str = ""
    """The name of the kubeconfig context; empty in a pod."""

    def stderr(self, line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def stdout(self, line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def print_target(self) -> None:
        """Print the context and namespace to stderr. Each command that deletes or overwrites does so first."""
        context = f"context {self.context}" if self.context else "the pod's own cluster"
        self.stderr(f"In {context}, namespace {self.namespace}:")

    def print_document(self, document: Any) -> bool:
        """Print a value as JSON or YAML, if one of them was selected. Returns whether it was."""
        if self.output == "json":
            self.stdout(json.dumps(document, indent=2))
        elif self.output == "yaml":
            # A dependency of the Kubernetes client. It loads slowly, and few commands need it.
            import yaml

            self.stdout(yaml.safe_dump(document, sort_keys=False).rstrip())
        return self.output in ("json", "yaml")

    def print_object(self, kind: str, body: Json, action: str) -> None:
        """Print one object in the selected format. ``action`` is a past participle, for example ``created``."""
        if not self.print_document(_without_managed_fields(body)):
            shown = "" if self.output == "name" else f" {action}"
            self.stdout(f"{kind.lower()}.{GROUP}/{body['metadata']['name']}{shown}")

    def print_list(self, kind: str, bodies: Sequence[Json], head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print several objects in the selected format, or a message on stderr if there is none."""
        if self.print_document(
            {
                "apiVersion": API_VERSION,
                "kind": f"{kind}List",
                "items": [_without_managed_fields(one) for one in bodies],
            }
        ):
            return
        if self.output == "name":
            for body in bodies:
                self.print_object(kind, body, "")
        elif not rows:
            self.stderr(f"No {kind} found in namespace {self.namespace}.")
        else:
            self.table(head, rows)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows in aligned columns under a header."""
        widths = [max(len(line[column]) for line in (head, *rows)) for column in range(len(head))]
        for line in (head, *rows):
            self.stdout("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())

    async def get(self, kind: str, name: str) -> Json:
        """Read an object. MissingError if it does not exist."""
        try:
            return await self.cluster.request("GET", custom_resource_path(kind, self.namespace, name))
        except MissingError:
            raise MissingError(f"{kind} {name} not found in namespace {self.namespace}") from None

    async def list(self, kind: str) -> list[Json]:
        return await self.cluster.list_ours(kind, self.namespace)

    async def create(self, kind: str, body: dict[str, Any]) -> Json:
        """Create an object. ConflictError if the name is taken, InvalidError for an unknown field."""
        body = {"apiVersion": API_VERSION, "kind": kind, **body}
        # Without strict validation the API server drops a misspelt field and accepts the rest.
        query = {"fieldValidation": "Strict"}
        return await self.cluster.request("POST", custom_resource_path(kind, self.namespace), body, query=query)

    async def user_name(self) -> str:
        """The name of the user, as the API server knows it (``kubectl auth whoami``). FailedError without one."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        try:
            review = await self.cluster.request("POST", _REVIEWS, body)
        except ClusterError as error:
            raise FailedError(f"your user name cannot be read (kubectl auth whoami): {error}") from None
        return str(((review.get("status") or {}).get("userInfo") or {}).get("username") or "")

    async def patch(self, kind: str, name: str, patch: dict[str, Any]) -> Json:
        """Send a merge patch. Only a patch with a resourceVersion can conflict."""
        return await self.cluster.request(
            "PATCH", custom_resource_path(kind, self.namespace, name), patch, content_type=MERGE
        )

    async def set_each(self, kind: str, names: Sequence[str], field: str, value: bool, action: str) -> None:
        """Set a field of the spec of several objects, and print each of them."""
        for name in names:
            self.print_object(kind, await self.patch(kind, name, {"spec": {field: value}}), action)


Command = Callable[[Session, argparse.Namespace], Awaitable[int | None]]


async def run(command: Command, arguments: argparse.Namespace) -> int:
    """Connect, run the command, and convert each error to a message on stderr and an exit code."""
    try:
        async with _connect(arguments) as session:
            return await command(session, arguments) or EXIT_OK
    except NotInTimeError as error:
        return _fail(f"{error}", EXIT_TIMED_OUT)
    except UsageError as error:
        return _fail(f"{error}", EXIT_USAGE)
    except ForbiddenError as error:
        return _fail(f"{error}\n{_PERMISSION_HINT}", EXIT_FAILED)
    except InvalidError as error:
        return _fail(f"the API server rejected the object: {error}", EXIT_FAILED)
    except (FailedError, MissingError, ConflictError) as error:
        return _fail(f"{error}", EXIT_FAILED)
    except ClusterError as error:
        return _fail(f"{error}", EXIT_NO_ANSWER)


@asynccontextmanager
async def _connect(arguments: argparse.Namespace) -> AsyncIterator[Session]:
    """Connect through kubectl if it is installed, or else with the pod's service account."""
    flags: list[str] = arguments.connection
    kubectl = shutil.which("kubectl")
    async with AsyncExitStack() as stack:
        if kubectl is not None:
            socket = await stack.enter_async_context(kubectl_proxy(kubectl, flags))
            context = await current_context(kubectl, flags)
            cluster = KubernetesCluster.through_socket(socket, context.namespace)
        elif flags or os.environ.get("KUBECONFIG") or not pod_namespace(os.environ):
            raise FailedError("kubectl is not installed: outside a pod, the connection comes from kubectl.")
        else:
            cluster, context = await KubernetesCluster.connect(CLI_AGENT), KubectlContext("", "")
        stack.push_async_callback(cluster.close)
        yield Session(cluster, arguments.namespace or cluster.namespace, arguments.output, context.name)


def _without_managed_fields(body: Json) -> dict[str, Any]:
    """The object as kubectl prints it by default: without the record of who set which field."""
    metadata = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
    return {**body, "metadata": metadata}


def confirm(question: str, effect: str = "Deletion is permanent.") -> None:
    """Ask on the terminal. UsageError without a terminal, FailedError if the answer is not yes."""
    if not sys.stdin.isatty():
        raise UsageError(f"{effect} Pass --yes to confirm in a non-interactive shell.")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise FailedError("Cancelled. Nothing was changed.")


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"error: {message}\n")
    return code


def age(body: Json) -> str:
    """The age of an object in kubectl's format, for example 5d."""
    return _elapsed(str(body["metadata"].get("creationTimestamp", "")))


def ago(time: str | None) -> str:
    """The time since ``time`` in kubectl's format; empty for None."""
    return _elapsed(time) if time else ""


def _elapsed(time: str) -> str:
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()
    except ValueError:
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"
