"""The unit of work of one operation: both volumes, the config, the index, the keys, and the caller.

`operation_runner` builds one context for each operation after it has taken the locks, and passes it to the functions
in `backups` and `restores`. A dry run builds its own without locks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gateway_api import logs
from gateway_api.contract import ErrorCode, SignatureState
from gateway_api.errors import ApiError, backup_volume_error, config_volume_error
from gateway_api.gateway_config.live import ConfigFile
from gateway_api.gateway_config.replace import ConfigReplacer
from gateway_api.repository.id_recovery import IdRecovery
from gateway_api.repository.index import RepositoryIndex
from gateway_api.repository.keys import EncryptionAndSigning
from gateway_api.repository.manifest import Manifest
from gateway_api.repository.signature_policy import SignatureOverrides, require_trusted
from gateway_api.settings import AdminSettings
from gateway_api.storage.layout import GATEWAY_ID_FILE, STATE_FOLDER, VOLUME_ID_FILE
from gateway_api.storage.paths import lstat_if_exists
from gateway_api.storage.state_dir import StateDir


@dataclass(frozen=True, slots=True)
class OperationContext:
    """Valid only while the locks are held; never stored.

    ``backup_state`` is None when the backup volume is unavailable, and ``volume_problem`` then says why. Commit and
    rollback work without it. ``read_only_root`` is then a descriptor of the backup directory if it can at least be
    read, such as a read-only copy without a state folder.
    ``clock`` returns the time in UTC. ``requested_by`` is the kind of the admin key, never the key itself.
    ``recovery_complete`` is false when a step of the recovery failed; the next operation repeats it.
    ``audit_head`` is the digest of the intent line of this operation and ``audit_lines`` the number of lines up to it.
    Both are None if that line is not on the backup volume.
    """

    settings: AdminSettings
    config: ConfigFile
    config_replacer: ConfigReplacer
    config_state: StateDir
    backup_state: StateDir | None
    index: RepositoryIndex
    clock: Callable[[], datetime]
    requested_by: str
    crypto: EncryptionAndSigning
    volume_problem: str = "the backup volume cannot be opened"
    id_recovery: IdRecovery = field(default_factory=IdRecovery)
    recovery_complete: bool = True
    audit_head: str | None = None
    audit_lines: int | None = None
    read_only_root: int | None = None

    def sign(self, manifest: Manifest) -> Manifest:
        """Returns the manifest with the signature of this server. Raises as :meth:`EncryptionAndSigning.sign`."""
        return self.crypto.sign(self.config_state, manifest)

    def check_policy(
        self, received: dict[str, Any] | None, overrides: SignatureOverrides, *, encrypted: bool
    ) -> SignatureState:
        """Returns the signature state of a manifest that policy and overrides accept for a restore.

        ``received`` is the manifest as parsed JSON, None when there is none. A state other than ``valid`` is logged.
        Raises ``SignatureInvalid``, ``SignatureRequired``, ``KeyNotTrusted``.
        """
        signature_check = self.crypto.check_signatures(self.config_state, received or {})
        require_trusted(signature_check, self.crypto.rules, overrides, encrypted=encrypted)
        if signature_check.state != "valid":
            logs.event(
                "signature_not_trusted",
                logging.WARNING,
                signature=signature_check.state,
                keys=list(signature_check.keys),
            )
        return signature_check.state

    @property
    def volume(self) -> StateDir:
        """The state directory of the backup volume. Raises ``VolumeUnavailable`` when there is none."""
        if self.backup_state is None:
            raise ApiError(ErrorCode.VolumeUnavailable, self.volume_problem)
        return self.backup_state

    @property
    def backup_root(self) -> int:
        """A descriptor of the backup directory, to locate and read backups. Raises ``VolumeUnavailable``."""
        if self.backup_state is not None:
            return self.backup_state.base_fd
        if self.read_only_root is not None:
            return self.read_only_root
        raise ApiError(ErrorCode.VolumeUnavailable, self.volume_problem)

    @property
    def volume_has_records(self) -> bool:
        """Whether the backup volume may hold records of requests. A readable copy without a state folder has none."""
        if self.backup_state is not None or self.read_only_root is None:
            return True
        try:
            return lstat_if_exists(self.read_only_root, STATE_FOLDER) is not None
        except OSError:
            return True


def gateway_and_volume_ids(context: OperationContext) -> tuple[str, str]:
    """The ids of the gateway and of the backup volume, which recovery has created or recovered.

    Raises ``VolumeUnavailable`` or another error of the volume that fails.
    """
    try:
        gateway_id = context.config_state.read_id(GATEWAY_ID_FILE)
    except OSError as error:
        raise config_volume_error(error) from None
    try:
        volume_id = context.volume.read_id(VOLUME_ID_FILE)
    except OSError as error:
        raise backup_volume_error(error) from None
    if gateway_id is None or volume_id is None:
        lost = GATEWAY_ID_FILE if gateway_id is None else VOLUME_ID_FILE
        raise ApiError(ErrorCode.VolumeUnavailable, f"the file {lost} is lost and cannot be written again")
    return gateway_id, volume_id
