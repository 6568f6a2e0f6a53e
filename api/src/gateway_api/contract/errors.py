"""Every way in which a call can fail: codes, what they mean on the wire, and the one body of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel

from .common import OPEN


class ErrorCode(StrEnum):
    """Every way in which a call can fail. Stable: alerts, runbooks and the operator are keyed by them."""

    Unauthorized = "Unauthorized"
    TooManyFailures = "TooManyFailures"
    RouteNotFound = "RouteNotFound"
    MethodNotAllowed = "MethodNotAllowed"
    BodyTooLarge = "BodyTooLarge"
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
    BackupNotFound = "BackupNotFound"
    BackupChanged = "BackupChanged"
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
    ConfigNotReplaceable = "ConfigNotReplaceable"
    ConfigChanged = "ConfigChanged"
    ConfigChangedDuringRestore = "ConfigChangedDuringRestore"
    UploadOutOfOrder = "UploadOutOfOrder"
    RestorePending = "RestorePending"
    RestoreNotFound = "RestoreNotFound"
    RestoreEnded = "RestoreEnded"
    RestoreStateUnknown = "RestoreStateUnknown"
    ResetNotConfirmed = "ResetNotConfirmed"
    AdminKeyUnknown = "AdminKeyUnknown"
    VolumeFull = "VolumeFull"
    VolumeUnavailable = "VolumeUnavailable"
    DurabilityUnknown = "DurabilityUnknown"
    WorkerFailed = "WorkerFailed"


@dataclass(frozen=True, slots=True)
class ErrorSpec:
    """What a code means on the wire: its HTTP status, whether the same call may succeed later, and the cure."""

    status: int
    retryable: bool
    cure: str


ERRORS: Final[dict[ErrorCode, ErrorSpec]] = {
    ErrorCode.Unauthorized: ErrorSpec(
        401, False, "Send the admin key as 'Authorization: Bearer KEY' or 'apikey: KEY'."
    ),
    ErrorCode.TooManyFailures: ErrorSpec(429, True, "Wait for the time in Retry-After; a right key is never counted."),
    ErrorCode.RouteNotFound: ErrorSpec(404, False, "Look the path up in /docs."),
    ErrorCode.MethodNotAllowed: ErrorSpec(405, False, "Use a method named in the Allow header."),
    ErrorCode.BodyTooLarge: ErrorSpec(413, False, "Send a smaller body."),
    ErrorCode.RequestMalformed: ErrorSpec(400, False, "Send HTTP/1.1: a client or a proxy made bytes that are none."),
    ErrorCode.HeadersTooLarge: ErrorSpec(431, False, "Send a request line and headers of at most 64 KiB together."),
    ErrorCode.RequestTimeout: ErrorSpec(408, True, "Send the whole request without pauses: the connection is closed."),
    ErrorCode.InvalidRequest: ErrorSpec(422, False, "Correct the field that the detail names."),
    ErrorCode.InternalError: ErrorSpec(500, True, "Look for the request id in the server's log, and report it."),
    ErrorCode.NotReady: ErrorSpec(503, True, "Follow the reason in the detail."),
    ErrorCode.Busy: ErrorSpec(409, True, "Another backup, restore or delete is at work: try again after Retry-After."),
    ErrorCode.InProgress: ErrorSpec(409, True, "The same request is still running: ask again after Retry-After."),
    ErrorCode.RequestIdReused: ErrorSpec(409, False, "Use a new request_id for a different request."),
    ErrorCode.Deleted: ErrorSpec(409, False, "The backup that this request made was deleted: use a new request_id."),
    ErrorCode.PathNotAllowed: ErrorSpec(400, False, "Name a file inside the backup directory, without links or dots."),
    ErrorCode.BackupExists: ErrorSpec(409, False, "Choose another name, or say overwrite."),
    ErrorCode.BackupNotFound: ErrorSpec(404, False, "List the backups: the file was moved, renamed or deleted."),
    ErrorCode.BackupChanged: ErrorSpec(
        409, False, "The file is not the one its manifest describes; nothing was deleted."
    ),
    ErrorCode.BackupCorrupt: ErrorSpec(422, False, "The file differs from its manifest: restore another backup."),
    ErrorCode.BackupInvalid: ErrorSpec(422, False, "The file is not a whole gateway config: restore another backup."),
    ErrorCode.BackupTooLarge: ErrorSpec(413, False, "Raise the config size limit, or restore another backup."),
    ErrorCode.BackupHasIssues: ErrorSpec(422, False, "Mend the dangling references, or say allow_issues."),
    ErrorCode.DigestMismatch: ErrorSpec(409, False, "The file is not the one that was expected: check its name."),
    ErrorCode.EncryptionRequired: ErrorSpec(422, False, "Backups are encrypted here: choose a name that ends in .age."),
    ErrorCode.EncryptionNotConfigured: ErrorSpec(
        422, False, "This server has no age recipients: set them, or choose a name without .age."
    ),
    ErrorCode.IdentityRequired: ErrorSpec(422, False, "The backup is encrypted: send the age identity that opens it."),
    ErrorCode.WrongIdentity: ErrorSpec(
        422, False, "The identity does not open this backup: send one of those it was encrypted to."
    ),
    ErrorCode.SignatureRequired: ErrorSpec(
        422, False, "Restore a backup that a trusted key has signed; see accept_unsigned for the exception."
    ),
    ErrorCode.SignatureInvalid: ErrorSpec(
        422, False, "The manifest was changed after it was signed: restore another backup, and find out who did."
    ),
    ErrorCode.KeyNotTrusted: ErrorSpec(
        422, False, "Put the public key of the gateway that signed the backup into this server's trusted keys."
    ),
    ErrorCode.SigningKeyUnusable: ErrorSpec(
        500, False, "Put the signing key in the config directory's state folder back, or remove the broken file."
    ),
    ErrorCode.ConfigMissing: ErrorSpec(409, False, "There is no config to back up: restore a backup."),
    ErrorCode.ConfigInvalid: ErrorSpec(409, False, "The live config cannot be read as a config: restore a backup."),
    ErrorCode.ConfigUnstable: ErrorSpec(409, True, "The gateway keeps rewriting its config: try again."),
    ErrorCode.ConfigTooLarge: ErrorSpec(413, False, "Raise the config size limit."),
    ErrorCode.ConfigNotReplaceable: ErrorSpec(
        409, False, "Mount the config's directory, not the file, writable and owned by this process's user."
    ),
    ErrorCode.ConfigChanged: ErrorSpec(409, False, "The config changed since the restore: look, then say force."),
    ErrorCode.ConfigChangedDuringRestore: ErrorSpec(
        409, True, "The gateway wrote its config over the restored one: roll back or restore again."
    ),
    ErrorCode.UploadOutOfOrder: ErrorSpec(
        409, False, "Ask how much has arrived by sending the manifest again, and go on from there."
    ),
    ErrorCode.RestorePending: ErrorSpec(409, False, "Commit or roll back the earlier restore, or say supersede."),
    ErrorCode.RestoreNotFound: ErrorSpec(404, False, "No restore has this request id."),
    ErrorCode.RestoreEnded: ErrorSpec(
        409, False, "The restore has ended the other way: a commit or a rollback cannot be taken back."
    ),
    ErrorCode.RestoreStateUnknown: ErrorSpec(
        409,
        False,
        "The config is neither the one before the restore nor the one after: look, then restore again.",
    ),
    ErrorCode.ResetNotConfirmed: ErrorSpec(400, False, "Reset requires confirm=true"),
    ErrorCode.AdminKeyUnknown: ErrorSpec(
        409, False, "No admin key can be read from the live config: say rotate_admin_key, or restore a backup."
    ),
    ErrorCode.VolumeFull: ErrorSpec(507, True, "Free space on the volume, or make it larger."),
    ErrorCode.VolumeUnavailable: ErrorSpec(
        503, True, "The volume is read-only, gone or failing: look at the pod's volumes."
    ),
    ErrorCode.WorkerFailed: ErrorSpec(
        503, True, "The process that reads large configs died or could not start: give the container more memory."
    ),
    ErrorCode.DurabilityUnknown: ErrorSpec(
        500, True, "The disk did not confirm a write: look at the volume, then repeat."
    ),
}


class ErrorBody(BaseModel):
    """The body of every error. ``error`` names the operation, ``detail`` says what is wrong, ``code`` is stable."""

    model_config = OPEN
    error: str
    detail: str
    code: str
    timestamp: datetime


def example_error(code: ErrorCode) -> dict[str, Any]:
    """A body for the OpenAPI document."""
    return {
        "error": "System restore failed",
        "detail": ERRORS[code].cure,
        "code": code.value,
        "timestamp": "2026-01-01T12:00:00.000000Z",
    }
