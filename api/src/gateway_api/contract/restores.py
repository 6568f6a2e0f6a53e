"""The bodies about restores and resets: what is asked, what would change, and what became of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StrictBool, WithJsonSchema, model_validator

from .common import OPEN, REQUEST_ID_PATTERN, STRICT, Counts, Identity, Issue, KeyId, RequestId, Sha256, SignatureState


class RestoreRequest(BaseModel):
    """One of ``input_file`` (absolute or relative to the backup directory) and ``backup_id``. Without ``request_id``
    the restore commits itself, as the seed's scripts expect; with one, the caller commits or rolls back."""

    model_config = STRICT
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

    model_config = STRICT
    confirm: Annotated[Any, WithJsonSchema({"const": True, "type": "boolean"})] = None
    rotate_admin_key: StrictBool = False
    safety_backup: StrictBool | Literal["required"] = True
    supersede: StrictBool = False
    request_id: RequestId | None = None


class EntryDiff(BaseModel):
    """How many entries of a section a restore adds, removes and changes; they are told apart by id."""

    model_config = OPEN
    added: int
    removed: int
    changed: int


class KeyDiff(EntryDiff):
    """API keys as well by whether they work: ``disabled`` ones no longer do, ``enabled`` ones do again."""

    disabled: int
    enabled: int


class ConfigDiff(BaseModel):
    """What a restore would change, in numbers. ``settings_changed`` names sections (``other``: of another name)."""

    model_config = OPEN
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

    model_config = OPEN
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

    model_config = OPEN
    kind: Literal["backup", "raw", "missing", "kept", "none"]
    path: str | None = None
    backup_id: str | None = None


class RestoreResult(BaseModel):
    """What a restore or a reset did, or how it ended. Digests are of the config file's bytes; ``source_path`` is empty
    for a reset."""

    model_config = OPEN
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


class RollbackRequest(BaseModel):
    """``force`` rolls back although the live config is no longer what the restore wrote."""

    model_config = STRICT
    force: bool = False
