"""Verifies an existing backup: it still matches its manifest and signature, and the given age identity decrypts it.

The result is stored beside the file, so that listings can show it.
"""

from __future__ import annotations

from gateway_api.codec import compression
from gateway_api.codec.encode import decode
from gateway_api.contract import (
    BackupLevel,
    Counts,
    ErrorCode,
    Problem,
    Proof,
    Verification,
    VerificationResult,
    VerifyRequest,
)
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.operation_context import OperationContext
from gateway_api.repository.manifest import Manifest, manifest_name
from gateway_api.repository.manifest_files import ParsedManifest, read_manifest_with_json
from gateway_api.repository.reader import parse_config, read_stored
from gateway_api.repository.signature_policy import SignatureOverrides, require_trusted
from gateway_api.repository.signing import SignatureCheck
from gateway_api.storage.content import Blob
from gateway_api.storage.layout import GZIP_SUFFIX
from gateway_api.storage.paths import open_parent


def verify_backup(context: OperationContext, backup_id: str, request: VerifyRequest) -> VerificationResult:
    """Reads the backup and reports its level. Defects of the file are listed in ``problems`` and are not errors.

    ``recorded`` is false when the result could not be stored. ``level`` and ``proof`` are None for a defective file.

    Raises ``BackupNotFound``, ``BackupTooLarge``, ``WrongIdentity``, ``VolumeUnavailable``, ``Busy`` when the file is
    being written.
    """
    volume, limit = context.volume, context.settings.max_config_bytes
    located = context.index.locate(volume.base_fd, backup_id)
    if located is None:
        raise ApiError(ErrorCode.BackupNotFound)
    name = located.parts[-1]
    try:
        with open_parent(volume.base_fd, located.parts) as parent:
            stored = read_stored(parent, name, limit, links_allowed=True)
            parsed = _read_own_manifest(parent, name, backup_id)
            stored_format = compression.format_for_name(name)
            signature_check = context.crypto.check_signatures(
                context.config_state, {} if parsed is None else parsed.received
            )
            problems = _signature_problems(context, signature_check, encrypted=stored_format.encrypted)
            identity = None if request.identity is None else request.identity.get_secret_value()
            signed_proof = located.manifest.proof if signature_check.state == "valid" else None
            level, proof, counts = _verify_content(
                context, located.manifest, signed_proof, stored_format, stored, identity, problems
            )
            # With an invalid signature the manifest itself is not trustworthy, so a match with it proves nothing.
            if signature_check.state == "invalid":
                level, proof = None, None
            verification = Verification(
                backup_id=backup_id,
                stored_sha256=stored.sha256,
                checked=context.clock(),
                level=level,
                proof=proof,
                signature=signature_check.state,
                signed_by=list(signature_check.keys),
                counts=counts,
                problems=problems,
            )
            recorded = context.index.verification_records.write(volume, parent, name, verification)
    except FileNotFoundError:
        raise ApiError(ErrorCode.BackupNotFound) from None
    except OSError as error:
        raise backup_volume_error(error) from None
    return VerificationResult(**verification.model_dump(), recorded=recorded)


def _read_own_manifest(parent: int, name: str, backup_id: str) -> ParsedManifest | None:
    """The manifest of the backup, also if ``name`` was gzipped by hand; None if it is unreadable."""
    for owner in dict.fromkeys((name, name.removesuffix(GZIP_SUFFIX))):
        parsed = read_manifest_with_json(parent, manifest_name(owner))
        if parsed is not None and parsed.manifest.id == backup_id:
            return parsed
    return None


def _signature_problems(
    context: OperationContext, signature_check: SignatureCheck, *, encrypted: bool
) -> list[Problem]:
    try:
        require_trusted(signature_check, context.crypto.rules, SignatureOverrides(), encrypted=encrypted)
    except ApiError as error:
        return [Problem(code=error.code.value, message=error.detail)]
    return []


def _verify_content(
    context: OperationContext,
    manifest: Manifest,
    signed_proof: str | None,
    stored_format: compression.StoredFormat,
    stored: Blob,
    identity: str | None,
    problems: list[Problem],
) -> tuple[BackupLevel | None, Proof | None, Counts | None]:
    """The level that the bytes reach, the proof for it, and the counts of the config. Adds defects to ``problems``.

    ``signed_proof`` is the proof in a manifest with a valid signature. It is the only evidence for an encrypted file
    when no identity is given.
    """

    def fail(code: ErrorCode, message: str) -> tuple[None, None, None]:
        problems.append(Problem(code=code.value, message=message))
        return None, None, None

    if stored.sha256 != manifest.stored_sha256:
        return fail(ErrorCode.BackupCorrupt, "the file differs from its manifest")
    if stored_format.encrypted and identity is None:
        proven = signed_proof in ("payload", "recipient")
        return (BackupLevel.Verified, "payload", None) if proven else (BackupLevel.Stored, None, None)
    limit = context.settings.max_config_bytes
    try:
        content = decode(stored, stored_format, identity, limit)
        if content.sha256 != manifest.content_sha256:
            return fail(ErrorCode.BackupCorrupt, "the content differs from the manifest")
        _, summary = parse_config(context.config.parser, content, limit)
    except compression.DecodeError as problem:
        return fail(ErrorCode.BackupCorrupt, str(problem))
    except ApiError as error:
        if error.code is not ErrorCode.BackupInvalid:
            raise
        return fail(ErrorCode.BackupInvalid, error.detail)
    issues = {(issue.code, issue.where) for issue in summary.issues}
    if summary.counts != manifest.counts or issues != {(issue.code, issue.where) for issue in manifest.issues}:
        return fail(ErrorCode.BackupInvalid, "the counts or issues differ from the manifest")
    return BackupLevel.Verified, "recipient" if stored_format.encrypted else "payload", summary.counts
