"""Imports a backup from elsewhere: first its manifest, then its file in one or more requests.

`accept_manifest` stores the manifest as `ID.json` in `uploads/`. `UploadWriter` appends chunks to `ID.part` without
the operation locks, so a slow sender does not block other operations and a lost connection loses no data.
`finish_upload` checks the complete file and publishes it under the locks, by the same steps as a new backup.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from gateway_api.codec import compression, encryption
from gateway_api.codec.encode import decode, stored_limit
from gateway_api.contract import ErrorCode, UploadResult
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.operation_context import OperationContext
from gateway_api.repository import manifest as manifests
from gateway_api.repository import store
from gateway_api.repository.data_files import check_data_file
from gateway_api.repository.manifest import InvalidManifest, Manifest, to_backup_record
from gateway_api.repository.manifest_files import read_manifest_with_json
from gateway_api.repository.reader import parse_config
from gateway_api.settings import AdminSettings
from gateway_api.storage import atomic_write
from gateway_api.storage.atomic_write import close, list_names, unlink_if_exists
from gateway_api.storage.content import NO_LIMIT, Blob, read_blob, write_pieces
from gateway_api.storage.free_space import OVERHEAD_BYTES, missing_reserve_bytes, read_free_space
from gateway_api.storage.layout import UPLOADS_FOLDER, upload_data_name, upload_manifest_name
from gateway_api.storage.paths import lstat_if_exists
from gateway_api.storage.state_dir import StateDir, read_record

STALE_SECONDS: Final = 86400.0
"""Age in seconds after which an unfinished upload is removed. It can be unencrypted, so it must not stay."""


def accept_manifest(context: OperationContext, backup_id: str, data: bytes) -> UploadResult:
    """Begins or continues an upload: stores the manifest and returns the number of bytes received so far.

    Returns the backup itself if it exists already.

    Raises ``InvalidRequest`` for an invalid manifest or that of another backup, ``RequestIdReused`` for another
    manifest than before, ``PathNotAllowed``, ``EncryptionRequired``, ``SignatureInvalid``, ``BackupTooLarge``,
    ``Deleted``.
    """
    if (existing := _existing_result(context, backup_id)) is not None:
        return existing
    manifest = _check_manifest(context, backup_id, data)
    try:
        with context.volume.open_folder(UPLOADS_FOLDER) as uploads:
            _remove_stale(uploads)
            stored = read_manifest_with_json(uploads, upload_manifest_name(backup_id))
            if stored is None:
                # A crash right after this leaves a manifest without a file; sending it again continues the upload.
                atomic_write.write_file(uploads, upload_manifest_name(backup_id), data)
            elif stored.received != manifests.parse_json(data):
                raise ApiError(ErrorCode.RequestIdReused, "another manifest of this id is being uploaded")
            part = lstat_if_exists(uploads, upload_data_name(backup_id))
            return _partial_result(manifest, 0 if part is None else part.st_size)
    except OSError as error:
        raise backup_volume_error(error) from None


def _check_manifest(context: OperationContext, backup_id: str, data: bytes) -> Manifest:
    try:
        received = manifests.parse_json(data)
        manifest = manifests.validate(received)
    except InvalidManifest as problem:
        raise ApiError(ErrorCode.InvalidRequest, f"body: {problem}") from None
    if manifest.id != backup_id:
        raise ApiError(ErrorCode.InvalidRequest, "body: the manifest of another backup")
    _require_encrypted_name(manifest, required=context.crypto.rules.encryption_required)
    if context.crypto.check_signatures(context.config_state, received).state == "invalid":
        raise ApiError(ErrorCode.SignatureInvalid)
    if not 0 <= manifest.stored_bytes <= stored_limit(context.settings.max_config_bytes):
        raise ApiError(ErrorCode.BackupTooLarge)
    return manifest


def _require_encrypted_name(manifest: Manifest, *, required: bool) -> None:
    """Raises ``EncryptionRequired`` from the name in the manifest, before any byte of the file is stored."""
    stored_format = compression.format_for_name(manifests.target_parts(manifest)[-1])
    if required and not stored_format.encrypted:
        raise ApiError(ErrorCode.EncryptionRequired)


def _partial_result(manifest: Manifest, received: int) -> UploadResult:
    return UploadResult(
        backup_id=manifest.id, state="partial", received_bytes=received, expected_bytes=manifest.stored_bytes
    )


def _existing_result(context: OperationContext, backup_id: str) -> UploadResult | None:
    """The result for a backup that exists, else None. Raises ``Deleted`` if it existed and was deleted."""
    volume = context.volume
    located = context.index.locate(volume.base_fd, backup_id)
    try:
        if located is not None and check_data_file(volume.base_fd, located):
            return _stored_result(located, replayed=True)
        store.require_not_pending(volume, backup_id)
        if store.read_tombstone(volume, backup_id) is not None:
            raise ApiError(ErrorCode.Deleted)
    except OSError as error:
        raise backup_volume_error(error) from None
    return None


def _stored_result(located: manifests.LocatedBackup, *, replayed: bool) -> UploadResult:
    size = located.manifest.stored_bytes
    return UploadResult(
        backup_id=located.manifest.id,
        state="stored",
        received_bytes=size,
        expected_bytes=size,
        record=to_backup_record(located),
        replayed=replayed,
    )


class UploadWriter:
    """Writes the chunks of one request to the part file. Methods block, so they run in a thread.

    A file lock on the part file excludes other requests for the same backup.
    """

    def __init__(self, settings: AdminSettings, backup_id: str, start: int | None) -> None:
        """``start`` is the offset of the first chunk in bytes; None discards all earlier chunks.

        Raises ``BackupNotFound`` when the manifest was not sent before, ``UploadOutOfOrder``, ``InProgress``,
        ``VolumeFull``.
        """
        try:
            with StateDir(settings.backup_dir, create=False) as state, state.open_folder(UPLOADS_FOLDER) as uploads:
                parsed = read_manifest_with_json(uploads, upload_manifest_name(backup_id))
                if parsed is None:
                    raise ApiError(ErrorCode.BackupNotFound, "send the manifest of this backup first")
                _require_encrypted_name(parsed.manifest, required=settings.encryption == "require")
                self.expected = parsed.manifest.stored_bytes
                self._encrypted = settings.encryption == "require"
                self._fd = _open_part(uploads, upload_data_name(backup_id))
                try:
                    self._prepare(state, start)
                except BaseException:
                    close(self._fd)
                    raise
        except FileNotFoundError:
            raise ApiError(ErrorCode.BackupNotFound, "send the manifest of this backup first") from None
        except OSError as error:
            raise backup_volume_error(error) from None

    def _prepare(self, state: StateDir, start: int | None) -> None:
        size = os.fstat(self._fd).st_size
        self.received = start or 0
        if self.received > size:
            raise ApiError(ErrorCode.UploadOutOfOrder, f"{size} bytes have been received")
        free = read_free_space(state.base_fd).free_bytes
        # Room for two copies: the part file, and the temporary file that becomes the backup.
        needed = 2 * self.expected - size + OVERHEAD_BYTES + missing_reserve_bytes(state.fd)
        if needed > free:
            raise ApiError(ErrorCode.VolumeFull, "the backup volume has no room for this backup; nothing was changed")
        # Later bytes come from a request that was cut off; the sender sends them again.
        os.ftruncate(self._fd, self.received)

    def add(self, chunk: bytes) -> None:
        """Writes the next chunk.

        Raises ``DigestMismatch`` if the file exceeds the size in the manifest, ``VolumeFull``, and
        ``EncryptionRequired`` if encryption is required and the file does not begin with an age header.
        """
        if self.received == 0 and self._encrypted and not encryption.is_age_prefix(chunk):
            raise ApiError(ErrorCode.EncryptionRequired, "the file is not encrypted, although its name says so")
        if self.received + len(chunk) > self.expected:
            raise ApiError(ErrorCode.DigestMismatch, "the file is larger than its manifest says")
        try:
            self.received = write_pieces(self._fd, [chunk], self.received)
        except OSError as error:
            raise backup_volume_error(error) from None

    def close(self) -> None:
        """Closes the part file, which releases its lock."""
        close(self._fd)


def finish_upload(context: OperationContext, backup_id: str) -> UploadResult:
    """Publishes the backup if its file is complete, else returns how much is missing.

    Raises ``DigestMismatch`` for a file that differs from its manifest, and ``BackupExists`` when another file has its
    path. Raises ``BackupCorrupt`` or ``BackupInvalid`` for a file that could not be restored.
    """
    if (existing := _existing_result(context, backup_id)) is not None:
        # An earlier request was killed between publishing the backup and removing the upload.
        _discard(context.volume, backup_id)
        return existing
    volume = context.volume
    try:
        with volume.open_folder(UPLOADS_FOLDER) as uploads:
            raw = read_record(uploads, upload_manifest_name(backup_id), manifests.MAX_MANIFEST_BYTES)
            if raw is None:
                raise ApiError(ErrorCode.BackupNotFound, "send the manifest of this backup first")
            manifest = _check_manifest(context, backup_id, raw)
            with _locked_part(uploads, upload_data_name(backup_id)) as stored:
                if stored.size < manifest.stored_bytes:
                    return _partial_result(manifest, stored.size)
                try:
                    _check_file(context, manifest, stored)
                except ApiError:
                    # No further chunk can fix a complete file. It can be unencrypted, so it must not stay.
                    # A crash right before this keeps it until the file is sent again or the upload is stale.
                    unlink_if_exists(uploads, upload_data_name(backup_id))
                    raise
                # A crash right after this leaves backup and upload; the repeated request removes the upload.
                located = store.import_backup(volume, manifest, stored, raw)
    except OSError as error:
        raise backup_volume_error(error) from None
    # Only after the backup is durable: until then the part file is the only copy.
    _discard(volume, backup_id)
    return _stored_result(located, replayed=False)


def _check_file(context: OperationContext, manifest: Manifest, stored: Blob) -> None:
    if stored.sha256 != manifest.stored_sha256:
        raise ApiError(ErrorCode.DigestMismatch, "the file differs from its manifest: send it again")
    stored_format = compression.format_for_name(manifests.target_parts(manifest)[-1])
    limit = context.settings.max_config_bytes
    try:
        if stored_format.encrypted:
            encryption.check_header(stored)
            return  # only the holder of the age identity can check the rest
        content = decode(stored, stored_format, None, limit)
    except compression.DecodeError as problem:
        raise ApiError(ErrorCode.BackupInvalid, str(problem)) from None
    if content.sha256 != manifest.content_sha256:
        raise ApiError(ErrorCode.BackupCorrupt)
    parse_config(context.config.parser, content, limit)


def _open_part(uploads: int, name: str) -> int:
    """Opens the part file and locks it until the descriptor is closed. Raises ``InProgress``, ``OSError``."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=uploads)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        close(fd)
        raise ApiError(ErrorCode.InProgress) from None
    return fd


@contextmanager
def _locked_part(uploads: int, name: str) -> Iterator[Blob]:
    """The bytes received so far; no request can add to them meanwhile. Raises ``InProgress``."""
    fd = _open_part(uploads, name)
    try:
        yield read_blob(fd, NO_LIMIT)
    finally:
        close(fd)


def _discard(volume: StateDir, backup_id: str) -> None:
    """Removes the upload. Files that cannot be removed now are removed as stale after a day."""
    try:
        with volume.open_folder(UPLOADS_FOLDER) as uploads:
            # The part file first: a crash in between leaves a small manifest and not a file without a manifest.
            unlink_if_exists(uploads, upload_data_name(backup_id))
            unlink_if_exists(uploads, upload_manifest_name(backup_id))
    except OSError:
        return


def remove_stale_uploads(volume: StateDir) -> None:
    """Removes uploads without a new chunk for a day. The caller holds the volume lock. Raises ``OSError``."""
    if lstat_if_exists(volume.fd, UPLOADS_FOLDER) is not None:
        with volume.open_folder(UPLOADS_FOLDER) as uploads:
            _remove_stale(uploads)


def _remove_stale(uploads: int) -> None:
    last_modified: dict[str, float] = {}
    for name in list_names(uploads):
        if (info := lstat_if_exists(uploads, name)) is not None and not stat.S_ISDIR(info.st_mode):
            stem = name.rpartition(".")[0]
            last_modified[stem] = max(last_modified.get(stem, 0.0), info.st_mtime)
    cutoff = time.time() - STALE_SECONDS
    for name in list_names(uploads):
        # Manifest and part file count as one upload, as old as its last chunk.
        if last_modified.get(name.rpartition(".")[0], cutoff) < cutoff:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=uploads)
