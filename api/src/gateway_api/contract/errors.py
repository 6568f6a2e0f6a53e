"""The error codes of the admin API, with the HTTP status and the remedy of each, and the body of every error.

This list is the only place that maps a code to a status. `make docs` writes docs/error-codes.md from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, Field

from .common import OPEN


class ErrorCode(StrEnum):
    """The stable code of a failure. Alerts, the runbook and the operator depend on these names."""

    Unauthorized = "Unauthorized"
    AdminKeyTooShort = "AdminKeyTooShort"
    TooManyFailures = "TooManyFailures"
    RouteNotFound = "RouteNotFound"
    MethodNotAllowed = "MethodNotAllowed"
    BodyTooLarge = "BodyTooLarge"
    UnsupportedMediaType = "UnsupportedMediaType"
    RequestMalformed = "RequestMalformed"
    HeadersTooLarge = "HeadersTooLarge"
    RequestTimeout = "RequestTimeout"
    InvalidRequest = "InvalidRequest"
    InternalError = "InternalError"
    NotReady = "NotReady"
    Busy = "Busy"
    InProgress = "InProgress"
    RequestIdReused = "RequestIdReused"
    Deleted = "Deleted"
    PathNotAllowed = "PathNotAllowed"
    BackupExists = "BackupExists"
    BackupManaged = "BackupManaged"
    NameUsed = "NameUsed"
    BackupNotFound = "BackupNotFound"
    BackupChanged = "BackupChanged"
    BackupUnusable = "BackupUnusable"
    BackupCorrupt = "BackupCorrupt"
    BackupInvalid = "BackupInvalid"
    BackupTooLarge = "BackupTooLarge"
    BackupHasIssues = "BackupHasIssues"
    DigestMismatch = "DigestMismatch"
    EncryptionRequired = "EncryptionRequired"
    EncryptionNotConfigured = "EncryptionNotConfigured"
    IdentityRequired = "IdentityRequired"
    WrongIdentity = "WrongIdentity"
    SignatureRequired = "SignatureRequired"
    SignatureInvalid = "SignatureInvalid"
    KeyNotTrusted = "KeyNotTrusted"
    SigningKeyUnusable = "SigningKeyUnusable"
    ConfigMissing = "ConfigMissing"
    ConfigInvalid = "ConfigInvalid"
    ConfigUnstable = "ConfigUnstable"
    ConfigTooLarge = "ConfigTooLarge"
    ConfigNotAFile = "ConfigNotAFile"
    ConfigNotReplaceable = "ConfigNotReplaceable"
    ConfigChanged = "ConfigChanged"
    ConfigChangedDuringRestore = "ConfigChangedDuringRestore"
    UploadOutOfOrder = "UploadOutOfOrder"
    RestorePending = "RestorePending"
    RestoreNotFound = "RestoreNotFound"
    RestoreEnded = "RestoreEnded"
    RestoreStateUnknown = "RestoreStateUnknown"
    RollbackImpossible = "RollbackImpossible"
    ResetNotConfirmed = "ResetNotConfirmed"
    AdminKeyUnknown = "AdminKeyUnknown"
    VolumeFull = "VolumeFull"
    VolumeUnavailable = "VolumeUnavailable"
    DurabilityUnknown = "DurabilityUnknown"
    WorkerFailed = "WorkerFailed"


@dataclass(frozen=True, slots=True)
class ErrorSpec:
    """The HTTP status of a code, whether the same call may succeed later, and the remedy for a person."""

    status: int
    retryable: bool
    remedy: str


ERRORS: Final[dict[ErrorCode, ErrorSpec]] = {
    ErrorCode.Unauthorized: ErrorSpec(
        401, False, "Send the admin key as 'Authorization: Bearer KEY' or 'apikey: KEY'."
    ),
    ErrorCode.AdminKeyTooShort: ErrorSpec(
        401, False, "The key in the request is shorter than 32 bytes. Use a longer key, or put one into the key file."
    ),
    ErrorCode.TooManyFailures: ErrorSpec(
        429, True, "Wait for the time in Retry-After. A correct key is never counted."
    ),
    ErrorCode.RouteNotFound: ErrorSpec(404, False, "Check the path in /openapi.json."),
    ErrorCode.MethodNotAllowed: ErrorSpec(405, False, "Use a method from the Allow header."),
    ErrorCode.BodyTooLarge: ErrorSpec(
        413, False, "Request bodies are limited to 64 KiB. Use the upload endpoint for file content."
    ),
    ErrorCode.UnsupportedMediaType: ErrorSpec(415, False, "Send Content-Type: application/json."),
    ErrorCode.RequestMalformed: ErrorSpec(
        400, False, "Send valid HTTP/1.1. Check the client and the proxies in between."
    ),
    ErrorCode.HeadersTooLarge: ErrorSpec(
        431, False, "Send a request line and at most 128 headers, together at most 64 KiB."
    ),
    ErrorCode.RequestTimeout: ErrorSpec(408, True, "Send the whole request without pauses. The connection was closed."),
    ErrorCode.InvalidRequest: ErrorSpec(422, False, "Correct the field that the detail names."),
    ErrorCode.InternalError: ErrorSpec(500, True, "Find the request id in the server's log and report the error."),
    ErrorCode.NotReady: ErrorSpec(503, True, "Fix the problem that the detail names."),
    ErrorCode.Busy: ErrorSpec(
        409, True, "Another backup, restore or delete is running. Retry after the seconds in Retry-After."
    ),
    ErrorCode.InProgress: ErrorSpec(
        409, True, "The same request is still running. Retry after the seconds in Retry-After."
    ),
    ErrorCode.RequestIdReused: ErrorSpec(409, False, "Use a new request_id for a different request."),
    ErrorCode.Deleted: ErrorSpec(409, False, "The backup of this request was deleted. Use a new request_id."),
    ErrorCode.PathNotAllowed: ErrorSpec(
        400, False, "Use a path inside the backup directory, without links and without names that begin with a dot."
    ),
    ErrorCode.BackupExists: ErrorSpec(409, False, "Choose another name or set `overwrite: true`."),
    ErrorCode.BackupManaged: ErrorSpec(
        409,
        False,
        "A request with a request_id made this file, so output_file does not replace it. Choose another path, or "
        "delete the backup by its id.",
    ),
    ErrorCode.NameUsed: ErrorSpec(
        409,
        False,
        "Use another record_name, use the existing backup that the answer names, or delete its file.",
    ),
    ErrorCode.BackupNotFound: ErrorSpec(
        404, False, "The file was moved, renamed or deleted. List the backups to find it."
    ),
    ErrorCode.BackupChanged: ErrorSpec(
        409, False, "The file was changed or moved, so it is not the backup of this id. Check who changed it."
    ),
    ErrorCode.BackupUnusable: ErrorSpec(
        409, False, "The file is there but cannot be used. Fix what the detail names, or copy the file to a new name."
    ),
    ErrorCode.BackupCorrupt: ErrorSpec(422, False, "The file differs from its manifest. Restore another backup."),
    ErrorCode.BackupInvalid: ErrorSpec(
        422, False, "The file is not a complete gateway config. Restore another backup."
    ),
    ErrorCode.BackupTooLarge: ErrorSpec(413, False, "Raise GATEWAY_MAX_CONFIG_BYTES or restore another backup."),
    ErrorCode.BackupHasIssues: ErrorSpec(422, False, "Fix the dangling references or set `allow_issues: true`."),
    ErrorCode.DigestMismatch: ErrorSpec(
        409, False, "The file does not have the expected digest. Check its path and the digest."
    ),
    ErrorCode.EncryptionRequired: ErrorSpec(
        422, False, "This server requires encryption. Choose a name that ends in .age."
    ),
    ErrorCode.EncryptionNotConfigured: ErrorSpec(
        422, False, "Configure age recipients on this server or choose a name without .age."
    ),
    ErrorCode.IdentityRequired: ErrorSpec(
        422, False, "The backup is encrypted. Send the age identity of one of its recipients."
    ),
    ErrorCode.WrongIdentity: ErrorSpec(
        422, False, "The identity cannot decrypt this backup. Send the identity of one of its recipients."
    ),
    ErrorCode.SignatureRequired: ErrorSpec(
        422, False, "Restore a backup that is signed by a trusted key. See `accept_unsigned` for the exception."
    ),
    ErrorCode.SignatureInvalid: ErrorSpec(
        422, False, "The manifest was changed after it was signed. Restore another backup and find out who changed it."
    ),
    ErrorCode.KeyNotTrusted: ErrorSpec(
        422, False, "Add the public key of the gateway that signed the backup to this server's trusted keys."
    ),
    ErrorCode.SigningKeyUnusable: ErrorSpec(
        500, False, "Restore the signing key file in the config directory's state folder, or delete the broken file."
    ),
    ErrorCode.ConfigMissing: ErrorSpec(409, False, "There is no config to back up. Restore a backup."),
    ErrorCode.ConfigInvalid: ErrorSpec(409, False, "The live config is not a valid config. Restore a backup."),
    ErrorCode.ConfigUnstable: ErrorSpec(409, True, "The gateway keeps rewriting its config. Retry later."),
    ErrorCode.ConfigTooLarge: ErrorSpec(413, False, "Raise GATEWAY_MAX_CONFIG_BYTES."),
    ErrorCode.ConfigNotAFile: ErrorSpec(
        409, False, "The config is a symbolic link or a special file. Set GATEWAY_CONFIG_FILE to a regular file."
    ),
    ErrorCode.ConfigNotReplaceable: ErrorSpec(
        409,
        False,
        "Mount the config's directory instead of the file. It must be writable and owned by this process's user.",
    ),
    ErrorCode.ConfigChanged: ErrorSpec(
        409, False, "The config changed since the restore. Check the change, then set `force: true`."
    ),
    ErrorCode.ConfigChangedDuringRestore: ErrorSpec(
        409, True, "The gateway wrote its config over the restored one. Roll back or restore again."
    ),
    ErrorCode.UploadOutOfOrder: ErrorSpec(
        409, False, "Send the manifest again to get the number of received bytes. Continue from there."
    ),
    ErrorCode.RestorePending: ErrorSpec(
        409, False, "Commit or roll back the earlier restore, or set `supersede: true`."
    ),
    ErrorCode.RestoreNotFound: ErrorSpec(404, False, "No restore has this request id."),
    ErrorCode.RestoreEnded: ErrorSpec(
        409, False, "The restore has already ended. A commit or a rollback cannot be undone."
    ),
    ErrorCode.RestoreStateUnknown: ErrorSpec(
        409,
        False,
        "The config is neither the one before the restore nor the restored one. Check it, then restore again.",
    ),
    ErrorCode.RollbackImpossible: ErrorSpec(
        409,
        False,
        "No intact copy of the previous config is left for a rollback; nothing was changed. Restore another backup.",
    ),
    ErrorCode.ResetNotConfirmed: ErrorSpec(400, False, "Reset requires confirm=true"),
    ErrorCode.AdminKeyUnknown: ErrorSpec(
        409, False, "The live config has no readable admin key. Set `rotate_admin_key: true` or restore a backup."
    ),
    ErrorCode.VolumeFull: ErrorSpec(507, True, "Free space on the volume or enlarge it."),
    ErrorCode.VolumeUnavailable: ErrorSpec(
        503, True, "The volume is read-only, missing or failing. Check the pod's volumes."
    ),
    ErrorCode.WorkerFailed: ErrorSpec(
        503, True, "The process that parses large configs failed. Raise the container's memory limit."
    ),
    ErrorCode.DurabilityUnknown: ErrorSpec(
        500, True, "The disk did not confirm a write. Check the volume, then retry."
    ),
}


class ExistingBackup(BaseModel):
    """The backup that holds the ``record_name`` of a refused request."""

    model_config = OPEN
    backup_id: str
    path: str = Field(description="The current path, relative to the backup directory.")
    created: datetime


class ErrorBody(BaseModel):
    """The body of every error."""

    model_config = OPEN
    error: str = Field(description="The operation that failed.")
    detail: str = Field(description="The cause, or the remedy. Never holds a key or a value from a config.")
    code: str = Field(description="One of the codes in docs/error-codes.md. Codes are stable.")
    timestamp: datetime
    existing: ExistingBackup | None = Field(default=None, description="Only with the code `NameUsed`.")


def example_error(code: ErrorCode) -> dict[str, Any]:
    """An example body with ``code`` for the OpenAPI document."""
    example: dict[str, Any] = {
        "error": "System restore failed",
        "detail": ERRORS[code].remedy,
        "code": code.value,
        "timestamp": "2026-01-01T12:00:00.000000Z",
    }
    if code is ErrorCode.NameUsed:
        example["existing"] = {
            "backup_id": "0123456789abcdef0123456789abcdef",
            "path": "manual/first.json.zst",
            "created": "2026-01-01T12:00:00.000000Z",
        }
    return example
