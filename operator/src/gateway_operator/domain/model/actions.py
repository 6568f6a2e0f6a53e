"""What a decision can ask for. One action at a time: after it, everything is observed again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway_operator.domain.model.identifiers import IdentityRef

Patch = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KubernetesEvent:
    """An event for people, on a transition."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing more to do, now or ever."""


@dataclass(frozen=True, slots=True)
class Write:
    """Write the status, then go on."""

    status: Patch
    note: KubernetesEvent | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """Write a terminal status, then stop."""

    status: Patch
    note: KubernetesEvent


@dataclass(frozen=True, slots=True)
class Wait:
    """Write the status if it says something new, give the object back and look again later."""

    seconds: float
    status: Patch = field(default_factory=dict)
    note: KubernetesEvent | None = None


@dataclass(frozen=True, slots=True)
class RecheckSoon:
    """Look again shortly, without giving the object back: for what takes seconds and is watched closely."""

    seconds: float


@dataclass(frozen=True, slots=True)
class CallBackup:
    """Ask for the backup. ``status`` is written first: it must survive a crash of what follows."""

    path: str
    request_id: str
    metadata: Mapping[str, str]
    timeout: float
    status: Patch


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """Read the record of the backup."""

    backup_id: str


@dataclass(frozen=True, slots=True)
class FindFile:
    """Look at a file that lies on the volume already. ``status`` is written first: it is the claim."""

    path: str
    status: Patch


@dataclass(frozen=True, slots=True)
class CheckFile:
    """Have a stored file read again and proven."""

    backup_id: str
    path: str


@dataclass(frozen=True, slots=True)
class SetLabel:
    """Put a label on the object itself."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class DeleteFile:
    """Delete the file of a backup. ``status`` is written first."""

    backup_id: str
    status: Patch


@dataclass(frozen=True, slots=True)
class RemoveFinalizer:
    """Let the object go. ``note`` tells what became of its file."""

    note: KubernetesEvent | None = None


@dataclass(frozen=True, slots=True)
class CreateSafetyBackup:
    """Create the GatewayBackup of what is about to be replaced."""

    name: str


@dataclass(frozen=True, slots=True)
class CallRestore:
    """Ask for the restore."""

    request_id: str
    backup_id: str | None
    path: str | None
    expected_sha256: str | None
    safety_backup: bool | str
    timeout: float
    identity: IdentityRef | None = None
    identity_optional: bool = False
    """The journal has the restore already: a repeat is answered without the identity, should that be gone since."""
    accept_unsigned: bool = False


@dataclass(frozen=True, slots=True)
class CallCommit:
    """Make the restore final."""

    request_id: str


@dataclass(frozen=True, slots=True)
class CallRollback:
    """Put the previous config back."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Restart:
    """Restart the gateway's pods, once for each ``marker``."""

    marker: str


BackupAction = Done | Write | Finish | Wait | CallBackup | ReadRecord | FindFile | CheckFile | SetLabel
DeletionAction = Wait | DeleteFile | RemoveFinalizer
RestoreAction = (
    Done | Write | Finish | Wait | RecheckSoon | CreateSafetyBackup | CallRestore | CallCommit | CallRollback | Restart
)
