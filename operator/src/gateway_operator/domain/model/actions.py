"""The actions that a decision returns. A reconcile runs one action, observes everything again and decides again.

In an action with a ``status``, the status is written first. It must be durable before the call, so that a crash between
the two repeats the call with the same arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway_operator.domain.model.identifiers import IdentityRef

Patch = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KubernetesEvent:
    """A Kubernetes Event that reports a transition."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """The object is terminal: nothing is left to do."""


@dataclass(frozen=True, slots=True)
class Write:
    """Write the status, then decide again at once."""

    status: Patch
    event: KubernetesEvent | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """Write a terminal status, then stop."""

    status: Patch
    event: KubernetesEvent


@dataclass(frozen=True, slots=True)
class Wait:
    """Write the status if it changed, end this run and requeue the object after ``seconds``."""

    seconds: float
    status: Patch = field(default_factory=dict)
    event: KubernetesEvent | None = None


@dataclass(frozen=True, slots=True)
class RecheckSoon:
    """Observe again after ``seconds`` within the same run, for steps that take seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class CallBackup:
    """Write ``status``, then call the backup. ``timeout`` is in seconds."""

    path: str
    request_id: str
    metadata: Mapping[str, str]
    timeout: float
    status: Patch

    @property
    def record_name(self) -> str:
        """The name that only one backup of a volume may have: that of the GatewayBackup."""
        return f"{self.metadata['namespace']}/{self.metadata['name']}"


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """Read the admin API's record of the backup by its id."""

    backup_id: str


@dataclass(frozen=True, slots=True)
class FindFile:
    """Write ``status``, which claims the path, then read an existing file on the volume."""

    path: str
    status: Patch


@dataclass(frozen=True, slots=True)
class CheckFile:
    """Ask the admin API to read a stored file again and verify it."""

    backup_id: str
    path: str


@dataclass(frozen=True, slots=True)
class DeleteFile:
    """Write ``status``, then delete the file of a backup."""

    backup_id: str
    status: Patch


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    """Add the finalizer, so that a deletion waits for the operator."""


@dataclass(frozen=True, slots=True)
class RemoveFinalizer:
    """Remove the finalizer, so that Kubernetes deletes the object. The event reports the result of its work."""

    event: KubernetesEvent | None = None


@dataclass(frozen=True, slots=True)
class CreateSafetyBackup:
    """Create the GatewayBackup of the live config before it is replaced."""

    name: str


@dataclass(frozen=True, slots=True)
class CallRestore:
    """Call the restore of a file. ``timeout`` is in seconds."""

    request_id: str
    backup_id: str | None
    path: str | None
    expected_sha256: str | None
    safety_backup: bool | str
    timeout: float
    identity: IdentityRef | None = None
    identity_optional: bool = False
    """The journal has the restore already, so a repeated call succeeds even if the age identity was deleted since."""
    accept_unsigned: bool = False
    supersede: bool = False


@dataclass(frozen=True, slots=True)
class CallReset:
    """Call the reset to an empty config. ``timeout`` is in seconds."""

    request_id: str
    rotate_admin_key: bool
    safety_backup: bool | str
    timeout: float
    supersede: bool = False


@dataclass(frozen=True, slots=True)
class CallPlan:
    """Call the dry run of a restore or reset. It changes nothing, so it needs no lock and can be repeated."""

    call: CallRestore | CallReset


@dataclass(frozen=True, slots=True)
class CallCommit:
    """Call the commit, which makes the restore final."""

    request_id: str


@dataclass(frozen=True, slots=True)
class CallRollback:
    """Call the rollback, which puts the previous config back.

    ``force``: also if the live config has other bytes than the restored one.
    """

    request_id: str
    force: bool = False


@dataclass(frozen=True, slots=True)
class Restart:
    """Restart the gateway's pods. The same ``marker`` twice restarts them once."""

    marker: str


BackupAction = Done | Write | Finish | Wait | CallBackup | ReadRecord | FindFile | CheckFile
DeletionAction = Wait | DeleteFile | RemoveFinalizer
RestoreAction = (
    Done
    | Write
    | Finish
    | Wait
    | RecheckSoon
    | AddFinalizer
    | RemoveFinalizer
    | CallPlan
    | CreateSafetyBackup
    | CallRestore
    | CallReset
    | CallCommit
    | CallRollback
    | Restart
)
