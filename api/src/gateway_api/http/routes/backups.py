"""Routes that create, list, show, inspect, verify and delete backups."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

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
from gateway_api.http.openapi import BODY, KEY_NEEDED, KEYED, OPERATION, declares
from gateway_api.http.routes.dependencies import RequestedBy, ResourceId, ServiceDep, envelope

router = APIRouter(tags=["backups"], dependencies=KEY_NEEDED)

CREATE_ERRORS = (
    ErrorCode.RequestIdReused,
    ErrorCode.Deleted,
    ErrorCode.PathNotAllowed,
    ErrorCode.BackupExists,
    ErrorCode.BackupManaged,
    ErrorCode.BackupChanged,
    ErrorCode.BackupUnusable,
    ErrorCode.NameUsed,
    ErrorCode.EncryptionRequired,
    ErrorCode.EncryptionNotConfigured,
    ErrorCode.SigningKeyUnusable,
    ErrorCode.ConfigMissing,
    ErrorCode.ConfigInvalid,
    ErrorCode.ConfigUnstable,
    ErrorCode.ConfigTooLarge,
    ErrorCode.ConfigNotAFile,
)
BACKUP_ID_PATH = f"{BACKUPS_PATH}/{{backup_id}}"


@router.post(BACKUP_PATH, responses=declares(*KEYED, *BODY, *OPERATION, *CREATE_ERRORS), summary="Create a backup")
async def create_backup(service: ServiceDep, requested_by: RequestedBy, body: BackupRequest) -> Envelope[BackupResult]:
    """Creates a backup of the live config. The response is sent after the backup is durable and verified.

    A repeat with the same `request_id` and body returns the first result and creates no second backup.
    """
    return envelope("System backup completed successfully", await service.create_backup(body, requested_by))


@router.get(
    BACKUPS_PATH,
    response_model=Envelope[BackupPage],
    responses={
        304: {"description": "The list has not changed since the `ETag` in `If-None-Match`."},
        **declares(*KEYED, *BODY, ErrorCode.PathNotAllowed, ErrorCode.VolumeUnavailable),
    },
    summary="List backups",
)
async def list_backups(
    service: ServiceDep,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    token: Annotated[str | None, Query(alias="continue", max_length=8192)] = None,
    path: Annotated[str | None, Query(min_length=1, max_length=4096)] = None,
    if_none_match: Annotated[str | None, Header(alias="If-None-Match", max_length=4096)] = None,
) -> Response | Envelope[BackupPage]:
    """Lists all files in the backup directory, sorted by path, in pages of at most `limit`.

    `continue` is the token that the previous page returned. `path`, relative to the backup directory, selects only
    the file at exactly that path. The list is empty if there is none.

    Every answer has an `ETag`. The ETag of the first page changes with any change of the whole list. The ETag of a
    later page or of a single `path` covers only that page. With `If-None-Match` an unchanged list is answered with 304.
    """
    page, etag = await service.list_backups(limit, token, path)
    response.headers["ETag"] = etag
    if etag in (value.strip() for value in (if_none_match or "").split(",")):
        return Response(status_code=304, headers={"ETag": etag})
    return envelope("Backups listed", page)


@router.post(
    f"{BACKUPS_PATH}/inspect",
    responses=declares(
        *KEYED,
        *BODY,
        ErrorCode.BackupNotFound,
        ErrorCode.BackupUnusable,
        ErrorCode.BackupTooLarge,
        ErrorCode.Busy,
        ErrorCode.PathNotAllowed,
        ErrorCode.VolumeUnavailable,
        ErrorCode.WorkerFailed,
        ErrorCode.WrongIdentity,
    ),
    summary="Inspect a file",
)
async def inspect_file(service: ServiceDep, body: InspectRequest) -> Envelope[FileInspection]:
    """Returns digests, counts and problems of any file in the backup directory. Changes nothing.

    The status is 200 even if the file is invalid: `problems` lists the reasons. Signatures are not checked; use the
    verify endpoint for that.
    """
    return envelope("File inspected", await service.inspect_file(body))


@router.get(
    BACKUP_ID_PATH,
    responses=declares(*KEYED, ErrorCode.InvalidRequest, ErrorCode.BackupNotFound, ErrorCode.VolumeUnavailable),
    summary="Get a backup",
)
async def get_backup(service: ServiceDep, backup_id: ResourceId) -> Envelope[BackupRecord]:
    """Returns the manifest of a backup and the result of the last verification.

    `BackupNotFound` means that nothing is at its path. `problems` names why a file that is there cannot be used.
    """
    return envelope("Backup found", await service.get_backup(backup_id))


@router.delete(
    BACKUP_ID_PATH,
    responses=declares(*KEYED, *BODY, *OPERATION, ErrorCode.BackupChanged, ErrorCode.BackupUnusable),
    summary="Delete a backup",
)
async def delete_backup(
    service: ServiceDep, requested_by: RequestedBy, backup_id: ResourceId
) -> Envelope[DeleteResult]:
    """Deletes the backup file if it matches its manifest and lies where the backup was created, or gzipped there.

    Succeeds with `existed: false` if nothing is there. A file that was changed, moved or cannot be read is an error.
    """
    return envelope("Backup deleted", await service.delete_backup(backup_id, requested_by))


@router.post(
    f"{BACKUP_ID_PATH}/verify",
    responses=declares(
        *KEYED,
        *BODY,
        *OPERATION,
        ErrorCode.BackupNotFound,
        ErrorCode.BackupUnusable,
        ErrorCode.BackupTooLarge,
        ErrorCode.WrongIdentity,
        ErrorCode.PathNotAllowed,
    ),
    summary="Verify a backup",
)
async def verify_backup(
    service: ServiceDep, requested_by: RequestedBy, backup_id: ResourceId, body: VerifyRequest | None = None
) -> Envelope[VerificationResult]:
    """Reads the file, checks its digests and signature, and parses its content.

    The content of an encrypted file is checked only if the request has an `identity`. The status is 200 even if the
    file is invalid: `problems` lists the reasons.
    """
    return envelope("Backup checked", await service.verify_backup(backup_id, body or VerifyRequest(), requested_by))
