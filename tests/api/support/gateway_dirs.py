"""The config directory and the backup directory of a gateway, for tests that start an admin API on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.api.support.admin_process import admin_key, gateway_config

UNPRIVILEGED_USER = 65534
"""The uid of a server in tests about permissions; the tests themselves run as root."""


class GatewayDirs:
    """A config directory with a valid config, an empty backup directory, and the config's admin key."""

    def __init__(self, folder: Path) -> None:
        self.key = admin_key()
        self.config = folder / "config" / "config.json"
        self.backups = folder / "backups"
        self.config.parent.mkdir()
        self.backups.mkdir()
        self.write(users=2)

    def write(self, **changes: Any) -> bytes:
        """Writes a valid config in place, as the gateway does; returns its bytes."""
        data = json.dumps(gateway_config(self.key, **changes), indent=2).encode()
        self.config.write_bytes(data)
        return data

    @property
    def state(self) -> Path:
        """The state folder in the config directory."""
        return self.config.parent / ".gateway"
