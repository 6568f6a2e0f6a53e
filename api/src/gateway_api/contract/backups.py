"""The bodies about backups: making, listing, verifying, moving and deleting them."""

from __future__ import annotations

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .common import OPEN, STRICT, Counts, Identity, Issue, RequestId, SignatureState

METADATA_LIMIT_BYTES: Final = 4096


class BackupRequest(BaseModel):
    """One of ``output_file`` (absolute, inside the backup directory, replaced atomically) and ``path`` (relative to
    it, never replaced unless ``overwrite``). The suffix decides: ``.json``, ``.json.gz``, ``.json.zst``, each also with
    ``.age``; else plain."""

    model_config = STRICT
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


class Problem(BaseModel):
    """Something that a verify found. ``code`` is an error code: what a restore would answer."""

    model_config = OPEN
    code: str
    message: str


class Verification(BaseModel):
    """What one verify found. ``level`` is absent when the file is not what its manifest says."""

    model_config = OPEN
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
    """A backup as its manifest describes it, and how far it is proven by now. Sizes in bytes; ``path`` is relative to
    the backup directory."""

    model_config = OPEN
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
    level: BackupLevel | None = Field(
        description="As the manifest says, or as the last verify found; absent when the file is not what it should be."
    )
    proof: Proof | None = None
    metadata: dict[str, str] = {}
    verification: Verification | None = Field(default=None, description="What the last verify found.")


class BackupResult(BackupRecord):
    """``replayed``: the same ``request_id`` had already made this backup, and nothing was done now."""

    replayed: bool = False


class BackupEntry(BaseModel):
    """A file in the backup directory. ``kind``: ``backup`` (ours, beside its manifest), ``compressed`` (ours, gzipped
    by hand since), ``changed`` (not the file that the manifest beside it describes), ``foreign`` (no manifest is its
    own: it can be restored on its content). ``record`` stands for the first two."""

    model_config = OPEN
    kind: Literal["backup", "compressed", "changed", "foreign"]
    path: str
    size_bytes: int
    modified: datetime
    backup_id: str | None = None
    record: BackupRecord | None = None


class BackupPage(BaseModel):
    """A page of the inventory, by path. ``continue`` is the token of the next page, absent on the last."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True, frozen=True)
    items: list[BackupEntry]
    continue_token: str | None = Field(None, alias="continue")


class InspectRequest(BaseModel):
    """``path`` is relative to the backup directory. Without an ``identity`` an encrypted file stays closed."""

    model_config = STRICT
    path: str = Field(min_length=1, max_length=4096)
    identity: Identity | None = None


class FileInspection(BaseModel):
    """What a file in the backup directory holds, whoever made it. ``content_sha256`` is of what it holds when unpacked;
    that and what follows from it is absent for a file that cannot be opened. ``volume_id``: of the volume it lies on
    now."""

    model_config = OPEN
    path: str
    kind: Literal["backup", "compressed", "changed", "foreign"]
    backup_id: str | None = None
    gateway_id: str | None = None
    volume_id: str | None = None
    modified: datetime
    stored_sha256: str
    stored_bytes: int
    content_sha256: str | None = None
    content_bytes: int | None = None
    counts: Counts | None = None
    issues: list[Issue] = []
    level: BackupLevel | None = Field(default=None, description="Absent when something is wrong with it.")
    problems: list[Problem] = []
    verification: Verification | None = Field(default=None, description="What the last verify found.")


class UploadResult(BaseModel):
    """How far an upload is. ``stored``: it is a backup now, ``record``; ``partial``: go on at ``received_bytes``."""

    model_config = OPEN
    backup_id: str
    state: Literal["partial", "stored"]
    received_bytes: int
    expected_bytes: int
    record: BackupRecord | None = None
    replayed: bool = False


class DeleteResult(BaseModel):
    """``existed`` is false when the backup was gone already, which is a success as well."""

    model_config = OPEN
    backup_id: str
    existed: bool


class VerifyRequest(BaseModel):
    """Without an ``identity`` an encrypted file is checked by its digests and signature alone."""

    model_config = STRICT
    identity: Identity | None = None


def backup_id_for(volume_id: str, request_id: str) -> str:
    """The id of the backup that a request makes on a volume: known before the call, and after its answer is lost."""
    return hashlib.sha256(f"{volume_id}\n{request_id}".encode()).hexdigest()[:32]
