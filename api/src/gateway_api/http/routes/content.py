"""Routes that download a backup file and upload one that was created elsewhere.

Both stream the file in pieces, so that memory use does not grow with its size.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.requests import ClientDisconnect

from gateway_api.contract import BACKUPS_PATH, Envelope, ErrorCode, UploadResult
from gateway_api.errors import ApiError
from gateway_api.http.openapi import BODY, KEY_NEEDED, KEYED, OPERATION, declares, declares_beside_bytes
from gateway_api.http.routes.dependencies import RequestedBy, ResourceId, ServiceDep, envelope
from gateway_api.repository.manifest import MAX_MANIFEST_BYTES

router = APIRouter(tags=["backups"], dependencies=KEY_NEEDED)

CONTENT_PATH = f"{BACKUPS_PATH}/{{backup_id}}/content"
BINARY: Final[dict[str, Any]] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
UPLOAD_ERRORS = (
    ErrorCode.BackupNotFound,
    ErrorCode.BackupExists,
    ErrorCode.BackupChanged,
    ErrorCode.BackupUnusable,
    ErrorCode.BackupTooLarge,
    ErrorCode.BackupCorrupt,
    ErrorCode.BackupInvalid,
    ErrorCode.Deleted,
    ErrorCode.DigestMismatch,
    ErrorCode.EncryptionRequired,
    ErrorCode.PathNotAllowed,
    ErrorCode.RequestIdReused,
    ErrorCode.SignatureInvalid,
    ErrorCode.UploadOutOfOrder,
)
_CONTENT_RANGE: Final = re.compile(r"^bytes ([0-9]{1,15})-[0-9]{1,15}/(?:[0-9]{1,15}|\*)$", re.ASCII)
Part = Annotated[Literal["file", "manifest"], Query()]


@router.get(
    CONTENT_PATH,
    response_class=StreamingResponse,
    responses={
        200: {"description": "The whole file. `ETag` is its SHA-256.", "content": BINARY},
        206: {"description": "The requested range of the file.", "content": BINARY},
        **declares_beside_bytes(
            *KEYED,
            ErrorCode.InvalidRequest,
            ErrorCode.BackupNotFound,
            ErrorCode.BackupChanged,
            ErrorCode.BackupUnusable,
            ErrorCode.PathNotAllowed,
            ErrorCode.VolumeUnavailable,
        ),
    },
    summary="Download a backup",
)
async def download_backup(
    service: ServiceDep,
    request: Request,
    backup_id: ResourceId,
    part: Part = "file",
    range_header: Annotated[str | None, Header(alias="Range")] = None,
    if_range: Annotated[str | None, Header(alias="If-Range")] = None,
) -> Response:
    """Returns the stored bytes of the backup file, or with `part=manifest` its manifest. Supports one `Range`.

    With `If-Range` the range is sent only while the file still has that `ETag`, otherwise the whole file.
    """
    content = await service.download(backup_id, part, range_header, if_range)
    if getattr(request.state, "head", False):
        # HEAD: the same headers, and no byte of the file is read.
        content.file.close()
        return Response(None, 206 if content.partial else 200, content.headers, "application/octet-stream")
    return StreamingResponse(
        content.stream(service.read_chunk),
        206 if content.partial else 200,
        content.headers,
        media_type="application/octet-stream",
    )


@router.put(
    CONTENT_PATH,
    responses=declares(*KEYED, *BODY, *OPERATION, *UPLOAD_ERRORS),
    openapi_extra={"requestBody": {"required": True, "content": BINARY}},
    summary="Upload a backup",
)
async def upload_backup(
    service: ServiceDep,
    requested_by: RequestedBy,
    backup_id: ResourceId,
    request: Request,
    part: Part = "file",
    content_range: Annotated[str | None, Header(alias="Content-Range")] = None,
) -> Envelope[UploadResult]:
    """Uploads a backup in two steps: first the manifest (`part=manifest`), then the file, under the manifest's id.

    The file may be sent in pieces, each with a `Content-Range`. After an interruption send the manifest again: the
    response says how many bytes have arrived. A repeated upload of a stored backup returns the first result.
    """
    if part == "manifest":
        # The manifest comes first: the size, the digest and the encryption policy are checked against it.
        data = b"".join([piece async for piece in _pieces(request, MAX_MANIFEST_BYTES)])
        return envelope("Manifest received", await service.upload_manifest(backup_id, data, requested_by))
    result = await service.upload_file(backup_id, _pieces(request, None), _first_byte(content_range), requested_by)
    message = "Backup uploaded" if result.state == "stored" else "Part of the backup received"
    return envelope(message, result)


def _first_byte(content_range: str | None) -> int | None:
    if content_range is None:
        return None
    match = _CONTENT_RANGE.match(content_range)
    if match is None:
        raise ApiError(ErrorCode.InvalidRequest, "Content-Range: bytes FIRST-LAST/SIZE")
    return int(match[1])


async def _pieces(request: Request, limit: int | None) -> AsyncIterator[bytes]:
    received = 0
    try:
        async for piece in request.stream():
            received += len(piece)
            if limit is not None and received > limit:
                raise ApiError(ErrorCode.BodyTooLarge, f"a manifest has at most {limit} bytes")
            if piece:
                yield piece
    except ClientDisconnect:
        # The client does not receive this error. The bytes that arrived are kept for the rest of the upload.
        raise ApiError(ErrorCode.InvalidRequest, "the body ended early") from None
