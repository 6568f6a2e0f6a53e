"""What one mutation works with: both state folders, locked, and everything that was true when it began."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway_api import logs
from gateway_api.contract import ErrorCode, SignatureState
from gateway_api.errors import ApiError, backup_volume_error, config_volume_error
from gateway_api.gateway_config.live import ConfigFile
from gateway_api.gateway_config.replace import ConfigReplacer
from gateway_api.repository.index import RepositoryIndex
from gateway_api.repository.keys import EncryptionAndSigning
from gateway_api.repository.manifest import Manifest
from gateway_api.repository.signature_policy import SignatureOverrides, require_trusted
from gateway_api.settings import AdminSettings
from gateway_api.storage.layout import GATEWAY_ID_FILE, VOLUME_ID_FILE
from gateway_api.storage.state_dir import StateDir


@dataclass(frozen=True, slots=True)
class OperationContext:
    """Handed to a mutation by the one place that holds the locks; never kept beyond it.

    ``backup_state`` is None when the backup volume cannot be opened, which a commit and a rollback survive.
    ``requested_by`` names the kind of key, never the key; ``audit_head`` is the digest of this mutation's intent line.
    ``clock`` gives the time in UTC.
    """

    settings: AdminSettings
    config: ConfigFile
    slot: ConfigReplacer
    config_state: StateDir
    backup_state: StateDir | None
    inventory: RepositoryIndex
    clock: Callable[[], datetime]
    requested_by: str
    protection: EncryptionAndSigning
    audit_head: str | None = None

    def sign(self, manifest: Manifest) -> Manifest:
        """The manifest with this server's signature. Raises what :meth:`EncryptionAndSigning.sign` raises."""
        return self.protection.sign(self.config_state, manifest)

    def check_policy(
        self, received: dict[str, Any] | None, asked: SignatureOverrides, *, encrypted: bool
    ) -> SignatureState:
        """What the signatures of a received manifest say, if policy and request let its file be restored.

        Raises ``SignatureInvalid``, ``SignatureRequired``, ``KeyNotTrusted``.
        """
        checked = self.protection.check(self.config_state, received or {})
        require_trusted(checked, self.protection.rules, asked, encrypted=encrypted)
        if checked.verdict != "valid":
            logs.event("signature_not_trusted", logging.WARNING, signature=checked.verdict, keys=list(checked.keys))
        return checked.verdict

    @property
    def volume(self) -> StateDir:
        """The backup volume. Raises ``VolumeUnavailable`` when there is none."""
        if self.backup_state is None:
            raise ApiError(ErrorCode.VolumeUnavailable, "the backup volume cannot be opened")
        return self.backup_state


def backup_ids(context: OperationContext) -> tuple[str, str]:
    """The gateway's and the volume's identity. Raises what their volumes' failures mean."""
    try:
        gateway = context.config_state.read_or_create_id(GATEWAY_ID_FILE)
    except OSError as error:
        raise config_volume_error(error) from None
    try:
        return gateway, context.volume.read_or_create_id(VOLUME_ID_FILE)
    except OSError as error:
        raise backup_volume_error(error) from None
