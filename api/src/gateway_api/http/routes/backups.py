"""Making, showing and deleting backups."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from gateway_api.contract import (
    BACKUP_PATH,
    BACKUPS_PATH,
    BackupPage,
    BackupRecord,
    BackupRequest,
    BackupResult,
    DeleteResult,
    Envelope,
    ErrorCode,
    FileInspection,
    InspectRequest,
    VerificationResult,
    VerifyRequest,
)
from gateway_api.http.openapi import BODY, KEY_NEEDED, KEYED, MUTATION, declares
from gateway_api.http.routes.dependencies import Api, Id, RequestedBy, envelope

router = APIRouter(tags=["backups"], dependencies=KEY_NEEDED)

MAKING = (
    ErrorCode.RequestIdReused,
    ErrorCode.Deleted,
    ErrorCode.PathNotAllowed,
    ErrorCode.BackupExists,
    ErrorCode.EncryptionRequired,
    ErrorCode.EncryptionNotConfigured,
    ErrorCode.SigningKeyUnusable,
    ErrorCode.ConfigMissing,
    ErrorCode.ConfigInvalid,
    ErrorCode.ConfigUnstable,
    ErrorCode.ConfigTooLarge,
)
ONE = f"{BACKUPS_PATH}/{{backup_id}}"


@router.post(BACKUP_PATH, responses=declares(*KEYED, *BODY, *MUTATION, *MAKING), summary="Make a backup")
async def make_backup(api: Api, requested_by: RequestedBy, body: BackupRequest) -> Envelope[BackupResult]:
    """Durable and proven when it answers. The same `request_id` and body again give the same backup, once."""
    return envelope("System backup completed successfully", await api.backup(body, requested_by))


@router.get(
    BACKUPS_PATH,
    responses=declares(*KEYED, *BODY, ErrorCode.PathNotAllowed, ErrorCode.VolumeUnavailable),
    summary="List the backups",
)
async def list_backups(
    api: Api,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    token: Annotated[str | None, Query(alias="continue", max_length=8192)] = None,
    path: Annotated[str | None, Query(min_length=1, max_length=4096)] = None,
) -> Envelope[BackupPage]:
    """Every file in the backup directory, a page at a time, by path; `continue` is what the page before said. With
    `path`, relative to the backup directory, only the file there, if there is one."""
    return envelope("Backups listed", await api.list_backups(limit, token, path))


@router.post(
    f"{BACKUPS_PATH}/inspect",
    responses=declares(
        *KEYED,
        *BODY,
        ErrorCode.BackupNotFound,
        ErrorCode.BackupTooLarge,
        ErrorCode.Busy,
        ErrorCode.PathNotAllowed,
        ErrorCode.VolumeUnavailable,
        ErrorCode.WorkerFailed,
        ErrorCode.WrongIdentity,
    ),
    summary="Look into any file",
)
async def inspect_file(api: Api, body: InspectRequest) -> Envelope[FileInspection]:
    """Digests and counts of a file in the backup directory, whoever made it. Reads it and changes nothing; what is
    wrong with it stands in `problems`: the answer is 200 all the same. Signatures are not looked at: a verify does."""
    return envelope("File inspected", await api.inspect_file(body))


@router.get(
    ONE,
    responses=declares(*KEYED, ErrorCode.InvalidRequest, ErrorCode.BackupNotFound, ErrorCode.VolumeUnavailable),
    summary="Show a backup",
)
async def show_backup(api: Api, backup_id: Id) -> Envelope[BackupRecord]:
    """What the backup's manifest says, if its file is there, and what the last verify found."""
    return envelope("Backup found", await api.show_backup(backup_id))


@router.delete(
    ONE,
    responses=declares(*KEYED, *BODY, *MUTATION, ErrorCode.BackupChanged),
    summary="Delete a backup",
)
async def delete_backup(api: Api, requested_by: RequestedBy, backup_id: Id) -> Envelope[DeleteResult]:
    """Deletes exactly the file the manifest describes. One that is gone already is a success, with `existed` false."""
    return envelope("Backup deleted", await api.delete_backup(backup_id, requested_by))


@router.post(
    f"{ONE}/verify",
    responses=declares(
        *KEYED,
        *BODY,
        *MUTATION,
        ErrorCode.BackupNotFound,
        ErrorCode.BackupTooLarge,
        ErrorCode.WrongIdentity,
        ErrorCode.PathNotAllowed,
    ),
    summary="Prove a backup again",
)
async def verify_backup(
    api: Api, requested_by: RequestedBy, backup_id: Id, body: VerifyRequest | None = None
) -> Envelope[VerificationResult]:
    """Reads the file again and checks digests and signature; opens and counts it, an encrypted one if there is an
    `identity`. What is wrong with it stands in `problems`: the answer is 200 all the same."""
    return envelope("Backup checked", await api.verify_backup(backup_id, body or VerifyRequest(), requested_by))
