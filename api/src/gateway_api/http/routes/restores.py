"""Routes that restore a backup or reset the config, and commit or roll back that restore."""

from __future__ import annotations

from fastapi import APIRouter

from gateway_api.contract import (
    RESET_PATH,
    RESTORE_PATH,
    RESTORES_PATH,
    Envelope,
    ErrorCode,
    ResetRequest,
    RestorePlan,
    RestoreRequest,
    RestoreResult,
    RestoreState,
    RollbackRequest,
)
from gateway_api.http.openapi import BODY, KEY_NEEDED, KEYED, OPERATION, declares
from gateway_api.http.routes.dependencies import KeySha256, RequestedBy, ResourceId, ServiceDep, envelope

router = APIRouter(tags=["restores"], dependencies=KEY_NEEDED)

RESTORE_ERRORS = (
    ErrorCode.RequestIdReused,
    ErrorCode.PathNotAllowed,
    ErrorCode.BackupNotFound,
    ErrorCode.BackupUnusable,
    ErrorCode.BackupExists,
    ErrorCode.BackupCorrupt,
    ErrorCode.BackupInvalid,
    ErrorCode.BackupTooLarge,
    ErrorCode.BackupHasIssues,
    ErrorCode.DigestMismatch,
    ErrorCode.IdentityRequired,
    ErrorCode.WrongIdentity,
    ErrorCode.SignatureRequired,
    ErrorCode.SignatureInvalid,
    ErrorCode.KeyNotTrusted,
    ErrorCode.SigningKeyUnusable,
    ErrorCode.ConfigInvalid,
    ErrorCode.ConfigUnstable,
    ErrorCode.ConfigTooLarge,
    ErrorCode.ConfigNotAFile,
    ErrorCode.ConfigChangedDuringRestore,
    ErrorCode.RestorePending,
    ErrorCode.RestoreStateUnknown,
)
RESET_ERRORS = (
    ErrorCode.ResetNotConfirmed,
    ErrorCode.AdminKeyUnknown,
    ErrorCode.RequestIdReused,
    ErrorCode.BackupExists,
    ErrorCode.ConfigInvalid,
    ErrorCode.ConfigUnstable,
    ErrorCode.ConfigTooLarge,
    ErrorCode.ConfigNotAFile,
    ErrorCode.ConfigChangedDuringRestore,
    ErrorCode.PathNotAllowed,
    ErrorCode.SigningKeyUnusable,
    ErrorCode.RestorePending,
    ErrorCode.RestoreStateUnknown,
)
FINISH_ERRORS = (ErrorCode.RestoreNotFound, ErrorCode.RestoreEnded, ErrorCode.RestoreStateUnknown)
REQUEST_ID_PATH = f"{RESTORES_PATH}/{{request_id}}"


@router.post(RESTORE_PATH, responses=declares(*KEYED, *BODY, *OPERATION, *RESTORE_ERRORS), summary="Restore a backup")
async def restore_backup(
    service: ServiceDep, requested_by: RequestedBy, key: KeySha256, body: RestoreRequest
) -> Envelope[RestoreResult] | Envelope[RestorePlan]:
    """Replaces the live config by a backup. Works even if the live config is missing or invalid.

    With a `request_id` the restore stays open until the caller commits it or rolls it back. Without one it is
    committed automatically. With `dry_run` nothing is changed, and the response is the difference to the live config.
    """
    if body.dry_run:
        return envelope("System restore would succeed; nothing was changed", await service.dry_run(body, key))
    return _replaced("System restore", await service.restore(body, requested_by))


@router.post(
    RESET_PATH, responses=declares(*KEYED, *BODY, *OPERATION, *RESET_ERRORS), summary="Reset to an empty config"
)
async def reset_config(
    service: ServiceDep, requested_by: RequestedBy, key: KeySha256, body: ResetRequest | None = None
) -> Envelope[RestoreResult] | Envelope[RestorePlan]:
    """Replaces the live config by default settings without data. Uses the same transaction as a restore.

    With `dry_run` nothing is changed, and the response is the difference to the live config.
    """
    if body is not None and body.dry_run:
        return envelope("System reset would succeed; nothing was changed", await service.dry_run(body, key))
    return _replaced("System reset", await service.reset(body or ResetRequest(), requested_by))


def _replaced(operation: str, result: RestoreResult) -> Envelope[RestoreResult]:
    # A repeated request gets the record, and that may say that the restore was rolled back since.
    rolled_back = result.state is RestoreState.rolled_back
    return envelope(f"{operation} was rolled back" if rolled_back else f"{operation} completed successfully", result)


@router.get(
    REQUEST_ID_PATH,
    responses=declares(
        *KEYED,
        ErrorCode.InvalidRequest,
        ErrorCode.RestoreNotFound,
        ErrorCode.RestoreStateUnknown,
        ErrorCode.ConfigNotReplaceable,
        ErrorCode.VolumeUnavailable,
    ),
    summary="Get a restore",
)
async def get_restore(service: ServiceDep, request_id: ResourceId) -> Envelope[RestoreResult]:
    """Returns the record of a restore or reset in any state."""
    return envelope("Restore found", await service.get_restore(request_id))


@router.post(
    f"{REQUEST_ID_PATH}/commit",
    responses=declares(*KEYED, *BODY, *OPERATION, *FINISH_ERRORS),
    summary="Commit a restore",
)
async def commit_restore(
    service: ServiceDep, requested_by: RequestedBy, request_id: ResourceId
) -> Envelope[RestoreResult]:
    """Makes the restored config final. The previous config, kept for a rollback, is removed if a backup holds it."""
    return envelope("Restore committed", await service.commit(request_id, requested_by))


@router.post(
    f"{REQUEST_ID_PATH}/rollback",
    responses=declares(
        *KEYED,
        *BODY,
        *OPERATION,
        *FINISH_ERRORS,
        ErrorCode.RollbackImpossible,
        ErrorCode.ConfigChanged,
        ErrorCode.ConfigUnstable,
        ErrorCode.ConfigChangedDuringRestore,
    ),
    summary="Roll back a restore",
)
async def roll_back_restore(
    service: ServiceDep, requested_by: RequestedBy, request_id: ResourceId, body: RollbackRequest | None = None
) -> Envelope[RestoreResult]:
    """Puts the previous config back. Needs no backup and no decryption key.

    `force` is required if the config has changed since the restore. The changed config is then kept like a previous
    config: it stays until a backup holds it.
    """
    force = body is not None and body.force
    return envelope("Restore rolled back", await service.rollback(request_id, requested_by, force=force))
