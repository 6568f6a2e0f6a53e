"""The wire contract of the admin API: paths, error codes and models, in pydantic alone.

The one module of the API that the operator may import, so that its image carries no web framework. A change
here is a change for every client: add fields, never give an old one another meaning.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StrictBool,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

DEFAULT_PORT: Final = 8001
DEFAULT_TLS_PORT: Final = 8443

HEALTH_PATH: Final = "/health"
READY_PATH: Final = "/ready"
METRICS_PATH: Final = "/metrics"
API_PREFIX: Final = "/api/v1/system"
SYSTEM_HEALTH_PATH: Final = f"{API_PREFIX}/health"
BACKUP_PATH: Final = f"{API_PREFIX}/backup"
BACKUPS_PATH: Final = f"{API_PREFIX}/backups"
RESTORE_PATH: Final = f"{API_PREFIX}/restore"
RESET_PATH: Final = f"{API_PREFIX}/reset"
RESTORES_PATH: Final = f"{API_PREFIX}/restores"

REQUEST_ID_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"
SHA256_PATTERN: Final = r"^[0-9a-f]{64}$"
METADATA_LIMIT_BYTES: Final = 4096
REQUEST_ID_HEADER: Final = "X-Request-ID"
"""Names one HTTP request in the logs; it has nothing to do with a body's ``request_id``."""


class ErrorCode(StrEnum):
    """Every way in which a call can fail. Stable: alerts, runbooks and the operator are keyed by them."""

    Unauthorized = "Unauthorized"
    TooManyFailures = "TooManyFailures"
    RouteNotFound = "RouteNotFound"
    MethodNotAllowed = "MethodNotAllowed"
    BodyTooLarge = "BodyTooLarge"
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
    ErrorCode.DurabilityUnknown: ErrorSpec(
        500, True, "The disk did not confirm a write: look at the volume, then repeat."
    ),
}

_Strict = ConfigDict(extra="forbid", str_strip_whitespace=False)
_Open = ConfigDict(extra="ignore")

T = TypeVar("T")

RequestId = Annotated[str, StringConstraints(pattern=REQUEST_ID_PATTERN)]
Sha256 = Annotated[str, StringConstraints(pattern=SHA256_PATTERN)]
KeyId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Identity = Annotated[
    SecretStr,
    Field(
        min_length=1,
        max_length=8192,
        description="An age identity (AGE-SECRET-KEY-1…), or a file of several. Kept nowhere, and no part of what "
        "tells a repeated request from another.",
    ),
]


class Envelope(BaseModel, Generic[T]):
    """The body of every success."""

    model_config = _Open
    message: str
    data: T
    timestamp: datetime


class ErrorBody(BaseModel):
    """The body of every error. ``error`` names the operation, ``detail`` says what is wrong, ``code`` is stable."""

    model_config = _Open
    error: str
    detail: str
    code: str
    timestamp: datetime


class Counts(BaseModel):
    """How many of each thing a config holds."""

    model_config = _Open
    configs: int = 0
    projects: int = 0
    users: int = 0
    api_keys: int = 0
    disabled_api_keys: int = 0


class Issue(BaseModel):
    """A dangling reference or another flaw in a config that can still be served. Never holds a key.

    ``where`` is a path of section and id (an API key is named by a short digest), so that two issues are the same
    exactly if ``code`` and ``where`` are.
    """

    model_config = _Open
    code: str
    where: str
    message: str


class HealthData(BaseModel):
    """What the probes read."""

    model_config = _Open
    version: str
    config_path: str


class ReadyData(BaseModel):
    """A backup could be taken now."""

    model_config = _Open
    ready: Literal[True] = True


class VolumeSpace(BaseModel):
    """Bytes on the backup volume, as an unprivileged process may use them."""

    model_config = _Open
    free_bytes: int
    total_bytes: int


class PendingRestore(BaseModel):
    """A restore that nobody has committed or rolled back yet."""

    model_config = _Open
    request_id: str
    state: str


class SystemStatus(StrEnum):
    """``degraded``: it serves, with dangling references or a nearly full volume; ``unhealthy``: no usable config."""

    healthy = "healthy"
    degraded = "degraded"
    unhealthy = "unhealthy"


class SystemHealthData(BaseModel):
    """The detailed health. ``config_digest`` is the SHA-256 of the file's bytes, ``sections_digest`` that of its
    canonical data sections (mcp_configs, projects, users, apikeys), both absent when the config cannot be read."""

    model_config = _Open
    status: SystemStatus
    version: str
    gateway_version: str | None = None
    config_path: str
    config_valid: bool
    config_digest: str | None = None
    sections_digest: str | None = None
    total_configs: int
    total_projects: int
    total_users: int
    total_api_keys: int
    cache_enabled: bool
    cache_type: Literal["local", "external"]
    telemetry_enabled: bool
    guardrails_configured: bool
    uptime_seconds: float
    gateway_id: str | None = None
    volume_id: str | None = None
    pending_restore: PendingRestore | None = None
    issues: list[Issue] = []
    warnings: list[Issue] = []
    volume: VolumeSpace | None = None
    encryption: Literal["require", "allow"] = "allow"
    recipients: list[str] = Field(default=[], description="Fingerprints of those that backups are encrypted to.")
    signature_policy: Literal["require", "warn"] = "warn"


class BackupRequest(BaseModel):
    """One of ``output_file`` (absolute, inside the backup directory, replaced atomically) and ``path`` (relative to
    it, never replaced unless ``overwrite``). The suffix decides: ``.json``, ``.json.gz``, ``.json.zst``, each also with
    ``.age``; else plain."""

    model_config = _Strict
    output_file: str | None = Field(None, min_length=1, max_length=4096)
    path: str | None = Field(None, min_length=1, max_length=4096)
    overwrite: bool = False
    request_id: RequestId | None = None
    metadata: dict[str, str] = {}

    @model_validator(mode="after")
    def _one_target_and_small_metadata(self) -> BackupRequest:
        if (self.output_file is None) == (self.path is None):
            raise ValueError("give exactly one of output_file and path")
        try:
            size = sum(len(k.encode()) + len(v.encode()) for k, v in self.metadata.items())
        except UnicodeEncodeError:
            raise ValueError("metadata holds half a Unicode character") from None
        if size > METADATA_LIMIT_BYTES:
            raise ValueError(f"metadata is larger than {METADATA_LIMIT_BYTES} bytes")
        return self


class BackupLevel(StrEnum):
    """How far a backup is proven: ``Stored`` (digests match after read-back) < ``Verified`` (parsed, counts equal)."""

    Stored = "Stored"
    Verified = "Verified"


Proof = Literal["payload", "recipient"]
"""``payload``: read back and opened by the one who wrote it; ``recipient``: also opened with a real identity."""
SignatureState = Literal["valid", "unsigned", "unknown", "invalid"]
"""``unknown``: signed, but by no key that this server trusts."""


class Problem(BaseModel):
    """Something that a verify found. ``code`` is an error code: what a restore would answer."""

    model_config = _Open
    code: str
    message: str


class Verification(BaseModel):
    """What one verify found. ``level`` is absent when the file is not what its manifest says."""

    model_config = _Open
    backup_id: str
    stored_sha256: str
    checked: datetime
    level: BackupLevel | None = None
    proof: Proof | None = None
    signature: SignatureState
    signed_by: list[str] = []
    counts: Counts | None = None
    problems: list[Problem] = []


class VerificationResult(Verification):
    """``recorded`` is false when the volume did not take the note; what was found holds all the same."""

    recorded: bool = True


class BackupRecord(BaseModel):
    """A backup as its manifest describes it. Sizes in bytes; ``path`` is relative to the backup directory."""

    model_config = _Open
    backup_id: str
    path: str
    request_id: str | None = None
    created: datetime
    gateway_id: str
    volume_id: str
    gateway_version: str | None = None
    content_sha256: str
    content_bytes: int
    stored_sha256: str
    stored_bytes: int
    compression: Literal["none", "gzip", "zstd"]
    counts: Counts
    issues: list[Issue] = []
    recipients: list[str] = Field(default=[], description="Fingerprints of those it is encrypted to; none: it is not.")
    signed_by: list[str] = Field(default=[], description="Key ids that the signatures name; a verify checks them.")
    level: BackupLevel
    proof: Proof | None = None
    metadata: dict[str, str] = {}
    verification: Verification | None = Field(default=None, description="What the last verify of this very file found.")


class BackupResult(BackupRecord):
    """``replayed``: the same ``request_id`` had already made this backup, and nothing was done now."""

    replayed: bool = False


class BackupEntry(BaseModel):
    """A file in the backup directory. ``kind``: ``backup`` (ours, beside its manifest), ``compressed`` (ours, gzipped
    by hand since), ``changed`` (not the file that the manifest beside it describes), ``foreign`` (no manifest is its
    own: it can be restored on its content). ``record`` stands for the first two."""

    model_config = _Open
    kind: Literal["backup", "compressed", "changed", "foreign"]
    path: str
    size_bytes: int
    modified: datetime
    backup_id: str | None = None
    record: BackupRecord | None = None


class BackupPage(BaseModel):
    """A page of the inventory, by path. ``continue`` is the token of the next page, absent on the last."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)
    items: list[BackupEntry]
    continue_token: str | None = Field(None, alias="continue")


class UploadResult(BaseModel):
    """How far an upload is. ``stored``: it is a backup now, ``record``; ``partial``: go on at ``received_bytes``."""

    model_config = _Open
    backup_id: str
    state: Literal["partial", "stored"]
    received_bytes: int
    expected_bytes: int
    record: BackupRecord | None = None
    replayed: bool = False


class DeleteResult(BaseModel):
    """``existed`` is false when the backup was gone already, which is a success as well."""

    model_config = _Open
    backup_id: str
    existed: bool


class RestoreRequest(BaseModel):
    """One of ``input_file`` (absolute or relative to the backup directory) and ``backup_id``. Without ``request_id``
    the restore commits itself, as the seed's scripts expect; with one, the caller commits or rolls back."""

    model_config = _Strict
    input_file: str | None = Field(None, min_length=1, max_length=4096)
    backup_id: str | None = Field(None, pattern=REQUEST_ID_PATTERN)
    expected_sha256: Sha256 | None = None
    safety_backup: bool | Literal["required"] = True
    dry_run: bool = False
    supersede: bool = False
    allow_issues: bool = False
    accept_unsigned: bool = Field(default=False, description="Honoured only where the server allows it.")
    trust_key_id: KeyId | None = Field(
        default=None, description="Restore only what this key, known to the server, has signed."
    )
    identity: Identity | None = None
    request_id: RequestId | None = None

    @model_validator(mode="after")
    def _one_source(self) -> RestoreRequest:
        if (self.input_file is None) == (self.backup_id is None):
            raise ValueError("give exactly one of input_file and backup_id")
        return self


class ResetRequest(BaseModel):
    """``confirm`` must be JSON's ``true`` itself. The admin key stays the same unless ``rotate_admin_key``: then the
    new one stands in the config alone. The rest as for a restore, with which a reset shares its request ids."""

    model_config = _Strict
    confirm: Annotated[Any, WithJsonSchema({"const": True, "type": "boolean"})] = None
    rotate_admin_key: StrictBool = False
    safety_backup: StrictBool | Literal["required"] = True
    supersede: StrictBool = False
    request_id: RequestId | None = None


class VerifyRequest(BaseModel):
    """Without an ``identity`` an encrypted file is checked by its digests and signature alone."""

    model_config = _Strict
    identity: Identity | None = None


class EntryDiff(BaseModel):
    """How many entries of a section a restore adds, removes and changes; they are told apart by id."""

    model_config = _Open
    added: int
    removed: int
    changed: int


class KeyDiff(EntryDiff):
    """API keys as well by whether they work: ``disabled`` ones no longer do, ``enabled`` ones do again."""

    disabled: int
    enabled: int


class ConfigDiff(BaseModel):
    """What a restore would change, in numbers. ``settings_changed`` names sections (``other``: of another name)."""

    model_config = _Open
    admin_key_changes: bool
    configs: EntryDiff
    projects: EntryDiff
    users: EntryDiff
    emails_added: int
    emails_removed: int
    api_keys: KeyDiff
    settings_changed: list[str]


class RestorePlan(BaseModel):
    """What a dry run found. ``compared_with`` is ``nothing`` when there is no config, or none that can be read."""

    model_config = _Open
    dry_run: Literal[True] = True
    source_path: str
    source_backup_id: str | None = None
    signature: SignatureState | None = None
    previous_sha256: str | None = None
    restored_sha256: str
    sections_digest: str
    counts: Counts
    issues: list[Issue] = []
    compared_with: Literal["config", "nothing"]
    diff: ConfigDiff


class RestoreState(StrEnum):
    """``applied`` waits for its commit or rollback."""

    prepared = "prepared"
    applied = "applied"
    committed = "committed"
    rolled_back = "rolled_back"


class SafetyBackup(BaseModel):
    """What was kept of the config before a restore. ``kind``: ``backup`` (a whole backup), ``raw`` (an unparsable
    config, byte for byte), ``missing`` (there was none), ``kept`` (only the kept previous config: the volume was
    full), ``none`` (not asked for)."""

    model_config = _Open
    kind: Literal["backup", "raw", "missing", "kept", "none"]
    path: str | None = None
    backup_id: str | None = None


class RestoreResult(BaseModel):
    """What a restore or a reset did, or how it ended. Digests are of the config file's bytes; ``source_path`` is empty
    for a reset."""

    model_config = _Open
    request_id: str
    operation: Literal["restore", "reset"] = "restore"
    state: RestoreState
    source_path: str
    source_backup_id: str | None = None
    previous_sha256: str | None = None
    restored_sha256: str
    sections_digest: str
    counts: Counts
    issues: list[Issue] = []
    safety_backup: SafetyBackup
    signature: SignatureState | None = None
    started: datetime
    finished: datetime | None = None
    replayed: bool = False


def backup_id_for(volume_id: str, request_id: str) -> str:
    """The id of the backup that a request makes on a volume: known before the call, and after its answer is lost."""
    return hashlib.sha256(f"{volume_id}\n{request_id}".encode()).hexdigest()[:32]


class RollbackRequest(BaseModel):
    """``force`` rolls back although the live config is no longer what the restore wrote."""

    model_config = _Strict
    force: bool = False


def example_error(code: ErrorCode) -> dict[str, Any]:
    """A body for the OpenAPI document."""
    return {
        "error": "System restore failed",
        "detail": ERRORS[code].cure,
        "code": code.value,
        "timestamp": "2026-01-01T12:00:00.000000Z",
    }
