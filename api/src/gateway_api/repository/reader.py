"""Opens a backup file and decodes it to the config that it holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway_api.codec import compression
from gateway_api.codec.encode import decode, stored_limit
from gateway_api.contract import ErrorCode, Issue, SignatureState
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.gateway_config.parser import ConfigParser
from gateway_api.gateway_config.schema import InvalidConfig
from gateway_api.gateway_config.summary import ConfigSummary
from gateway_api.repository.gzipped import SUFFIX, DigestCache, manifest_for_gzipped
from gateway_api.repository.index import ParsedManifest, receive_manifest
from gateway_api.repository.manifest import manifest_name
from gateway_api.storage.atomic_write import close
from gateway_api.storage.content import Blob, read_blob
from gateway_api.storage.paths import existing_kind, file_stamp, open_file, open_parent
from gateway_api.storage.state_dir import StateDir


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A config that may be restored. ``content`` are the bytes the config file will hold."""

    path: str
    backup_id: str | None
    content: Blob
    summary: ConfigSummary
    known_issues: tuple[Issue, ...]
    signature: SignatureState | None = None

    @property
    def sections_digest(self) -> str:
        """Digest of the four data sections: a source is always judged with it."""
        assert self.summary.sections_digest is not None
        return self.summary.sections_digest


SignatureGate = Callable[[dict[str, Any] | None, bool], SignatureState]
"""Judges what was received as the manifest (None: there is none) of a file that is encrypted or not, and returns what
its signatures say, or raises."""


def open_stored_file(
    state: StateDir,
    parts: tuple[str, ...],
    *,
    limit: int,
    expected_sha256: str | None,
    identity: str | None,
    admit: SignatureGate,
    judge: ConfigParser,
) -> StoredFile:
    """Reads and judges the file at ``parts``. Nothing is decrypted or unpacked before ``admit`` has let it in.

    Raises ``BackupNotFound``, ``PathNotAllowed``, ``BackupTooLarge``, ``BackupCorrupt``, ``BackupInvalid``,
    ``DigestMismatch``, ``IdentityRequired``, ``WrongIdentity``, ``VolumeUnavailable``, ``WorkerFailed`` and what
    ``admit`` raises; changes nothing.
    """
    form = compression.format_for_name(parts[-1])
    try:
        with open_parent(state.base_fd, parts) as parent:
            stored = read_stored(parent, parts[-1], limit)
            found = _manifest_of(parent, parts[-1], stored) or _manifest_before_gzip(parent, parts[-1])
    except (FileNotFoundError, NotADirectoryError):
        raise ApiError(ErrorCode.BackupNotFound) from None
    except OSError as error:
        raise backup_volume_error(error) from None
    received, manifest = found or (None, None)
    signature = admit(received, form.encrypted)
    try:
        content = decode(stored, form, identity, limit)
    except compression.DecodeError as problem:
        code = ErrorCode.BackupInvalid if manifest is None else ErrorCode.BackupCorrupt
        raise ApiError(code, str(problem)) from None
    except OSError as error:
        raise backup_volume_error(error) from None
    if manifest is not None and content.sha256 != manifest.content_sha256:
        raise ApiError(ErrorCode.BackupCorrupt)
    if expected_sha256 is not None and expected_sha256 not in (content.sha256, stored.sha256):
        raise ApiError(ErrorCode.DigestMismatch)
    content, summary = parse_config(judge, content, limit)
    return StoredFile(
        path="/".join(parts),
        backup_id=None if manifest is None else manifest.id,
        content=content,
        summary=summary,
        known_issues=() if manifest is None else tuple(manifest.issues),
        signature=signature,
    )


def read_stored(parent: int, name: str, limit: int) -> Blob:
    """The bytes of a file that holds a config of at most ``limit`` bytes.

    Raises ``BackupTooLarge``, ``PathNotAllowed``, ``Busy`` when it changes meanwhile, ``OSError``.
    """
    limit = stored_limit(limit)
    fd = open_file(parent, name)
    try:
        before = os.fstat(fd)
        if before.st_size > limit:
            raise ApiError(ErrorCode.BackupTooLarge)
        stored = read_blob(fd, limit)
        if file_stamp(os.fstat(fd)) != file_stamp(before) or stored.size != before.st_size:
            raise ApiError(ErrorCode.Busy, "the backup file is being written")
        return stored
    finally:
        close(fd)


def _manifest_of(parent: int, name: str, stored: Blob) -> ParsedManifest | None:
    beside = manifest_name(name)
    if existing_kind(parent, beside) is None:
        return None
    found = receive_manifest(parent, beside)
    if found is None or found[1].stored_sha256 != stored.sha256:
        raise ApiError(ErrorCode.BackupCorrupt)
    return found


def _manifest_before_gzip(parent: int, name: str) -> ParsedManifest | None:
    """The manifest of a backup that a person has gzipped to ``name``; signatures are over what was received."""
    stem = name.removesuffix(SUFFIX)
    beside = None if stem == name else receive_manifest(parent, manifest_name(stem))
    adopted = None if beside is None else manifest_for_gzipped(parent, beside[1], stem, DigestCache())
    return None if beside is None or adopted is None else (beside[0], adopted)


def parse_config(judge: ConfigParser, content: Blob, limit: int) -> tuple[Blob, ConfigSummary]:
    """The bytes to write and their summary, for content that is a config or an envelope of one.

    Raises ``BackupInvalid`` saying where, ``BackupTooLarge`` when an unwrapped config passes the limit,
    ``WorkerFailed``.
    """
    try:
        return judge.parse_backup(content, limit)
    except InvalidConfig as problem:
        raise ApiError(ErrorCode.BackupInvalid, f"not a whole gateway config: {problem}") from None
    except OSError as error:
        raise backup_volume_error(error) from None
