"""What every handler shares: the operator's parts, and how a wait becomes kopf's."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any

import kopf

from gateway_operator.domain.known import KnownBackups
from gateway_operator.domain.objects import Backup, NamespacedName, Ref
from gateway_operator.ports import ClusterError, Ports
from gateway_operator.reconcile.gateways import Turns
from gateway_operator.reconcile.nudges import Nudges
from gateway_operator.reconcile.schedule import ScheduleParts

_LOOK_AGAIN = 3.0
_ECHOES = 10.0
"""Seconds. Not for ever: who puts an older etcd back wants its unfinished objects looked at."""


class WaitingError(kopf.TemporaryError):
    """Not an error: a wish to be looked at again. It is kopf's only way to say so."""


@dataclass
class Parts:
    """What the handlers work with; made once, at the start."""

    ports: Ports
    turns: Turns
    schedules: ScheduleParts
    nudges: Nudges

    def nudge(self, backup: Backup) -> None:
        """Reconcile the schedule of this backup, if it has one."""
        self.nudges.nudge(NamespacedName(backup.meta.ref.namespace, backup.group))

    @property
    def backup_index(self) -> KnownBackups:
        """The GatewayBackups that the watch has shown."""
        if not isinstance(self.ports.backup_index, KnownBackups):
            raise AssertionError("the operator's ports come with an index")
        return self.ports.backup_index


def when_unfinished(terminal: Collection[str]) -> Callable[..., bool]:
    """A filter: a finished object is a record, and nothing that happens to it is looked at any more.

    A status can only be seen too old, never too new, so a terminal phase may be believed without asking again.
    """

    def unfinished(status: kopf.Status, memo: kopf.Memo, **_: Any) -> bool:
        return status.get("phase") not in terminal and time.monotonic() >= memo.get("echoes_until", 0.0)

    return unfinished


def ref_of(kind: str, namespace: str | None, name: str | None, uid: str | None, **_: Any) -> Ref:
    """Which object a handler was called for."""
    return Ref(kind, namespace or "", name or "", uid or "")


async def until_done(step: Awaitable[float | None], memo: kopf.Memo | None = None) -> None:
    """Run a step, and have the object back when it wants to be looked at again.

    ``memo`` is that of a record: when it is done, the watch still has the echoes of our own writes to it to bring.
    """
    try:
        seconds = await step
    except ClusterError as error:
        raise WaitingError(f"waiting for the Kubernetes API: {error}", delay=_LOOK_AGAIN) from error
    if seconds is not None:
        raise WaitingError(f"waiting {seconds:.1f} s", delay=max(seconds, 0.1))
    if memo is not None:
        memo.echoes_until = time.monotonic() + _ECHOES
