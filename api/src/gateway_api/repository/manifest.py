"""The immutable description beside every backup: what it holds, in digests, and who may call it its own.

Parsed strictly (duplicate keys, floats and unknown versions are refused) and kept as the received object, so that
fields of a later version, signatures among them, survive being read by this one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from gateway_api.contract import BackupLevel, BackupRecord, Counts, Issue, RequestId, Sha256
from gateway_api.repository.signing import KEY_ID
from gateway_api.storage.layout import MANIFEST_SUFFIX
from gateway_api.storage.paths import parse_relative
from gateway_api.storage.state_dir import dump_record

FORMAT_VERSION: Final = 1
MAX_MANIFEST_BYTES: Final = 2 * 1024 * 1024
MAX_DEPTH: Final = 32
"""Ours are four levels deep. What is much deeper cannot be written again."""


class InvalidManifest(Exception):  # noqa: N818 - reads as what it says
    """The bytes are no manifest of a version that this server knows."""


class Manifest(BaseModel):
    """What a manifest says. ``path`` is where it was written; the file may have been moved together with it."""

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
    metadata: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class LocatedBackup:
    """A manifest and the directory it was found in."""

    manifest: Manifest
    parts: tuple[str, ...]

    @property
    def path(self) -> str:
        """The data file's path, relative to the backup directory."""
        return "/".join(self.parts)


def manifest_name(name: str) -> str:
    """The manifest's name beside the data file ``name``."""
    return name + MANIFEST_SUFFIX


def dump(manifest: Manifest) -> bytes:
    """The bytes that are written: readable, keys sorted."""
    return dump_record(manifest.model_dump(mode="json"))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise InvalidManifest("a key stands twice")
    return result


def _no_float(_: str) -> float:
    raise InvalidManifest("a manifest holds no floating point numbers")


def load(data: bytes) -> Manifest:
    """Parses a manifest. Raises :class:`InvalidManifest`."""
    return model(receive(data))


def receive(data: bytes) -> dict[str, Any]:
    """The object as it was received, which is what its signatures are checked over. Raises :class:`InvalidManifest`."""
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_float=_no_float, parse_constant=_no_float
        )
    except (ValueError, RecursionError):
        raise InvalidManifest("not a manifest") from None
    if not isinstance(value, dict):
        raise InvalidManifest("not a manifest")
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH:
        _refuse_deep(value)
    if b"\\u" in data:
        _refuse_halves(value)
    return value


def _refuse_deep(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    raise InvalidManifest("a manifest is not nested so deeply")


def _refuse_halves(value: Any) -> None:
    """Half a Unicode character can be escaped in JSON, but stands in no UTF-8, and RFC 8785 knows no form of it."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidManifest("a manifest holds half a Unicode character") from None


def model(received: dict[str, Any]) -> Manifest:
    """The manifest that a received object is. Raises :class:`InvalidManifest`."""
    try:
        manifest = Manifest.model_validate(received)
    except (ValidationError, RecursionError):
        raise InvalidManifest("not a manifest") from None
    if manifest.format_version != FORMAT_VERSION or manifest.compression not in ("none", "gzip", "zstd"):
        raise InvalidManifest("a manifest of a version this server does not know")
    return manifest


def record_of(located: LocatedBackup) -> BackupRecord:
    """The manifest as the API shows it."""
    found = located.manifest
    proven = found.proof in ("payload", "recipient")
    return BackupRecord.model_validate(
        {
            **found.model_dump(exclude={"id", "path", "signatures", "signed_by", "verification"}),
            "backup_id": found.id,
            "path": located.path,
            "level": BackupLevel.Verified if proven else BackupLevel.Stored,
            "proof": found.proof if proven else None,
            "signed_by": _signed_by(found),
        }
    )


def _signed_by(manifest: Manifest) -> list[str]:
    entries = (manifest.model_extra or {}).get("signatures")
    named = [entry.get("key_id") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [key_id for key_id in named if isinstance(key_id, str) and KEY_ID.fullmatch(key_id)]


def target_parts(manifest: Manifest) -> tuple[str, ...]:
    """The components of the path that the manifest was made for. Raises ``PathNotAllowed``."""
    return parse_relative(manifest.path)
