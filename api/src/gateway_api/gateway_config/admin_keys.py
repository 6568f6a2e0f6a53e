"""Finds the admin keys in a gateway config, in the fields where the gateway itself looks for them.

The module reads no file and imports the standard library only, because it runs in the parse worker.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

MIN_KEY_LENGTH: Final = 32
"""Bytes of the shortest admin key that the admin API accepts; the gateway itself accepts shorter ones."""
CLOUD_PROVIDER: Final = "enkrypt"
"""With this `plugins.auth.provider` the gateway reads its data from a remote service, and the remote key is an admin
key."""
PLACEHOLDER: Final = "YOUR_ENKRYPT_API_KEY"
"""The gateway's own example value. The gateway does not accept it as a key."""


def _object(value: Any, name: str) -> dict[str, Any]:
    inner = value.get(name) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def uses_cloud_provider(config: Any) -> bool:
    """Whether the gateway reads users and projects from a remote service. ``config`` may be invalid."""
    return _object(_object(config, "plugins"), "auth").get("provider") == CLOUD_PROVIDER


def find_admin_keys(config: Any) -> dict[str, str]:
    """The admin keys by their field in the config, in the gateway's order. ``config`` may be invalid.

    The source is `resolve_admin_keys` of gateway 2.2.4: the key of the top level, the key of older releases in
    `enkrypt_config`, and with the provider `enkrypt` the key of the remote service. A value that is no text or is
    blank counts as no key, because no request can match it.
    """
    cloud = _object(config, "enkrypt_config")
    candidates = {
        "admin_apikey": config.get("admin_apikey") if isinstance(config, dict) else None,
        "enkrypt_config.admin_apikey": cloud.get("admin_apikey"),
        "enkrypt_config.api_key": cloud.get("api_key") if uses_cloud_provider(config) else None,
    }
    return {
        field: key for field, key in candidates.items() if isinstance(key, str) and key.strip() and key != PLACEHOLDER
    }


def key_bytes(key: str) -> bytes:
    """The bytes of a key in a config. They are compared with the bytes of the key in a request."""
    return key.encode("utf-8", "surrogatepass")


def key_digest(key: bytes) -> str:
    """SHA-256 of a key in lower-case hex. The server keeps this digest and never the key."""
    return hashlib.sha256(key).hexdigest()
