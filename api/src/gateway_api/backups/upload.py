"""Bringing a backup from elsewhere: its manifest first, then its file, in as many pieces as it takes.

The pieces are collected outside the lock, in the state folder, so that a slow sender holds nobody up and a lost
connection loses nothing. What is whole becomes a backup in one mutation, by the same steps as one of our own.
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
from gateway_api.repository.index import receive_manifest
from gateway_api.repository.manifest import InvalidManifest, Manifest, record_of
from gateway_api.repository.reader import parse_config
from gateway_api.settings import AdminSettings
from gateway_api.storage import atomic_write
from gateway_api.storage.atomic_write import close, list_names, read_all, unlink_if_exists
from gateway_api.storage.content import Blob, read_blob
from gateway_api.storage.free_space import OVERHEAD_BYTES, free_bytes, missing_reserve_bytes
from gateway_api.storage.layout import UPLOADS_FOLDER, upload_data_name, upload_manifest_name
from gateway_api.storage.paths import existing_kind
from gateway_api.storage.state_dir import StateDir

STALE_SECONDS: Final = 86400.0
"""How long lies what nobody goes on sending: it may be plain, where nothing demands encryption."""


def take_manifest(context: OperationContext, backup_id: str, data: bytes) -> UploadResult:
    """Remembers what is going to be uploaded, and tells how much of it has arrived.

    Raises ``InvalidRequest`` for what is no manifest of ``backup_id``, ``PathNotAllowed``, ``EncryptionRequired``,
    ``SignatureInvalid``, ``BackupTooLarge``, ``RequestIdReused`` for another manifest than before, ``Deleted``.
    """
    if (done := _existing_result(context, backup_id)) is not None:
        return done
    manifest = _check_manifest(context, backup_id, data)
    try:
        with context.volume.folder(UPLOADS_FOLDER) as uploads:
            _drop_stale(uploads)
            known = receive_manifest(uploads, upload_manifest_name(backup_id))
            if known is None:
                atomic_write.write_file(uploads, upload_manifest_name(backup_id), data)
            elif known[0] != manifests.receive(data):
                raise ApiError(ErrorCode.RequestIdReused, "another manifest of this id is being uploaded")
            return _partial(manifest, _size(uploads, upload_data_name(backup_id)))
    except OSError as error:
        raise backup_volume_error(error) from None


def _check_manifest(context: OperationContext, backup_id: str, data: bytes) -> Manifest:
    try:
        received = manifests.receive(data)
        manifest = manifests.model(received)
    except InvalidManifest as problem:
        raise ApiError(ErrorCode.InvalidRequest, f"body: {problem}") from None
    if manifest.id != backup_id:
        raise ApiError(ErrorCode.InvalidRequest, "body: the manifest of another backup")
    _refuse_plain(manifest, required=context.protection.rules.encryption_required)
    if context.protection.check(context.config_state, received).verdict == "invalid":
        raise ApiError(ErrorCode.SignatureInvalid)
    if not 0 <= manifest.stored_bytes <= stored_limit(context.settings.max_config_bytes):
        raise ApiError(ErrorCode.BackupTooLarge)
    return manifest


def _refuse_plain(manifest: Manifest, *, required: bool) -> None:
    """Before a byte of the file is taken."""
    form = compression.format_for_name(manifests.target_parts(manifest)[-1])
    if required and not form.encrypted:
        raise ApiError(ErrorCode.EncryptionRequired)


def _partial(manifest: Manifest, received: int) -> UploadResult:
    return UploadResult(
        backup_id=manifest.id, state="partial", received_bytes=received, expected_bytes=manifest.stored_bytes
    )


def _existing_result(context: OperationContext, backup_id: str) -> UploadResult | None:
    """The backup, if it is there. Raises ``Deleted`` if it was."""
    volume = context.volume
    located = context.inventory.locate(volume.base_fd, backup_id)
    try:
        if located is not None and store.has_data(volume, located):
            return _stored(located, replayed=True)
        store.refuse_unfinished(volume, backup_id)
        if store.tombstone_of(volume, backup_id) is not None:
            raise ApiError(ErrorCode.Deleted)
    except OSError as error:
        raise backup_volume_error(error) from None
    return None


def _stored(located: manifests.LocatedBackup, *, replayed: bool) -> UploadResult:
    size = located.manifest.stored_bytes
    return UploadResult(
        backup_id=located.manifest.id,
        state="stored",
        received_bytes=size,
        expected_bytes=size,
        record=record_of(located),
        replayed=replayed,
    )


class Collector:
    """Takes the pieces of one upload. Blocks; belongs to one request, and excludes every other of the same id."""

    def __init__(self, settings: AdminSettings, backup_id: str, start: int | None) -> None:
        """``start`` is where the first piece belongs; None begins anew.

        Raises ``BackupNotFound`` when no manifest came before, ``UploadOutOfOrder``, ``InProgress``, ``VolumeFull``.
        """
        try:
            with StateDir(settings.backup_dir, create=False) as state, state.folder(UPLOADS_FOLDER) as uploads:
                found = receive_manifest(uploads, upload_manifest_name(backup_id))
                if found is None:
                    raise ApiError(ErrorCode.BackupNotFound, "send the manifest of this backup first")
                _refuse_plain(found[1], required=settings.encryption == "require")
                self.expected = found[1].stored_bytes
                self._encrypted = settings.encryption == "require"
                self._fd = self._open(uploads, upload_data_name(backup_id))
                try:
                    self._begin(state, start)
                except BaseException:
                    close(self._fd)
                    raise
        except FileNotFoundError:
            raise ApiError(ErrorCode.BackupNotFound, "send the manifest of this backup first") from None
        except OSError as error:
            raise backup_volume_error(error) from None

    @staticmethod
    def _open(uploads: int, name: str) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=uploads)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            close(fd)
            raise ApiError(ErrorCode.InProgress) from None
        return fd

    def _begin(self, state: StateDir, start: int | None) -> None:
        have = os.fstat(self._fd).st_size
        self.received = start or 0
        if self.received > have:
            raise ApiError(ErrorCode.UploadOutOfOrder, f"{have} bytes have arrived")
        free, _ = free_bytes(state.base_fd)
        # Twice: the pieces, and the temporary file that becomes the backup.
        needed = 2 * self.expected - have + OVERHEAD_BYTES + missing_reserve_bytes(state.fd)
        if needed > free:
            raise ApiError(ErrorCode.VolumeFull, "the backup volume has no room for this backup; nothing was changed")
        os.ftruncate(self._fd, self.received)

    def add(self, piece: bytes) -> None:
        """Writes the next piece. Raises ``DigestMismatch`` for more than the manifest says, ``VolumeFull``;
        ``EncryptionRequired`` where that is so and the file does not begin as an encrypted one does."""
        if self.received == 0 and self._encrypted and not encryption.is_age_prefix(piece):
            raise ApiError(ErrorCode.EncryptionRequired, "the file is not encrypted, whatever its name says")
        if self.received + len(piece) > self.expected:
            raise ApiError(ErrorCode.DigestMismatch, "the file is larger than its manifest says")
        try:
            view = memoryview(piece)
            while view:
                written = os.pwrite(self._fd, view, self.received)
                self.received += written
                view = view[written:]
        except OSError as error:
            raise backup_volume_error(error) from None

    def close(self) -> None:
        """Lets others go on."""
        close(self._fd)


def finish(context: OperationContext, backup_id: str) -> UploadResult:
    """Makes a backup of what has arrived, if that is all. Raises ``DigestMismatch`` for other bytes than the manifest
    describes, ``BackupCorrupt`` or ``BackupInvalid`` for a file that could not be restored, ``BackupExists``."""
    if (done := _existing_result(context, backup_id)) is not None:
        _discard(context.volume, backup_id)
        return done
    volume = context.volume
    try:
        with volume.folder(UPLOADS_FOLDER) as uploads:
            raw = _read(uploads, upload_manifest_name(backup_id), manifests.MAX_MANIFEST_BYTES)
            if raw is None:
                raise ApiError(ErrorCode.BackupNotFound, "send the manifest of this backup first")
            manifest = _check_manifest(context, backup_id, raw)
            with _whole(uploads, upload_data_name(backup_id)) as stored:
                if stored.size < manifest.stored_bytes:
                    return _partial(manifest, stored.size)
                try:
                    _check_file(context, manifest, stored)
                except ApiError:
                    # Nothing that is sent behind it could mend it, and it may be plain.
                    unlink_if_exists(uploads, upload_data_name(backup_id))
                    raise
                located = store.import_backup(volume, manifest, stored, raw)
    except OSError as error:
        raise backup_volume_error(error) from None
    _discard(volume, backup_id)
    return _stored(located, replayed=False)


def _check_file(context: OperationContext, manifest: Manifest, stored: Blob) -> None:
    if stored.sha256 != manifest.stored_sha256:
        raise ApiError(ErrorCode.DigestMismatch, "the file is not the one that its manifest describes: send it anew")
    form = compression.format_for_name(manifests.target_parts(manifest)[-1])
    limit = context.settings.max_config_bytes
    try:
        if form.encrypted:
            encryption.check_header(stored)
            return  # nothing here can read the rest, which is the point
        content = decode(stored, form, None, limit)
    except compression.DecodeError as problem:
        raise ApiError(ErrorCode.BackupInvalid, str(problem)) from None
    if content.sha256 != manifest.content_sha256:
        raise ApiError(ErrorCode.BackupCorrupt)
    parse_config(context.config.judge, content, limit)


def _read(folder: int, name: str, limit: int) -> bytes | None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        return read_all(fd, limit)
    finally:
        close(fd)


@contextmanager
def _whole(uploads: int, name: str) -> Iterator[Blob]:
    """All that has arrived, while nothing more can."""
    fd = Collector._open(uploads, name)
    try:
        yield read_blob(fd, 1 << 40)
    finally:
        close(fd)


def _size(folder: int, name: str) -> int:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


def _discard(volume: StateDir, backup_id: str) -> None:
    try:
        with volume.folder(UPLOADS_FOLDER) as uploads:
            unlink_if_exists(uploads, upload_data_name(backup_id))
            unlink_if_exists(uploads, upload_manifest_name(backup_id))
    except OSError:
        return


def drop_stale(volume: StateDir) -> None:
    """Gives up what nobody has gone on sending for a day. For the holder of the lock. Raises ``OSError``."""
    if existing_kind(volume.fd, UPLOADS_FOLDER) is not None:
        with volume.folder(UPLOADS_FOLDER) as uploads:
            _drop_stale(uploads)


def _drop_stale(uploads: int) -> None:
    newest: dict[str, float] = {}
    for name in list_names(uploads):
        if (info := existing_kind(uploads, name)) is not None and not stat.S_ISDIR(info.st_mode):
            stem = name.rpartition(".")[0]
            newest[stem] = max(newest.get(stem, 0.0), info.st_mtime)
    before = time.time() - STALE_SECONDS
    for name in list_names(uploads):
        # A manifest is as young as the last piece of its file.
        if newest.get(name.rpartition(".")[0], before) < before:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=uploads)
