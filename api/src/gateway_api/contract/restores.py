"""The models of the restore and reset endpoints: requests, dry-run plans and results."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StrictBool, WithJsonSchema, model_validator

from .common import (
    OPEN,
    REQUEST_ID_PATTERN,
    STRICT,
    Counts,
    ExpectedSha256,
    Identity,
    Issue,
    KeyId,
    RequestId,
    SignatureState,
)


class RestoreRequest(BaseModel):
    """A restore. Give exactly one of ``input_file`` and ``backup_id``."""

    model_config = STRICT
    input_file: str | None = Field(
        default=None, min_length=1, max_length=4096, description="Absolute, or relative to the backup directory."
    )
    backup_id: str | None = Field(default=None, pattern=REQUEST_ID_PATTERN)
    expected_sha256: ExpectedSha256 | None = Field(
        default=None,
        description="Refuse the restore if neither the file nor the config in it has this SHA-256. Upper case and the "
        "prefix `sha256:` are accepted.",
    )
    safety_backup: bool | Literal["required"] = Field(
        default=True,
        description="Back up the live config first. `required`: refuse the restore if that fails. `false`: make no "
        "backup first; the previous config is kept until a backup holds it.",
    )
    dry_run: bool = Field(default=False, description="Only return what the restore would change.")
    supersede: bool = Field(default=False, description="Commit an earlier restore that is still pending.")
    allow_issues: bool = Field(default=False, description="Restore the config although it adds dangling references.")
    accept_unsigned: bool = Field(
        default=False, description="Restore a backup without a trusted signature, if the server allows it."
    )
    trust_key_id: KeyId | None = Field(
        default=None, description="Accept only a signature of this key, which the server must trust."
    )
    identity: Identity | None = None
    request_id: RequestId | None = Field(
        default=None,
        description="With a request_id the caller commits or rolls back the restore. Without one it commits itself.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> RestoreRequest:
        if (self.input_file is None) == (self.backup_id is None):
            raise ValueError("give exactly one of input_file and backup_id")
        return self


class ResetRequest(BaseModel):
    """A reset to the default config. The other options are those of a restore, and request ids are shared with it."""

    model_config = STRICT
    confirm: Annotated[Any, WithJsonSchema({"const": True, "type": "boolean"})] = Field(
        default=None, description="Must be `true`."
    )
    rotate_admin_key: StrictBool = Field(
        default=False, description="Create a new admin key. It is written only to the config and never returned."
    )
    safety_backup: StrictBool | Literal["required"] = True
    dry_run: StrictBool = Field(default=False, description="Only return what the reset would change.")
    supersede: StrictBool = False
    request_id: RequestId | None = None


class EntryCounts(BaseModel):
    """How many entries of a section a restore adds, removes and changes. Entries are matched by id."""

    model_config = OPEN
    added: int
    removed: int
    changed: int


class EntryDiff(EntryCounts):
    """The same with the names of the first 50 entries of each kind, sorted.

    The name of a user is the email, of a project and of a config its name; without one it is the id. A name has at most
    128 characters; those that cannot be printed are replaced by a question mark.
    """

    added_names: list[str] = []
    removed_names: list[str] = []
    changed_names: list[str] = []


class KeyDiff(EntryCounts):
    """The counts of API keys, with the number of keys that a restore disables and enables. Keys have no name."""

    disabled: int
    enabled: int


class ConfigDiff(BaseModel):
    """The changes that a restore would make: counts and names, no values. Credentials count as changed or not."""

    model_config = OPEN
    admin_key_changes: bool
    configs: EntryDiff
    projects: EntryDiff
    users: EntryDiff
    emails_added: int
    emails_removed: int
    api_keys: KeyDiff
    settings_changed: list[str] = Field(
        description="Names of changed sections. `other`: a section with an unlisted name."
    )


class RestorePlan(BaseModel):
    """The result of a dry run."""

    model_config = OPEN
    dry_run: Literal[True] = True
    operation: Literal["restore", "reset"] = "restore"
    source_path: str = Field(description="Empty for a reset.")
    source_backup_id: str | None = None
    source_gateway_id: str | None = Field(
        default=None, description="The gateway that the manifest names. Absent for a file without a manifest."
    )
    source_gateway_version: str | None = Field(
        default=None, description="The gateway version that the manifest names, if it names one."
    )
    signature: SignatureState | None = None
    previous_sha256: str | None = None
    restored_sha256: str
    sections_digest: str
    counts: Counts
    issues: list[Issue] = []
    compared_with: Literal["config", "nothing"] = Field(
        description="`nothing`: the live config is missing or cannot be read."
    )
    key_remains_accepted: bool = Field(
        description="Whether the admin key of this request is accepted after the restore: it is in the key file, or it "
        "is a key of the restored config."
    )
    diff: ConfigDiff


class RestoreState(StrEnum):
    """The state of a restore. ``applied``: the config is replaced; a commit or a rollback is pending."""

    prepared = "prepared"
    applied = "applied"
    committed = "committed"
    rolled_back = "rolled_back"


class SafetyBackup(BaseModel):
    """Where the config that was live before a restore is.

    Values of ``kind``:

    - ``backup``: in a complete backup.
    - ``raw``: its bytes are in a file without a manifest, because it cannot be parsed.
    - ``missing``: there was no config.
    - ``kept``: only in a file beside the live config. It stays there until the server could make a backup of it, which
      is then `safety/` and the name of that file.
    """

    model_config = OPEN
    kind: Literal["backup", "raw", "missing", "kept"]
    path: str | None = Field(
        default=None, description="Relative to the backup directory; of `kept` the absolute path of the file."
    )
    backup_id: str | None = None


class RestoreResult(BaseModel):
    """The state and the result of a restore or reset. Digests are those of the config file."""

    model_config = OPEN
    request_id: str
    operation: Literal["restore", "reset"] = "restore"
    state: RestoreState
    source_path: str = Field(description="Empty for a reset.")
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
    replayed: bool = Field(
        default=False, description="True if an earlier request with this request_id made the restore."
    )


class RollbackRequest(BaseModel):
    """Options of a rollback request."""

    model_config = STRICT
    force: bool = Field(default=False, description="Roll back although the live config changed after the restore.")
