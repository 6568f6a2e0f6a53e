"""The manifest beside every backup: its id, its origin, and the digests of its content and of its data file.

A manifest never changes after it was written. The parser rejects duplicate keys, floating-point numbers and unknown
format versions. Signatures cover the JSON object in the file, so callers that check them keep that object. Fields of
a later version are preserved, both in the object and in the model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from gateway_api.clock import rfc3339
from gateway_api.contract import BackupLevel, BackupRecord, Counts, Issue, RequestId, Sha256
from gateway_api.repository.signing import KEY_ID
from gateway_api.storage.layout import GZIP_SUFFIX, MANIFEST_SUFFIX
from gateway_api.storage.paths import parse_relative
from gateway_api.storage.state_dir import dump_record

FORMAT_VERSION: Final = 1
MAX_MANIFEST_BYTES: Final = 2 * 1024 * 1024
MAX_NESTING: Final = 32
"""Levels of nesting. This server writes four; far deeper JSON could be parsed but not written again."""


class InvalidManifest(Exception):  # noqa: N818 - reads as what it says
    """The bytes are not a manifest of a supported version."""


class Manifest(BaseModel):
    """The fields of a manifest.

    ``path`` is the original path of the data file; both files may have been moved since. ``content_*`` describe the
    config, ``stored_*`` the data file, which may be compressed and encrypted. Sizes are in bytes.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    format_version: int
    id: RequestId
    path: str
    request_id: RequestId | None = None
    request_sha256: Sha256 | None = None
    gateway_id: str
    volume_id: str
    gateway_version: str | None = None
    created: datetime
    content_sha256: Sha256
    content_bytes: int
    stored_sha256: Sha256
    stored_bytes: int
    compression: str
    recipients: list[str] = []
    counts: Counts
    issues: list[Issue] = []
    requested_by: str | None = None
    proof: str | None = None
    audit_head: Sha256 | None = None
    audit_lines: int | None = None
    metadata: dict[str, str] = {}
    record_name: str | None = None


class Tombstone(Manifest):
    """The manifest of a backup that was deleted or replaced.

    ``deleted`` is when that happened. ``replaced_by`` is the id of the backup that has its path now, None after a
    deletion.
    """

    deleted: datetime | None = None
    replaced_by: str | None = None


@dataclass(frozen=True, slots=True)
class LocatedBackup:
    """A manifest and the current path of its data file, as path components below the backup directory."""

    manifest: Manifest
    parts: tuple[str, ...]

    @property
    def path(self) -> str:
        """The data file's path, relative to the backup directory."""
        return "/".join(self.parts)

    @property
    def is_at_own_path(self) -> bool:
        """Whether the data file is where the backup was created, perhaps gzipped since."""
        return self.path in (self.manifest.path, self.manifest.path + GZIP_SUFFIX)


def manifest_name(name: str) -> str:
    """The file name of the manifest for the data file ``name``."""
    return name + MANIFEST_SUFFIX


def dump(manifest: Manifest) -> bytes:
    """The JSON text of a manifest, indented and with sorted keys."""
    return dump_record(manifest.model_dump(mode="json"))


def dump_tombstone(received: dict[str, Any], deleted: datetime, replaced_by: str | None = None) -> bytes:
    """The JSON text of a tombstone: the object in the manifest's file, with the two fields of a tombstone."""
    return dump_record({**received, "deleted": rfc3339(deleted), "replaced_by": replaced_by})


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise InvalidManifest("an object contains a duplicate key")
    return result


def _no_float(_: str) -> float:
    # No field is a float, and JSON libraries can disagree on the canonical form of one.
    raise InvalidManifest("a manifest must not contain floating-point numbers")


def parse_json(data: bytes) -> dict[str, Any]:
    """The JSON object in ``data``, unchanged, which is what the signatures cover. Raises :class:`InvalidManifest`."""
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_float=_no_float, parse_constant=_no_float
        )
    except (ValueError, RecursionError):
        raise InvalidManifest("not a manifest") from None
    if not isinstance(value, dict):
        raise InvalidManifest("not a manifest")
    # Both checks walk the whole value, so they run only where the bytes allow a violation.
    if data.count(b"{") + data.count(b"[") > MAX_NESTING:
        _reject_deep_nesting(value)
    if b"\\u" in data:
        _reject_lone_surrogates(value)
    return value


def _reject_deep_nesting(value: Any) -> None:
    level = [value]
    for _ in range(MAX_NESTING):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    raise InvalidManifest(f"a manifest has at most {MAX_NESTING} levels of nesting")


def _reject_lone_surrogates(value: Any) -> None:
    """JSON can escape one half of a surrogate pair. UTF-8 cannot encode it, and RFC 8785 has no canonical form."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidManifest("a manifest must not contain a lone surrogate") from None


def validate(received: dict[str, Any]) -> Manifest:
    """The manifest as a model, from its JSON object. Raises :class:`InvalidManifest`."""
    try:
        manifest = Manifest.model_validate(received)
    except (ValidationError, RecursionError):
        raise InvalidManifest("not a manifest") from None
    if manifest.format_version != FORMAT_VERSION or manifest.compression not in ("none", "gzip", "zstd"):
        raise InvalidManifest("the manifest has an unsupported version or compression")
    return manifest


def to_backup_record(located: LocatedBackup) -> BackupRecord:
    """The backup as the API returns it, from its manifest alone and without a verification."""
    manifest = located.manifest
    proven = manifest.proof in ("payload", "recipient")
    return BackupRecord.model_validate(
        {
            **manifest.model_dump(exclude={"id", "path", "signatures", "signed_by", "verification"}),
            "backup_id": manifest.id,
            "path": located.path,
            "level": BackupLevel.Verified if proven else BackupLevel.Stored,
            "proof": manifest.proof if proven else None,
            "signed_by": _signing_key_ids(manifest),
        }
    )


def _signing_key_ids(manifest: Manifest) -> list[str]:
    """The key ids in the signatures, which are not checked here."""
    entries = (manifest.model_extra or {}).get("signatures")
    key_ids = [entry.get("key_id") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [key_id for key_id in key_ids if isinstance(key_id, str) and KEY_ID.fullmatch(key_id)]


def target_parts(manifest: Manifest) -> tuple[str, ...]:
    """The components of the original path of the data file. Raises ``PathNotAllowed``."""
    return parse_relative(manifest.path)
