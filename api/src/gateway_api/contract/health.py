"""The bodies of the health endpoints."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, Field

from .common import OPEN, Issue


class HealthData(BaseModel):
    """What the probes read."""

    model_config = OPEN
    version: str
    config_path: str


class ReadyData(BaseModel):
    """A backup could be taken now."""

    model_config = OPEN
    ready: Literal[True] = True


class VolumeSpace(BaseModel):
    """Bytes on the backup volume, as an unprivileged process may use them."""

    model_config = OPEN
    free_bytes: int
    total_bytes: int


class PendingRestore(BaseModel):
    """A restore that nobody has committed or rolled back yet."""

    model_config = OPEN
    request_id: str
    state: str


class SystemStatus(StrEnum):
    """``degraded``: it serves, with dangling references or a nearly full volume; ``unhealthy``: no usable config."""

    healthy = "healthy"
    degraded = "degraded"
    unhealthy = "unhealthy"


class SystemHealthData(BaseModel):
    """The detailed health. ``config_digest`` is the SHA-256 of the file's bytes, ``sections_digest`` that of its
    canonical data sections (mcp_configs, projects, users, apikeys), both absent when the config cannot be read."""

    model_config = OPEN
    status: SystemStatus
    version: str
    gateway_version: str | None = None
    config_path: str
    config_valid: bool
    config_digest: str | None = None
    sections_digest: str | None = None
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
    encryption: Literal["require", "allow"] = "allow"
    recipients: list[str] = Field(default=[], description="Fingerprints of those that backups are encrypted to.")
    signature_policy: Literal["require", "warn"] = "warn"
