"""The models of the backup endpoints: create, list, inspect, verify, upload and delete."""

from __future__ import annotations

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from .common import OPEN, STRICT, Counts, Identity, Issue, RequestId, SignatureState

METADATA_LIMIT_BYTES: Final = 4096

RecordName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$")
]
"""``NAMESPACE/NAME``: the Kubernetes object that records the backup."""


class BackupRequest(BaseModel):
    """A new backup. Give exactly one of ``output_file`` and ``path``.

    The suffix selects the format: ``.json``, ``.json.gz`` or ``.json.zst``, each optionally followed by ``.age``. Any
    other suffix is plain JSON.
    """

    model_config = STRICT
    output_file: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="Absolute path inside the backup directory. An existing file is replaced atomically.",
    )
    path: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="Path relative to the backup directory. An existing file is replaced only with `overwrite`.",
    )
    overwrite: bool = False
    request_id: RequestId | None = Field(
        default=None, description="A repeated request with the same id returns the first result."
    )
    metadata: dict[str, str] = Field(default={}, description="At most 4096 bytes of keys and values together.")
    record_name: RecordName | None = Field(
        default=None,
        description="`NAMESPACE/NAME` of the object that records the backup. `NameUsed` if the volume holds a backup "
        "of this name that another request made.",
    )

    @model_validator(mode="after")
    def _one_target_and_small_metadata(self) -> BackupRequest:
        if (self.output_file is None) == (self.path is None):
            raise ValueError("give exactly one of output_file and path")
        try:
            size = sum(len(k.encode()) + len(v.encode()) for k, v in self.metadata.items())
        except UnicodeEncodeError:
            raise ValueError("metadata contains half a Unicode character") from None
        if size > METADATA_LIMIT_BYTES:
            raise ValueError(f"metadata is larger than {METADATA_LIMIT_BYTES} bytes")
        return self


class BackupLevel(StrEnum):
    """How thoroughly a backup was checked.

    ``Stored``: its digests matched when it was read back. ``Verified``: it was also parsed and its counts matched.
    """

    Stored = "Stored"
    Verified = "Verified"


Proof = Literal["payload", "recipient"]
"""``payload``: decoded by the server that wrote it. ``recipient``: also decrypted with a recipient's identity."""


class Problem(BaseModel):
    """A problem that a verification detected."""

    model_config = OPEN
    code: str = Field(description="The error code that a restore would return.")
    message: str


class Verification(BaseModel):
    """The result of a verification."""

    model_config = OPEN
    backup_id: str
    stored_sha256: str
    checked: datetime
    level: BackupLevel | None = Field(default=None, description="Absent if the file does not match its manifest.")
    proof: Proof | None = None
    signature: SignatureState
    signed_by: list[str] = []
    counts: Counts | None = None
    problems: list[Problem] = []


class VerificationResult(Verification):
    """The result of a verification that was just made."""

    recorded: bool = Field(
        default=True, description="False if the result could not be written to the volume. It is still valid."
    )


class BackupRecord(BaseModel):
    """A backup as its manifest and its last verification describe it. Sizes are in bytes."""

    model_config = OPEN
    backup_id: str
    path: str = Field(description="Path relative to the backup directory.")
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
    recipients: list[str] = Field(
        default=[], description="Fingerprints of its age recipients. Empty if it is not encrypted."
    )
    signed_by: list[str] = Field(default=[], description="Key ids from its signatures. A verification checks them.")
    level: BackupLevel | None = Field(
        description="From the last verification or else the manifest. Absent if the file does not match its manifest."
    )
    proof: Proof | None = None
    metadata: dict[str, str] = {}
    record_name: str | None = Field(default=None, description="`record_name` of the request that created it.")
    verification: Verification | None = Field(default=None, description="The result of the last verification.")
    problems: list[Problem] = Field(
        default=[], description="What is wrong with the file, which is there. Only for a single backup."
    )


class BackupResult(BackupRecord):
    """The backup that a request created."""

    replayed: bool = Field(
        default=False, description="True if an earlier request with this request_id created the backup."
    )


FileKind = Literal["backup", "compressed", "changed", "foreign", "unusable"]


class BackupEntry(BaseModel):
    """A file in the backup directory.

    Values of ``kind``:

    - ``backup``: it matches the manifest beside it.
    - ``compressed``: it is a backup that a person has gzipped.
    - ``changed``: it differs from the manifest beside it.
    - ``foreign``: it has no manifest. It can be restored if its content is a config.
    - ``unusable``: it is there, but it cannot be read. ``problems`` has the reason.

    ``problems`` is not empty if something is wrong with the file, whatever its kind. Of a file with a second hard link
    only a backup can be restored: its manifest proves the bytes.
    """

    model_config = OPEN
    kind: FileKind
    path: str
    size_bytes: int
    modified: datetime
    backup_id: str | None = None
    record: BackupRecord | None = Field(default=None, description="Present for the kinds `backup` and `compressed`.")
    problems: list[Problem] = Field(default=[], description="What is wrong with the file.")


class BackupPage(BaseModel):
    """One page of the files in the backup directory, sorted by path."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True, frozen=True)
    items: list[BackupEntry]
    volume_id: str | None = Field(default=None, description="The id of the volume. Absent if it has none.")
    listed_at: datetime = Field(description="The page shows every change of the volume before this time.")
    continue_token: str | None = Field(
        default=None, alias="continue", description="Token of the next page. Absent on the last page."
    )


class InspectRequest(BaseModel):
    """The file to inspect. An encrypted file is opened only with an ``identity``."""

    model_config = STRICT
    path: str = Field(min_length=1, max_length=4096, description="Path relative to the backup directory.")
    identity: Identity | None = None


class FileInspection(BaseModel):
    """The content of any file in the backup directory, with or without a manifest.

    ``content_sha256``, ``content_bytes`` and ``counts`` are absent if the file cannot be opened.
    """

    model_config = OPEN
    path: str
    kind: FileKind
    backup_id: str | None = None
    gateway_id: str | None = None
    volume_id: str | None = Field(default=None, description="The id of the volume that contains the file now.")
    modified: datetime
    stored_sha256: str
    stored_bytes: int
    content_sha256: str | None = Field(default=None, description="SHA-256 of the decrypted and decompressed content.")
    content_bytes: int | None = None
    counts: Counts | None = None
    issues: list[Issue] = []
    level: BackupLevel | None = Field(default=None, description="Absent if there are problems.")
    problems: list[Problem] = []
    verification: Verification | None = Field(default=None, description="The result of the last verification.")


class UploadResult(BaseModel):
    """The progress of an upload.

    ``partial``: continue at the offset ``received_bytes``. ``stored``: the upload is complete, and ``record`` describes
    the backup.
    """

    model_config = OPEN
    backup_id: str
    state: Literal["partial", "stored"]
    received_bytes: int
    expected_bytes: int
    record: BackupRecord | None = None
    replayed: bool = False


class DeleteResult(BaseModel):
    """The result of a deletion. A repeated deletion succeeds as well."""

    model_config = OPEN
    backup_id: str
    existed: bool = Field(description="False if the file did not exist.")


class VerifyRequest(BaseModel):
    """Options of a verification.

    Without an ``identity`` only the digests and the signature of an encrypted file are checked.
    """

    model_config = STRICT
    identity: Identity | None = None


def backup_id_for(volume_id: str, request_id: str) -> str:
    """The id of the backup that a request creates on a volume, 32 hex digits.

    A client can compute it before the call and find the backup even if the answer is lost.
    """
    return hashlib.sha256(f"{volume_id}\n{request_id}".encode()).hexdigest()[:32]
