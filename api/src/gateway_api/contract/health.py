"""The models of the health endpoints."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from pydantic import BaseModel, Field

from .common import OPEN, Issue

CERTIFICATE_WARNING_DAYS: Final = 30
"""The chart renews a certificate when 122 days are left. With a month left the renewal has failed."""


class HealthData(BaseModel):
    """The answer to the probes of a pod."""

    model_config = OPEN
    version: str
    config_path: str


class ReadyData(BaseModel):
    """The server can take a backup now."""

    model_config = OPEN
    ready: Literal[True] = True


class VolumeSpace(BaseModel):
    """Free and total bytes and free inodes of the backup volume for an unprivileged process."""

    model_config = OPEN
    free_bytes: int
    total_bytes: int
    free_inodes: int | None = Field(default=None, description="Absent if the file system has no limit of inodes.")


class PendingRestore(BaseModel):
    """A restore that is not yet committed or rolled back."""

    model_config = OPEN
    request_id: str
    state: str
    key_ends_with_commit: bool = Field(
        default=False,
        description="Whether the key of this request is accepted only until the commit of the restore.",
    )


class SystemStatus(StrEnum):
    """The state of the config and of the backup volume.

    ``degraded``: there are issues or warnings, such as dangling references, a nearly full volume, a key file that
    cannot be used or a lost id. ``unhealthy``: the config is missing or invalid.
    """

    healthy = "healthy"
    degraded = "degraded"
    unhealthy = "unhealthy"


class SystemHealthData(BaseModel):
    """The detailed state of the config, the backup volume and the server."""

    model_config = OPEN
    status: SystemStatus
    version: str
    gateway_version: str | None = None
    config_path: str
    backup_path: str = Field(description="The directory that contains all backups, in the file system of the server.")
    config_valid: bool
    config_digest: str | None = Field(
        default=None, description="SHA-256 of the config file. Absent if the config cannot be read."
    )
    sections_digest: str | None = Field(
        default=None,
        description="SHA-256 of the canonical JSON of the sections mcp_configs, projects, users and apikeys. "
        "Absent if the config cannot be read.",
    )
    total_configs: int
    total_projects: int
    total_users: int
    total_api_keys: int
    cache_enabled: bool
    cache_type: Literal["local", "external"]
    telemetry_enabled: bool
    guardrails_configured: bool
    uptime_seconds: float
    gateway_id: str | None = None
    volume_id: str | None = None
    pending_restore: PendingRestore | None = None
    issues: list[Issue] = []
    warnings: list[Issue] = []
    volume: VolumeSpace | None = None
    certificate_end: datetime | None = Field(
        default=None, description="When the TLS certificate ends. Absent without TLS, or if it cannot be read."
    )
    encryption: Literal["require", "allow"] = "allow"
    recipients: list[str] = Field(default=[], description="Fingerprints of the age recipients of new backups.")
    signature_policy: Literal["require", "warn"] = "warn"
