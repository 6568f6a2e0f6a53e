"""Reports the detailed health: the state of the config, of both volumes and of the keys, without a change.

Defects of the config are issues. Everything else that a person should fix is a warning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gateway_api import __version__
from gateway_api.auth import KeyRing
from gateway_api.clock import rfc3339, utc_now
from gateway_api.codec import encryption
from gateway_api.contract import Issue, PendingRestore, SystemHealthData, SystemStatus, VolumeSpace
from gateway_api.errors import ApiError
from gateway_api.gateway_config.live import ConfigFile, ConfigRead
from gateway_api.health import certificate
from gateway_api.health.certificate import CertificateFile
from gateway_api.repository.id_recovery import IdRecovery
from gateway_api.repository.keys import EncryptionAndSigning
from gateway_api.restores import records
from gateway_api.settings import AdminSettings
from gateway_api.storage.atomic_write import close, list_names
from gateway_api.storage.free_space import read_free_space
from gateway_api.storage.layout import GATEWAY_ID_FILE, PREVIOUS_CONFIG_PREFIX, STATE_FOLDER, previous_config_time
from gateway_api.storage.paths import open_root
from gateway_api.storage.state_dir import StateDir, read_volume_id

NEARLY_FULL: Final = 0.05
"""Fraction of free space below which the volume counts as nearly full."""
FEW_INODES: Final = 1000
"""Fewer free inodes count as nearly full: about a hundred backups."""


class HealthChecker:
    """Checks the config and the volumes without locks. Methods block, so they run in a thread."""

    def __init__(
        self,
        settings: AdminSettings,
        config: ConfigFile,
        keys: KeyRing,
        crypto: EncryptionAndSigning,
        id_recovery: IdRecovery,
    ) -> None:
        self._settings = settings
        self._config = config
        self._keys = keys
        self._crypto = crypto
        self._id_recovery = id_recovery
        self._certificate = CertificateFile(settings.tls_cert)

    def health(self, uptime_seconds: float) -> SystemHealthData:
        """The detailed health. Never raises: defects are listed in the result. ``uptime_seconds`` is echoed."""
        # Before the warnings: an id that was recovered in between appears together with its warning.
        volume_id = read_volume_id(self._settings.backup_dir)
        gateway_id, pending, unsaved = self._read_config_state()
        live = self._config.read_cached(sections=True)
        summary = live.summary
        space = _read_space(self._settings.backup_dir)
        certificate_end = self._certificate.end()
        expiring = certificate.warning(certificate_end, utc_now())
        warnings = [
            *(summary.warnings if summary is not None else ()),
            *self._key_warnings(),
            *self._id_recovery.warnings(),
            *(_unsaved_config_warning(self._settings.config_dir / STATE_FOLDER / name) for name in unsaved),
            *(() if expiring is None else (expiring,)),
            *self._volume_warnings(space, volume_id, 0 if summary is None else summary.size),
        ]
        issues = list(summary.issues) if summary is not None else [_unusable_config_issue(live)]
        counts = None if summary is None else summary.counts
        return SystemHealthData(
            status=_overall_status(live, issues, warnings),
            version=__version__,
            gateway_version=self._settings.gateway_version,
            config_path=str(self._settings.config_file),
            backup_path=str(self._settings.backup_dir),
            config_valid=summary is not None,
            config_digest=live.sha256,
            sections_digest=None if summary is None else summary.sections_digest,
            total_configs=0 if counts is None else counts.configs,
            total_projects=0 if counts is None else counts.projects,
            total_users=0 if counts is None else counts.users,
            total_api_keys=0 if counts is None else counts.api_keys,
            cache_enabled=summary is not None and summary.cache_enabled,
            cache_type="external" if summary is not None and summary.cache_type == "external" else "local",
            telemetry_enabled=summary is not None and summary.telemetry_enabled,
            guardrails_configured=summary is not None and summary.guardrails_configured,
            uptime_seconds=round(uptime_seconds, 3),
            gateway_id=gateway_id,
            volume_id=volume_id,
            pending_restore=pending,
            issues=issues,
            warnings=warnings,
            volume=space,
            certificate_end=certificate_end,
            encryption=self._settings.encryption,
            recipients=[encryption.recipient_fingerprint(recipient) for recipient in self._settings.age_recipients],
            signature_policy=self._settings.signature_policy,
        )

    def _volume_warnings(self, space: VolumeSpace | None, volume_id: str | None, config_bytes: int) -> list[Issue]:
        if space is None:
            return [_issue("VolumeUnavailable", "volume", "the backup volume cannot be opened")]
        warnings = []
        if is_nearly_full(space, config_bytes):
            warnings.append(_issue("VolumeNearlyFull", "volume", "the backup volume is nearly full"))
        if volume_id is None and self._id_recovery.recovery_failed:
            message = "the id of the backup volume is lost and could not be written again; see the log of the server"
            warnings.append(_issue("VolumeIdMissing", "volume_id", message))
        return warnings

    def _key_warnings(self) -> list[Issue]:
        warnings = []
        if (problem := self._keys.key_file_problem()) is not None:
            warnings.append(_issue("AdminKeyFileUnusable", "admin_key_file", problem))
        try:
            with StateDir(self._settings.config_dir, create=False) as state:
                self._crypto.check_signing_key(state)
        except ApiError as error:
            warnings.append(_issue("SigningKeyUnusable", "signing_key", error.detail))
        except OSError:
            pass  # the config itself cannot be read either, which is an issue
        return warnings

    def _read_config_state(self) -> tuple[str | None, PendingRestore | None, list[str]]:
        """The gateway id, the restore that is neither committed nor rolled back, and the unsaved previous configs.

        None for an id or restore that is absent. The configs are names of files in the state folder.
        """
        try:
            with StateDir(self._settings.config_dir, create=False) as state:
                gateway_id = state.read_id(GATEWAY_ID_FILE)
                previous = sorted(name for name in list_names(state.fd) if name.startswith(PREVIOUS_CONFIG_PREFIX))
                try:
                    journal = records.load_journal(state)
                except ApiError:
                    return gateway_id, PendingRestore(request_id="unknown", state="unknown"), previous
        except OSError:
            return None, None, []
        if journal is None or journal.phase in ("committed", "rolled_back"):
            return gateway_id, None, previous
        # The restore itself needs these two. Its result says where the previous config is saved.
        unsaved = [name for name in previous if name not in (journal.kept_file, journal.replaced_file)]
        return gateway_id, PendingRestore(request_id=journal.request_id, state=journal.phase), unsaved


def _issue(code: str, where: str, message: str) -> Issue:
    return Issue(code=code, where=where, message=message)


def _unsaved_config_warning(file: Path) -> Issue:
    replaced = previous_config_time(file.name)
    until = "" if replaced is None else f" until {rfc3339(replaced)}"
    message = (
        f"the config that was live{until} is in no backup, only in {file}; make the backup volume usable and take a "
        "backup, and the server saves this config first, or move the file to another place"
    )
    return _issue("PreviousConfigUnsaved", "previous_config", message)


def _unusable_config_issue(live: ConfigRead) -> Issue:
    codes = {
        "missing": "ConfigMissing",
        "unstable": "ConfigUnstable",
        "too_large": "ConfigTooLarge",
        "not_a_file": "ConfigNotAFile",
    }
    return _issue(codes.get(live.kind, "ConfigInvalid"), "config", live.problem)


def _overall_status(live: ConfigRead, issues: list[Issue], warnings: list[Issue]) -> SystemStatus:
    if live.summary is None:
        return SystemStatus.unhealthy
    return SystemStatus.degraded if issues or warnings else SystemStatus.healthy


def is_nearly_full(space: VolumeSpace, config_bytes: int) -> bool:
    """Whether few inodes or less than 5 % are free, or less than three uncompressed backups of ``config_bytes``."""
    few_inodes = space.free_inodes is not None and space.free_inodes < FEW_INODES
    return few_inodes or space.free_bytes < max(NEARLY_FULL * space.total_bytes, 3 * config_bytes)


def _read_space(backup_dir: Path) -> VolumeSpace | None:
    try:
        fd = open_root(backup_dir)
    except OSError:
        return None
    try:
        space = read_free_space(fd)
    except OSError:
        return None
    finally:
        close(fd)
    return VolumeSpace(free_bytes=space.free_bytes, total_bytes=space.total_bytes, free_inodes=space.free_inodes)
