"""Reads manifests from their files. A missing manifest, an invalid one and an unreadable one are different answers."""

from __future__ import annotations

from typing import Any, NamedTuple

from gateway_api.errors import ApiError
from gateway_api.repository import manifest as manifests
from gateway_api.repository.manifest import InvalidManifest, Manifest
from gateway_api.storage.atomic_write import close, read_all
from gateway_api.storage.paths import MAX_DEPTH, open_file, open_parent


class ParsedManifest(NamedTuple):
    """A manifest as the JSON object in the file, which the signatures cover, and as a model."""

    received: dict[str, Any]
    manifest: Manifest


def read_manifest(dir_fd: int, name: str, limit: int = manifests.MAX_MANIFEST_BYTES) -> Manifest | None:
    """The manifest in the file ``name``. None when the file does not exist or is not a valid manifest.

    Raises ``OSError`` when the file exists but cannot be read. The caller must not treat that as a missing manifest.
    """
    parsed = read_manifest_with_json(dir_fd, name, limit)
    return None if parsed is None else parsed.manifest


def read_manifest_with_json(dir_fd: int, name: str, limit: int = manifests.MAX_MANIFEST_BYTES) -> ParsedManifest | None:
    """As :func:`read_manifest`, with the JSON object of the file, which is needed to check signatures."""
    try:
        # A copy made with hard links has the same bytes, and the signature covers them.
        fd = open_file(dir_fd, name, links_allowed=True)
    except (FileNotFoundError, ApiError):
        return None
    try:
        data = read_all(fd, limit)
        if len(data) > limit:
            return None
        received = manifests.parse_json(data)
        return ParsedManifest(received, manifests.validate(received))
    except InvalidManifest:
        return None
    finally:
        close(fd)


def read_manifest_beside(root_fd: int, parts: tuple[str, ...]) -> Manifest | None:
    """The manifest of the data file at ``parts``, or None. Raises ``OSError`` when it exists but cannot be read."""
    if len(parts) > MAX_DEPTH:
        return None
    try:
        with open_parent(root_fd, parts) as parent:
            return read_manifest(parent, manifests.manifest_name(parts[-1]))
    except (FileNotFoundError, ApiError):
        return None
