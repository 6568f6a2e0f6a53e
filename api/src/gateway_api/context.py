"""What one mutation works with: both state folders, locked, and everything that was true when it began."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from . import logs
from .config_file import ConfigFile
from .config_slot import ConfigSlot
from .contract import ErrorCode, SignatureState
from .errors import ApiError
from .inventory import Inventory
from .manifest import Manifest
from .protection import Protection
from .settings import AdminSettings
from .state_folder import StateFolder
from .trust import Asked, refuse_unless_trusted

GATEWAY_ID = "gateway_id"
VOLUME_ID = "volume_id"


@dataclass(frozen=True, slots=True)
class Context:
    """Handed to a mutation by the one place that holds the locks; never kept beyond it.

    ``backup_state`` is None when the backup volume cannot be opened, which a commit and a rollback survive.
    ``requested_by`` names the kind of key, never the key; ``audit_head`` is the digest of this mutation's intent line.
    ``clock`` gives the time in UTC.
    """

    settings: AdminSettings
    config: ConfigFile
    slot: ConfigSlot
    config_state: StateFolder
    backup_state: StateFolder | None
    inventory: Inventory
    clock: Callable[[], datetime]
    requested_by: str
    protection: Protection
    audit_head: str | None = None

    def sign(self, manifest: Manifest) -> Manifest:
        """The manifest with this server's signature. Raises what :meth:`Protection.sign` raises."""
        return self.protection.sign(self.config_state, manifest)

    def admit(self, received: dict[str, Any] | None, asked: Asked, *, encrypted: bool) -> SignatureState:
        """What the signatures of a received manifest say, if policy and request let its file be restored.

        Raises ``SignatureInvalid``, ``SignatureRequired``, ``KeyNotTrusted``.
        """
        checked = self.protection.check(self.config_state, received or {})
        refuse_unless_trusted(checked, self.protection.rules, asked, encrypted=encrypted)
        if checked.verdict != "valid":
            logs.event("signature_not_trusted", logging.WARNING, signature=checked.verdict, keys=list(checked.keys))
        return checked.verdict

    @property
    def volume(self) -> StateFolder:
        """The backup volume. Raises ``VolumeUnavailable`` when there is none."""
        if self.backup_state is None:
            raise ApiError(ErrorCode.VolumeUnavailable, "the backup volume cannot be opened")
        return self.backup_state
