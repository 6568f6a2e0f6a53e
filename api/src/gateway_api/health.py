"""Reports the detailed health, and the readiness: whether a backup could be created now.

Both read the config (from the cache if it is unchanged) and the backup volume. Only the readiness check writes: it
creates and removes a small file in the config's directory.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from gateway_api import __version__
from gateway_api.auth import KeyRing
from gateway_api.codec import encryption
from gateway_api.contract import Issue, PendingRestore, SystemHealthData, SystemStatus, VolumeSpace
from gateway_api.errors import ApiError
from gateway_api.gateway_config.live import ConfigFile, ConfigRead, replace_problem
from gateway_api.restores import records
from gateway_api.settings import AdminSettings
from gateway_api.storage.atomic_write import close
from gateway_api.storage.free_space import OVERHEAD_BYTES, free_and_total_bytes, missing_reserve_bytes
from gateway_api.storage.layout import GATEWAY_ID_FILE
from gateway_api.storage.state_dir import StateDir, read_volume_id

NEARLY_FULL: Final = 0.05
"""Fraction of free space below which the volume counts as nearly full."""
_READINESS_TEXT: Final = {
    "missing": "the config is missing",
    "invalid": "the config is not valid",
    "too_large": "the config is too large",
    "unstable": "the config keeps changing",
    "unreadable": "the config cannot be read",
    "not_parsed": "the process that parses the config could not be started",
}


class HealthChecker:
    """Checks the config and the backup volume without locks. Methods block, so they run in a thread."""

    def __init__(self, settings: AdminSettings, config: ConfigFile, keys: KeyRing) -> None:
        self._settings = settings
        self._config = config
        self._keys = keys
        self._replaceable = False

    def readiness_problem(self) -> str | None:
        """The first reason why a backup cannot be created now, or None."""
        live = self._config.read_cached()
        if live.kind != "valid":
            return _READINESS_TEXT[live.kind]
        # Checked until it succeeds once: the check writes a file, and probes are frequent.
        if not self._replaceable:
            if (problem := replace_problem(self._settings.config_file)) is not None:
                return problem
            self._replaceable = True
        if not self._keys.accepted_keys():
            return "no admin key is available"
        return volume_problem(self._settings.backup_dir, 0 if live.summary is None else live.summary.size)

    def health(self, uptime_seconds: float) -> SystemHealthData:
        """The detailed health. Never raises: defects are listed in the result. ``uptime_seconds`` is echoed."""
        live = self._config.read_cached(sections=True)
        summary = live.summary
        space = _read_space(self._settings.backup_dir)
        warnings = list(summary.warnings) if summary is not None else []
        if space is None:
            warnings.append(_issue("VolumeUnavailable", "volume", "the backup volume cannot be opened"))
        elif is_nearly_full(space, 0 if summary is None else summary.size):
            warnings.append(_issue("VolumeNearlyFull", "volume", "the backup volume is nearly full"))
        issues = list(summary.issues) if summary is not None else [_unusable_config_issue(live)]
        counts = None if summary is None else summary.counts
        gateway_id, pending = self._read_config_state()
        return SystemHealthData(
            status=_overall_status(live, issues, warnings),
            version=__version__,
            gateway_version=self._settings.gateway_version,
            config_path=str(self._settings.config_file),
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
            volume_id=read_volume_id(self._settings.backup_dir),
            pending_restore=pending,
            issues=issues,
            warnings=warnings,
            volume=space,
            encryption=self._settings.encryption,
            recipients=[encryption.recipient_fingerprint(recipient) for recipient in self._settings.age_recipients],
            signature_policy=self._settings.signature_policy,
        )

    def _read_config_state(self) -> tuple[str | None, PendingRestore | None]:
        """The gateway id and the restore that is neither committed nor rolled back; None for each that is absent."""
        try:
            with StateDir(self._settings.config_dir, create=False) as state:
                gateway_id = state.read_id(GATEWAY_ID_FILE)
                try:
                    journal = records.load_journal(state)
                except ApiError:
                    return gateway_id, PendingRestore(request_id="unknown", state="unknown")
        except OSError:
            return None, None
        if journal is None or journal.phase in ("committed", "rolled_back"):
            return gateway_id, None
        return gateway_id, PendingRestore(request_id=journal.request_id, state=journal.phase)


def _issue(code: str, where: str, message: str) -> Issue:
    return Issue(code=code, where=where, message=message)


def _unusable_config_issue(live: ConfigRead) -> Issue:
    codes = {"missing": "ConfigMissing", "unstable": "ConfigUnstable", "too_large": "ConfigTooLarge"}
    return _issue(codes.get(live.kind, "ConfigInvalid"), "config", live.problem)


def _overall_status(live: ConfigRead, issues: list[Issue], warnings: list[Issue]) -> SystemStatus:
    if live.summary is None:
        return SystemStatus.unhealthy
    return SystemStatus.degraded if issues or warnings else SystemStatus.healthy


def is_nearly_full(space: VolumeSpace, config_bytes: int) -> bool:
    """Whether less than 5 % is free, or less than three uncompressed backups of ``config_bytes`` need."""
    return space.free_bytes < max(NEARLY_FULL * space.total_bytes, 3 * config_bytes)


def _read_space(backup_dir: Path) -> VolumeSpace | None:
    try:
        fd = os.open(backup_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        free, total = free_and_total_bytes(fd)
    except OSError:
        return None
    finally:
        close(fd)
    return VolumeSpace(free_bytes=free, total_bytes=total)


def _read_missing_reserve(backup_dir: Path) -> int:
    try:
        with StateDir(backup_dir, create=False) as state:
            return missing_reserve_bytes(state.fd)
    except OSError:
        return 0


def volume_problem(backup_dir: Path, config_bytes: int) -> str | None:
    """The reason why the volume cannot store an uncompressed backup of ``config_bytes`` now, or None."""
    space = _read_space(backup_dir)
    if space is None:
        return "the backup volume cannot be opened"
    try:
        writable = os.access(backup_dir, os.W_OK | os.X_OK, effective_ids=True)
    except OSError:
        writable = False
    if not writable:
        return "the backup volume is read-only"
    if space.free_bytes < config_bytes + OVERHEAD_BYTES + _read_missing_reserve(backup_dir):
        return "the backup volume is full"
    return None
