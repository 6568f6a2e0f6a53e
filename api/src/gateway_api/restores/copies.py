"""Finds files on the backup volume that hold a config with a given digest, and proves that they do.

A kept config may be removed only if such a file exists, so nothing is believed here that was not checked now: the file
has the recorded digest, and it decodes to the config or a trusted signature covers its manifest. Any error counts as
"no copy".
"""

from __future__ import annotations

from typing import Final

from gateway_api.codec import compression
from gateway_api.codec.encode import decode
from gateway_api.errors import ApiError
from gateway_api.operation_context import OperationContext
from gateway_api.repository.data_files import digest_data_file
from gateway_api.repository.manifest import LocatedBackup, manifest_name
from gateway_api.repository.manifest_files import read_manifest_with_json
from gateway_api.repository.reader import read_stored
from gateway_api.restores.journal import ConfigCopy
from gateway_api.storage.content import Blob
from gateway_api.storage.paths import open_parent
from gateway_api.storage.state_dir import StateDir

_ALL_FILES: Final = 1 << 62


def copy_of(located: LocatedBackup) -> ConfigCopy:
    """The backup as a copy of its config. It is not checked here."""
    manifest = located.manifest
    return ConfigCopy(
        path=located.path,
        backup_id=manifest.id,
        content_sha256=manifest.content_sha256,
        stored_sha256=manifest.stored_sha256,
        stored_bytes=manifest.stored_bytes,
    )


def prove_copy(context: OperationContext, copy: ConfigCopy | None, sha256: str | None) -> ConfigCopy | None:
    """A file that holds the config with this digest now: ``copy`` or another backup. None if there is none.

    ``copy`` was proven by this server when it was written, so the digest of its file is sufficient.
    """
    volume = context.backup_state
    if volume is None or sha256 is None:
        return None
    if copy is not None and copy.content_sha256 == sha256 and _is_intact(volume, copy):
        return copy
    return find_copy(context, sha256)


def find_copy(context: OperationContext, sha256: str | None) -> ConfigCopy | None:
    """A backup that holds the config with this digest, as of the last refresh of the index; None if there is none."""
    volume = context.backup_state
    if volume is None or sha256 is None:
        return None
    text = sha256.encode()
    for file in context.index.files_after((), _ALL_FILES):
        for manifest in (file.own, file.beside):
            # The index keeps no content of a large manifest, so such a manifest is read.
            if manifest is None or (manifest.content is not None and text not in manifest.content):
                continue
            try:
                located = context.index.locate(volume.base_fd, manifest.id, new=True)
                if located is not None and _holds(context, volume, located, sha256):
                    return copy_of(located)
            except (OSError, ApiError):
                continue
    return None


def read_copy(context: OperationContext, copy: ConfigCopy) -> Blob | None:
    """The config in the file, None if it cannot be decoded without an identity or is another config."""
    try:
        content = _decode(context, context.volume, tuple(copy.path.split("/")))
    except (OSError, ApiError, compression.DecodeError):
        return None
    return content if content.sha256 == copy.content_sha256 else None


def _is_intact(volume: StateDir, copy: ConfigCopy) -> bool:
    parts = tuple(copy.path.split("/"))
    try:
        with open_parent(volume.base_fd, parts) as parent:
            return digest_data_file(parent, parts[-1], copy.stored_bytes) == copy.stored_sha256
    except (OSError, ApiError):
        return False


def _holds(context: OperationContext, volume: StateDir, located: LocatedBackup, sha256: str) -> bool:
    if located.manifest.content_sha256 != sha256 or not _is_intact(volume, copy_of(located)):
        return False
    if compression.format_for_name(located.parts[-1]).encrypted:
        return _is_signed(context, volume, located)
    try:
        return _decode(context, volume, located.parts).sha256 == sha256
    except compression.DecodeError:
        return False


def _is_signed(context: OperationContext, volume: StateDir, located: LocatedBackup) -> bool:
    """Whether a trusted key signed the manifest. Without the identity this is the only proof of an encrypted file."""
    with open_parent(volume.base_fd, located.parts) as parent:
        parsed = read_manifest_with_json(parent, manifest_name(located.parts[-1]))
    if parsed is None or parsed.manifest != located.manifest:
        return False
    return context.crypto.check_signatures(context.config_state, parsed.received).state == "valid"


def _decode(context: OperationContext, volume: StateDir, parts: tuple[str, ...]) -> Blob:
    limit = context.settings.max_config_bytes
    with open_parent(volume.base_fd, parts) as parent:
        stored = read_stored(parent, parts[-1], limit)
    return decode(stored, compression.format_for_name(parts[-1]), None, limit)
