"""The files themselves: taking a backup away, and bringing one from elsewhere."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from gateway_api.contract import BACKUPS_PATH, Envelope, ErrorCode, UploadResult
from gateway_api.errors import ApiError
from gateway_api.http.openapi import BODY, KEY_NEEDED, KEYED, MUTATION, declares, declares_beside_bytes
from gateway_api.http.routes.dependencies import Api, Id, RequestedBy, envelope
from gateway_api.repository.manifest import MAX_MANIFEST_BYTES

router = APIRouter(tags=["backups"], dependencies=KEY_NEEDED)

CONTENT = f"{BACKUPS_PATH}/{{backup_id}}/content"
BYTES: Final[dict[str, Any]] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
UPLOADING = (
    ErrorCode.BackupNotFound,
    ErrorCode.BackupExists,
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
_RANGE: Final = re.compile(r"^bytes ([0-9]{1,15})-[0-9]{1,15}/(?:[0-9]{1,15}|\*)$", re.ASCII)
Part = Annotated[Literal["file", "manifest"], Query()]


@router.get(
    CONTENT,
    response_class=StreamingResponse,
    responses={
        200: {"description": "The bytes; `ETag` is the SHA-256 of the whole file", "content": BYTES},
        206: {"description": "The range that was asked for", "content": BYTES},
        **declares_beside_bytes(
            *KEYED,
            ErrorCode.InvalidRequest,
            ErrorCode.BackupNotFound,
            ErrorCode.BackupChanged,
            ErrorCode.PathNotAllowed,
            ErrorCode.VolumeUnavailable,
        ),
    },
    summary="Download a backup",
)
async def download(
    api: Api, backup_id: Id, part: Part = "file", wanted: Annotated[str | None, Header(alias="Range")] = None
) -> StreamingResponse:
    """The file as it lies on the volume, or the manifest beside it; one `Range` of it if asked."""
    found = await api.download(backup_id, part, wanted)
    return StreamingResponse(
        found.stream(api.read_piece),
        206 if found.partial else 200,
        found.headers,
        media_type="application/octet-stream",
    )


@router.put(
    CONTENT,
    responses=declares(*KEYED, *BODY, *MUTATION, *UPLOADING),
    openapi_extra={"requestBody": {"required": True, "content": BYTES}},
    summary="Upload a backup",
)
async def upload(
    api: Api,
    requested_by: RequestedBy,
    backup_id: Id,
    request: Request,
    part: Part = "file",
    content_range: Annotated[str | None, Header(alias="Content-Range")] = None,
) -> Envelope[UploadResult]:
    """First the manifest (`part=manifest`), then the file, under the manifest's id. The file may come in pieces with a
    `Content-Range` each; sending the manifest again tells how much has arrived. A repeat of the whole is replayed."""
    if part == "manifest":
        data = b"".join([piece async for piece in _pieces(request, MAX_MANIFEST_BYTES)])
        return envelope("Manifest received", await api.upload_manifest(backup_id, data, requested_by))
    done = await api.upload_file(backup_id, _pieces(request, None), _start(content_range), requested_by)
    message = "Backup uploaded" if done.state == "stored" else "Part of the backup received"
    return envelope(message, done)


def _start(content_range: str | None) -> int | None:
    if content_range is None:
        return None
    found = _RANGE.match(content_range)
    if found is None:
        raise ApiError(ErrorCode.InvalidRequest, "Content-Range: bytes FIRST-LAST/SIZE")
    return int(found[1])


async def _pieces(request: Request, limit: int | None) -> AsyncIterator[bytes]:
    seen = 0
    try:
        async for piece in request.stream():
            seen += len(piece)
            if limit is not None and seen > limit:
                raise ApiError(ErrorCode.BodyTooLarge, f"a manifest has at most {limit} bytes")
            if piece:
                yield piece
    except ClientDisconnect:
        # Nobody hears this; what has arrived waits for the rest.
        raise ApiError(ErrorCode.InvalidRequest, "the body ended early") from None
