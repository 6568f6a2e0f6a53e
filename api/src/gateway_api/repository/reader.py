"""Reads a backup file and decodes it to the config that it contains.

The steps are: read the stored bytes and the manifest, check the signatures, decrypt and decompress, compare the
digests, and parse the config. No step trusts a result of an earlier operation.
"""

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
from gateway_api.repository.gzipped import DigestCache, manifest_for_gzipped
from gateway_api.repository.manifest import manifest_name
from gateway_api.repository.manifest_files import ParsedManifest, read_manifest_with_json
from gateway_api.storage.atomic_write import close
from gateway_api.storage.content import Blob, read_blob
from gateway_api.storage.layout import GZIP_SUFFIX
from gateway_api.storage.paths import file_stamp, lstat_if_exists, open_backup_file, open_parent


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A valid config that may be restored.

    ``content`` are the bytes for the config file. ``backup_id`` is None for a file without a manifest. The
    ``recorded_issues``, ``gateway_id`` and ``gateway_version`` are those in the manifest. ``signature`` and
    ``stored_sha256``, the digest of the file, are None if no file was read, as for a reset.
    """

    path: str
    backup_id: str | None
    content: Blob
    summary: ConfigSummary
    recorded_issues: tuple[Issue, ...]
    signature: SignatureState | None = None
    stored_sha256: str | None = None
    gateway_id: str | None = None
    gateway_version: str | None = None

    @property
    def sections_digest(self) -> str:
        """Digest of the four data sections."""
        # Every StoredFile is parsed with `sections=True`.
        assert self.summary.sections_digest is not None
        return self.summary.sections_digest


PolicyCheck = Callable[[dict[str, Any] | None, bool], SignatureState]
"""Checks the signatures of a manifest and raises if the policy does not permit a restore. The arguments are the JSON
object of the manifest (None if the file has no manifest) and whether the file is encrypted."""


def open_stored_file(
    root_fd: int,
    parts: tuple[str, ...],
    *,
    limit: int,
    expected_sha256: str | None,
    identity: str | None,
    check_policy: PolicyCheck,
    parser: ConfigParser,
) -> StoredFile:
    """Reads, decodes and validates the file at ``parts`` below the open backup directory. Changes nothing.

    ``limit`` is the size limit of a config in bytes. ``expected_sha256`` may be the digest of the config or of the
    file. ``identity`` is the age private key for an encrypted file. ``check_policy`` checks the signatures.
    Raises ``BackupNotFound``, ``BackupUnusable``, ``PathNotAllowed``, ``BackupTooLarge``, ``BackupCorrupt``,
    ``BackupInvalid``, ``DigestMismatch``, ``IdentityRequired``, ``WrongIdentity``, ``VolumeUnavailable``,
    ``WorkerFailed`` and the errors of ``check_policy``.
    """
    stored_format = compression.format_for_name(parts[-1])
    stored, parsed = _read_with_manifest(root_fd, parts, limit)
    received, manifest = parsed or (None, None)
    # Before decoding: the bytes of an untrusted file must not reach the decompressor.
    signature = check_policy(received, stored_format.encrypted)
    try:
        content = decode(stored, stored_format, identity, limit)
    except compression.DecodeError as error:
        code = ErrorCode.BackupInvalid if manifest is None else ErrorCode.BackupCorrupt
        raise ApiError(code, str(error)) from None
    except OSError as error:
        raise backup_volume_error(error) from None
    if manifest is not None and content.sha256 != manifest.content_sha256:
        raise ApiError(ErrorCode.BackupCorrupt)
    if expected_sha256 is not None and expected_sha256 not in (content.sha256, stored.sha256):
        raise ApiError(ErrorCode.DigestMismatch)
    content, summary = parse_config(parser, content, limit)
    return StoredFile(
        path="/".join(parts),
        backup_id=None if manifest is None else manifest.id,
        content=content,
        summary=summary,
        recorded_issues=() if manifest is None else tuple(manifest.issues),
        signature=signature,
        stored_sha256=stored.sha256,
        gateway_id=None if manifest is None else manifest.gateway_id,
        gateway_version=None if manifest is None else manifest.gateway_version,
    )


def _read_with_manifest(root_fd: int, parts: tuple[str, ...], limit: int) -> tuple[Blob, ParsedManifest | None]:
    """The stored bytes of the file, and its manifest or None. A file with a second hard link needs a manifest."""
    try:
        with open_parent(root_fd, parts) as parent:
            # With a manifest the bytes must have its digest, so a second hard link does no harm.
            stored = read_stored(parent, parts[-1], limit, links_allowed=True)
            parsed = _manifest_of(parent, parts[-1], stored) or _manifest_before_gzip(parent, parts[-1])
            if parsed is None:
                close(open_backup_file(parent, parts[-1]))
    except (FileNotFoundError, NotADirectoryError):
        raise ApiError(ErrorCode.BackupNotFound) from None
    except OSError as error:
        raise backup_volume_error(error) from None
    return stored, parsed


def read_stored(parent: int, name: str, limit: int, *, links_allowed: bool = False) -> Blob:
    """The stored bytes of a backup file for a config of at most ``limit`` bytes.

    ``links_allowed`` is for a caller that compares the digest of the bytes: the file may have several hard links.

    Raises ``BackupTooLarge``, ``BackupUnusable``, ``Busy`` when the file changes during the read, ``OSError``.
    """
    limit = stored_limit(limit)
    fd = open_backup_file(parent, name, links_allowed=links_allowed)
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
    """The manifest of ``name``, or None if there is none. Raises ``BackupCorrupt`` if it describes other bytes."""
    beside = manifest_name(name)
    if lstat_if_exists(parent, beside) is None:
        return None
    parsed = read_manifest_with_json(parent, beside)
    # A manifest that exists but is invalid is damage. Without this check the file would pass as one without a manifest.
    if parsed is None or parsed.manifest.stored_sha256 != stored.sha256:
        raise ApiError(ErrorCode.BackupCorrupt)
    return parsed


def _manifest_before_gzip(parent: int, name: str) -> ParsedManifest | None:
    """The manifest of a backup that a user compressed to ``name``, or None. Its JSON object is the original one."""
    stem = name.removesuffix(GZIP_SUFFIX)
    beside = None if stem == name else read_manifest_with_json(parent, manifest_name(stem))
    gzipped = None if beside is None else manifest_for_gzipped(parent, beside.manifest, stem, DigestCache())
    return None if beside is None or gzipped is None else ParsedManifest(beside.received, gzipped)


def parse_config(parser: ConfigParser, content: Blob, limit: int) -> tuple[Blob, ConfigSummary]:
    """The config bytes and their summary. ``content`` is a config, or a backup envelope with one.

    Raises ``BackupInvalid`` with the location of the problem, ``BackupTooLarge`` when an unwrapped config has more than
    ``limit`` bytes, ``WorkerFailed``.
    """
    try:
        return parser.parse_backup(content, limit)
    except InvalidConfig as error:
        raise ApiError(ErrorCode.BackupInvalid, f"not a valid gateway config: {error}") from None
    except OSError as error:
        raise backup_volume_error(error) from None
