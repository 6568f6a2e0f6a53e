"""The paths and the default ports of the endpoints."""

from __future__ import annotations

from typing import Final

DEFAULT_PORT: Final = 8001
DEFAULT_TLS_PORT: Final = 8443

HEALTH_PATH: Final = "/health"
READY_PATH: Final = "/ready"
METRICS_PATH: Final = "/metrics"
API_PREFIX: Final = "/api/v1/system"
SYSTEM_HEALTH_PATH: Final = f"{API_PREFIX}/health"
BACKUP_PATH: Final = f"{API_PREFIX}/backup"
BACKUPS_PATH: Final = f"{API_PREFIX}/backups"
RESTORE_PATH: Final = f"{API_PREFIX}/restore"
RESET_PATH: Final = f"{API_PREFIX}/reset"
RESTORES_PATH: Final = f"{API_PREFIX}/restores"

REQUEST_ID_HEADER: Final = "X-Request-ID"
"""Identifies one HTTP request in the logs. It is unrelated to ``request_id`` in a body."""
