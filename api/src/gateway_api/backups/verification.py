"""Proving a backup again, long after it was made: is it still what its manifest says, and does a real key open it?

What is found is noted beside the file, for people.
"""

from __future__ import annotations

from functools import partial

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
from gateway_api.repository.gzipped import SUFFIX
from gateway_api.repository.index import ParsedManifest, receive_manifest
from gateway_api.repository.manifest import Manifest, manifest_name
from gateway_api.repository.reader import parse_config, read_stored
from gateway_api.repository.signature_policy import SignatureOverrides, require_trusted
from gateway_api.repository.signing import SignatureCheck
from gateway_api.storage.atomic_write import unlink_if_exists
from gateway_api.storage.content import Blob
from gateway_api.storage.layout import RESERVE_FILE
from gateway_api.storage.paths import open_parent


def verify(context: OperationContext, backup_id: str, request: VerifyRequest) -> VerificationResult:
    """Reads the backup again and says what it is. What is wrong with the file is in ``problems``, not an error.

    Raises ``BackupNotFound``, ``BackupTooLarge``, ``WrongIdentity``, ``VolumeUnavailable``, ``Busy`` when the file is
    being written.
    """
    volume, limit = context.volume, context.settings.max_config_bytes
    located = context.inventory.locate(volume.base_fd, backup_id)
    if located is None:
        raise ApiError(ErrorCode.BackupNotFound)
    name = located.parts[-1]
    try:
        with open_parent(volume.base_fd, located.parts) as parent:
            stored = read_stored(parent, name, limit)
            received = _received(parent, name, backup_id)
            form = compression.format_for_name(name)
            checked = context.protection.check(context.config_state, {} if received is None else received[0])
            problems = _signature_problems(context, checked, encrypted=form.encrypted)
            identity = None if request.identity is None else request.identity.get_secret_value()
            claimed = located.manifest.proof if checked.verdict == "valid" else None
            level, proof, counts = _verify(context, located.manifest, claimed, form, stored, identity, problems)
            if checked.verdict == "invalid":
                level, proof = None, None
            found = Verification(
                backup_id=backup_id,
                stored_sha256=stored.sha256,
                checked=context.clock(),
                level=level,
                proof=proof,
                signature=checked.verdict,
                signed_by=list(checked.keys),
                counts=counts,
                problems=problems,
            )
            room = partial(unlink_if_exists, volume.fd, RESERVE_FILE)
            recorded = context.inventory.notes.write(parent, name, found, room)
    except FileNotFoundError:
        raise ApiError(ErrorCode.BackupNotFound) from None
    except OSError as error:
        raise backup_volume_error(error) from None
    return VerificationResult(**found.model_dump(), recorded=recorded)


def _received(parent: int, name: str, backup_id: str) -> ParsedManifest | None:
    """The manifest as it was received, also that of a backup which a person has gzipped to ``name``."""
    for owner in dict.fromkeys((name, name.removesuffix(SUFFIX))):
        found = receive_manifest(parent, manifest_name(owner))
        if found is not None and found[1].id == backup_id:
            return found
    return None


def _signature_problems(context: OperationContext, checked: SignatureCheck, *, encrypted: bool) -> list[Problem]:
    try:
        require_trusted(checked, context.protection.rules, SignatureOverrides(), encrypted=encrypted)
    except ApiError as error:
        return [Problem(code=error.code.value, message=error.detail)]
    return []


def _verify(
    context: OperationContext,
    manifest: Manifest,
    claimed: str | None,
    form: compression.StoredFormat,
    stored: Blob,
    identity: str | None,
    problems: list[Problem],
) -> tuple[BackupLevel | None, Proof | None, Counts | None]:
    """How far the bytes are proven, by what, and what was counted. Adds what is wrong to ``problems``.

    ``claimed`` is the proof that a trusted signature vouches for: all there is about a file that cannot be opened.
    """

    def wrong(code: ErrorCode, message: str) -> tuple[None, None, None]:
        problems.append(Problem(code=code.value, message=message))
        return None, None, None

    if stored.sha256 != manifest.stored_sha256:
        return wrong(ErrorCode.BackupCorrupt, "the file's bytes are not those that the manifest describes")
    if form.encrypted and identity is None:
        proven = claimed in ("payload", "recipient")
        return (BackupLevel.Verified, "payload", None) if proven else (BackupLevel.Stored, None, None)
    limit = context.settings.max_config_bytes
    try:
        content = decode(stored, form, identity, limit)
        if content.sha256 != manifest.content_sha256:
            return wrong(ErrorCode.BackupCorrupt, "the content is not the one that the manifest describes")
        _, summary = parse_config(context.config.judge, content, limit)
    except compression.DecodeError as problem:
        return wrong(ErrorCode.BackupCorrupt, str(problem))
    except ApiError as error:
        if error.code is not ErrorCode.BackupInvalid:
            raise
        return wrong(ErrorCode.BackupInvalid, error.detail)
    issues = {(issue.code, issue.where) for issue in summary.issues}
    if summary.counts != manifest.counts or issues != {(issue.code, issue.where) for issue in manifest.issues}:
        return wrong(ErrorCode.BackupInvalid, "the counts or issues are not those that the manifest describes")
    return BackupLevel.Verified, "recipient" if form.encrypted else "payload", summary.counts
