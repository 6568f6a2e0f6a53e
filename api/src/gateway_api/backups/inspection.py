"""Inspects any file of the backup directory: its content, and whether it could be restored.

This is the only check for files without a manifest. Takes no lock, changes no file and stores no verification record.
"""

from __future__ import annotations

from gateway_api.backups.listing import entry_at
from gateway_api.codec import compression
from gateway_api.codec.encode import decode
from gateway_api.contract import BackupEntry, BackupLevel, ErrorCode, FileInspection, InspectRequest, Problem
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.gateway_config.parser import ConfigParser
from gateway_api.repository.index import RepositoryIndex, open_volume
from gateway_api.repository.reader import parse_config, read_stored
from gateway_api.settings import AdminSettings
from gateway_api.storage.content import Blob
from gateway_api.storage.paths import open_parent, parse_relative, unusable_file_error
from gateway_api.storage.state_dir import read_gateway_id, read_volume_id


def inspect_file(
    settings: AdminSettings, index: RepositoryIndex, parser: ConfigParser, request: InspectRequest
) -> FileInspection:
    """Reads and validates the file. Defects of the file are listed in ``problems`` and are not errors.

    Raises ``BackupNotFound`` if nothing is at the path, ``BackupUnusable`` if something is there that cannot be read.
    Raises ``BackupTooLarge``, ``Busy`` when the file is being written, ``PathNotAllowed``, ``WrongIdentity``,
    ``VolumeUnavailable``, ``WorkerFailed``.
    """
    parts = parse_relative(request.path)
    with open_volume(settings.backup_dir, index) as root_fd:
        entry = entry_at(root_fd, index, parts)
        if entry is None:
            raise ApiError(ErrorCode.BackupNotFound)
        if entry.kind == "unusable":
            raise unusable_file_error(entry.problems[0].message)
        try:
            with open_parent(root_fd, parts) as parent:
                # A file with a manifest is refused below if it does not have the manifest's digest.
                described = entry.record is not None
                stored = read_stored(parent, parts[-1], settings.max_config_bytes, links_allowed=described)
        except FileNotFoundError:
            raise ApiError(ErrorCode.BackupNotFound) from None
    inspected = FileInspection(
        path=entry.path,
        kind=entry.kind,
        backup_id=entry.backup_id,
        gateway_id=read_gateway_id(settings.config_dir),
        volume_id=read_volume_id(settings.backup_dir),
        modified=entry.modified,
        stored_sha256=stored.sha256,
        stored_bytes=stored.size,
        verification=None if entry.record is None else entry.record.verification,
    )
    identity = None if request.identity is None else request.identity.get_secret_value()
    try:
        return _validate(parser, inspected, entry, stored, identity, settings.max_config_bytes)
    except OSError as error:
        raise backup_volume_error(error) from None


def _validate(
    parser: ConfigParser, inspected: FileInspection, entry: BackupEntry, stored: Blob, identity: str | None, limit: int
) -> FileInspection:
    stored_format = compression.format_for_name(entry.path.rpartition("/")[2])
    described_sha256 = entry.record.stored_sha256 if entry.record is not None else inspected.stored_sha256
    if entry.kind == "changed" or (entry.record is not None and described_sha256 != inspected.stored_sha256):
        return _with_problem(inspected, ErrorCode.BackupCorrupt, "the file differs from its manifest")
    # A failed verification of the same bytes is reported again: it may have used an identity that is absent here.
    last = inspected.verification
    if last is not None and last.level is None and last.stored_sha256 == inspected.stored_sha256:
        return inspected.model_copy(update={"problems": last.problems})
    if stored_format.encrypted and identity is None:
        recorded_level = None if entry.record is None else entry.record.level
        return inspected.model_copy(update={"level": recorded_level or BackupLevel.Stored})
    try:
        content = decode(stored, stored_format, identity, limit)
        _, summary = parse_config(parser, content, limit)
    except compression.DecodeError as problem:
        return _with_problem(inspected, ErrorCode.BackupInvalid, str(problem))
    except ApiError as error:
        if error.code is not ErrorCode.BackupInvalid:
            raise
        return _with_problem(inspected, ErrorCode.BackupInvalid, error.detail)
    return inspected.model_copy(
        update={
            "content_sha256": content.sha256,
            "content_bytes": content.size,
            "counts": summary.counts,
            "issues": list(summary.issues),
            "level": BackupLevel.Verified,
        }
    )


def _with_problem(inspected: FileInspection, code: ErrorCode, message: str) -> FileInspection:
    return inspected.model_copy(update={"problems": [Problem(code=code.value, message=message)]})
