"""Reads the file that a restore request names, and rejects every file that must not become the config.

Files of this project return their exact bytes. The envelope of the public gateway's own backups is unwrapped. A
foreign file is validated by its content alone. A manifest beside the file binds the file to its digests and signature.
"""

from __future__ import annotations

from gateway_api.contract import ErrorCode, Issue, RestoreRequest
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.gateway_config.live import ConfigRead
from gateway_api.operation_context import OperationContext
from gateway_api.repository.manifest import Manifest
from gateway_api.repository.reader import StoredFile, open_stored_file, read_stored
from gateway_api.repository.signature_policy import SignatureOverrides
from gateway_api.restores.journal import Journal
from gateway_api.storage.paths import open_parent, parse_either


def new_issues(source: StoredFile, live: ConfigRead) -> tuple[Issue, ...]:
    """Issues of the source that are neither recorded in its manifest nor present in the live config."""
    existing = {(issue.code, issue.where) for issue in source.recorded_issues}
    if live.summary is not None:
        existing |= {(issue.code, issue.where) for issue in live.summary.issues}
    return tuple(issue for issue in source.summary.issues if (issue.code, issue.where) not in existing)


def refuse_new_issues(source: StoredFile, live: ConfigRead, *, allow_issues: bool) -> None:
    """Raises ``BackupHasIssues`` for new issues, ``ConfigUnstable`` when the live config cannot be compared."""
    if live.kind == "unstable":
        raise live.error()
    issues = new_issues(source, live)
    if issues and not allow_issues:
        raise ApiError(ErrorCode.BackupHasIssues, f"{len(issues)} new issues, the first at {issues[0].where}")


def restore_source(context: OperationContext, request: RestoreRequest) -> StoredFile:
    """Reads, decrypts and validates the requested file. Raises every error of :func:`open_stored_file`."""
    parts, _ = _locate(context, request)
    overrides = SignatureOverrides(request.accept_unsigned, request.trust_key_id)
    return open_stored_file(
        # Not the volume's state: a restore also reads a copy without a state folder or without a lock.
        context.backup_root,
        parts,
        limit=context.settings.max_config_bytes,
        expected_sha256=request.expected_sha256,
        identity=None if request.identity is None else request.identity.get_secret_value(),
        check_policy=lambda received, encrypted: context.check_policy(received, overrides, encrypted=encrypted),
        parser=context.config.parser,
    )


def require_same_source(context: OperationContext, request: RestoreRequest, journal: Journal) -> None:
    """Checks before a replay that the request still names the file that the restore read.

    Raises ``DigestMismatch`` for another file, and the errors of a file that cannot be found or read.
    """
    parts, manifest = _locate(context, request)
    try:
        with open_parent(context.backup_root, parts) as parent:
            stored = read_stored(parent, parts[-1], context.settings.max_config_bytes, links_allowed=True)
    except (FileNotFoundError, NotADirectoryError):
        raise ApiError(ErrorCode.BackupNotFound) from None
    except OSError as error:
        raise backup_volume_error(error) from None
    if stored.sha256 == journal.source_sha256:
        return
    # A backup that a user compressed since has another digest. Its manifest was compared with its unpacked content.
    compressed = manifest is not None and manifest.stored_sha256 == stored.sha256
    if not compressed or manifest is None or manifest.content_sha256 != journal.result.restored_sha256:
        raise ApiError(ErrorCode.DigestMismatch, f"the file that restore {journal.request_id} read is another one now")


def _locate(context: OperationContext, request: RestoreRequest) -> tuple[tuple[str, ...], Manifest | None]:
    """The path of the file that the request names, and the manifest if it names a backup by id."""
    if request.input_file is not None:
        return parse_either(request.input_file, context.settings.backup_dir), None
    located = context.index.locate(context.backup_root, request.backup_id or "")
    if located is None:
        raise ApiError(ErrorCode.BackupNotFound)
    return located.parts, located.manifest
