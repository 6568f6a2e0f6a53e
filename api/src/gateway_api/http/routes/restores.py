"""Restoring a backup, and ending that restore."""

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
    RollbackRequest,
)
from gateway_api.http.openapi import BODY, KEY_NEEDED, KEYED, MUTATION, declares
from gateway_api.http.routes.dependencies import Api, Id, RequestedBy, envelope

router = APIRouter(tags=["restores"], dependencies=KEY_NEEDED)

RESTORING = (
    ErrorCode.RequestIdReused,
    ErrorCode.PathNotAllowed,
    ErrorCode.BackupNotFound,
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
    ErrorCode.ConfigChangedDuringRestore,
    ErrorCode.RestorePending,
    ErrorCode.RestoreStateUnknown,
)
RESETTING = (
    ErrorCode.ResetNotConfirmed,
    ErrorCode.AdminKeyUnknown,
    ErrorCode.RequestIdReused,
    ErrorCode.BackupExists,
    ErrorCode.ConfigInvalid,
    ErrorCode.ConfigUnstable,
    ErrorCode.ConfigTooLarge,
    ErrorCode.ConfigChangedDuringRestore,
    ErrorCode.PathNotAllowed,
    ErrorCode.SigningKeyUnusable,
    ErrorCode.RestorePending,
    ErrorCode.RestoreStateUnknown,
)
ENDING = (ErrorCode.RestoreNotFound, ErrorCode.RestoreEnded, ErrorCode.RestoreStateUnknown)
ONE = f"{RESTORES_PATH}/{{request_id}}"


@router.post(RESTORE_PATH, responses=declares(*KEYED, *BODY, *MUTATION, *RESTORING), summary="Restore a backup")
async def restore(
    api: Api, requested_by: RequestedBy, body: RestoreRequest
) -> Envelope[RestoreResult] | Envelope[RestorePlan]:
    """Replaces the live config, whatever its state. With a `request_id` the caller commits or rolls back. With
    `dry_run` nothing is changed, and the answer is the difference that the restore would make."""
    if body.dry_run:
        return envelope("System restore would succeed; nothing was changed", await api.preview(body))
    return envelope("System restore completed successfully", await api.restore(body, requested_by))


@router.post(RESET_PATH, responses=declares(*KEYED, *BODY, *MUTATION, *RESETTING), summary="Reset to an empty config")
async def reset(api: Api, requested_by: RequestedBy, body: ResetRequest | None = None) -> Envelope[RestoreResult]:
    """Replaces the live config by default settings without data, in the same transaction as a restore."""
    return envelope("System reset completed successfully", await api.reset(body or ResetRequest(), requested_by))


@router.get(
    ONE,
    responses=declares(
        *KEYED,
        ErrorCode.InvalidRequest,
        ErrorCode.RestoreNotFound,
        ErrorCode.RestoreStateUnknown,
        ErrorCode.ConfigNotReplaceable,
        ErrorCode.VolumeUnavailable,
    ),
    summary="Show a restore",
)
async def show_restore(api: Api, request_id: Id) -> Envelope[RestoreResult]:
    """The record of a restore, whatever its state."""
    return envelope("Restore found", await api.show_restore(request_id))


@router.post(f"{ONE}/commit", responses=declares(*KEYED, *BODY, *MUTATION, *ENDING), summary="Commit a restore")
async def commit(api: Api, requested_by: RequestedBy, request_id: Id) -> Envelope[RestoreResult]:
    """The restored config stays, and what was kept for a rollback is given up."""
    return envelope("Restore committed", await api.commit(request_id, requested_by))


@router.post(
    f"{ONE}/rollback",
    responses=declares(
        *KEYED, *BODY, *MUTATION, *ENDING, ErrorCode.ConfigChanged, ErrorCode.ConfigChangedDuringRestore
    ),
    summary="Roll a restore back",
)
async def rollback(
    api: Api, requested_by: RequestedBy, request_id: Id, body: RollbackRequest | None = None
) -> Envelope[RestoreResult]:
    """The config that was live before the restore comes back. Needs no backup and no decryption key."""
    force = body is not None and body.force
    return envelope("Restore rolled back", await api.rollback(request_id, requested_by, force=force))
