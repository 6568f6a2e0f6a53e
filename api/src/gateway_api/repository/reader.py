"""Opens a backup file and decodes it to the config that it holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway_api.codec import compression
from gateway_api.codec.encode import stored_limit, unseal
from gateway_api.contract import ErrorCode, Issue, SignatureState
from gateway_api.errors import ApiError, backup_volume_error
from gateway_api.gateway_config.parser import Judge
from gateway_api.gateway_config.schema import NotAConfig
from gateway_api.gateway_config.summary import Summary
from gateway_api.repository.gzipped import SUFFIX, DigestCache, adopt
from gateway_api.repository.index import Received, receive_manifest
from gateway_api.repository.manifest import manifest_name
from gateway_api.storage.atomic_write import close
from gateway_api.storage.content import Content, collect
from gateway_api.storage.paths import existing_kind, open_file, open_parent, signature_of
from gateway_api.storage.state_dir import StateFolder


@dataclass(frozen=True, slots=True)
class Source:
    """A config that may be restored. ``content`` are the bytes the config file will hold."""

    path: str
    backup_id: str | None
    content: Content
    summary: Summary
    known_issues: tuple[Issue, ...]
    signature: SignatureState | None = None

    @property
    def sections_digest(self) -> str:
        """Digest of the four data sections: a source is always judged with it."""
        assert self.summary.sections_digest is not None
        return self.summary.sections_digest


Admit = Callable[[dict[str, Any] | None, bool], SignatureState]
"""Judges what was received as the manifest (None: there is none) of a file that is encrypted or not, and returns what
its signatures say, or raises."""


def open_source(
    state: StateFolder,
    parts: tuple[str, ...],
    *,
    limit: int,
    expected_sha256: str | None,
    identity: str | None,
    admit: Admit,
    judge: Judge,
) -> Source:
    """Reads and judges the file at ``parts``. Nothing is decrypted or unpacked before ``admit`` has let it in.

    Raises ``BackupNotFound``, ``PathNotAllowed``, ``BackupTooLarge``, ``BackupCorrupt``, ``BackupInvalid``,
    ``DigestMismatch``, ``IdentityRequired``, ``WrongIdentity``, ``VolumeUnavailable``, ``WorkerFailed`` and what
    ``admit`` raises; changes nothing.
    """
    form = compression.form_of(parts[-1])
    try:
        with open_parent(state.base_fd, parts) as parent:
            stored = read_stored(parent, parts[-1], limit)
            found = _manifest_of(parent, parts[-1], stored) or _manifest_before_gzip(parent, parts[-1])
    except (FileNotFoundError, NotADirectoryError):
        raise ApiError(ErrorCode.BackupNotFound) from None
    except OSError as error:
        raise backup_volume_error(error) from None
    received, manifest = found or (None, None)
    signature = admit(received, form.encrypted)
    try:
        content = unseal(stored, form, identity, limit)
    except compression.Undecodable as problem:
        code = ErrorCode.BackupInvalid if manifest is None else ErrorCode.BackupCorrupt
        raise ApiError(code, str(problem)) from None
    except OSError as error:
        raise backup_volume_error(error) from None
    if manifest is not None and content.sha256 != manifest.content_sha256:
        raise ApiError(ErrorCode.BackupCorrupt)
    if expected_sha256 is not None and expected_sha256 not in (content.sha256, stored.sha256):
        raise ApiError(ErrorCode.DigestMismatch)
    content, summary = accept(judge, content, limit)
    return Source(
        path="/".join(parts),
        backup_id=None if manifest is None else manifest.id,
        content=content,
        summary=summary,
        known_issues=() if manifest is None else tuple(manifest.issues),
        signature=signature,
    )


def read_stored(parent: int, name: str, limit: int) -> Content:
    """The bytes of a file that holds a config of at most ``limit`` bytes.

    Raises ``BackupTooLarge``, ``PathNotAllowed``, ``Busy`` when it changes meanwhile, ``OSError``.
    """
    limit = stored_limit(limit)
    fd = open_file(parent, name)
    try:
        before = os.fstat(fd)
        if before.st_size > limit:
            raise ApiError(ErrorCode.BackupTooLarge)
        stored = collect(fd, limit)
        if signature_of(os.fstat(fd)) != signature_of(before) or stored.size != before.st_size:
            raise ApiError(ErrorCode.Busy, "the backup file is being written")
        return stored
    finally:
        close(fd)


def _manifest_of(parent: int, name: str, stored: Content) -> Received | None:
    beside = manifest_name(name)
    if existing_kind(parent, beside) is None:
        return None
    found = receive_manifest(parent, beside)
    if found is None or found[1].stored_sha256 != stored.sha256:
        raise ApiError(ErrorCode.BackupCorrupt)
    return found


def _manifest_before_gzip(parent: int, name: str) -> Received | None:
    """The manifest of a backup that a person has gzipped to ``name``; signatures are over what was received."""
    stem = name.removesuffix(SUFFIX)
    beside = None if stem == name else receive_manifest(parent, manifest_name(stem))
    adopted = None if beside is None else adopt(parent, beside[1], stem, DigestCache())
    return None if beside is None or adopted is None else (beside[0], adopted)


def accept(judge: Judge, content: Content, limit: int) -> tuple[Content, Summary]:
    """The bytes to write and their summary, for content that is a config or an envelope of one.

    Raises ``BackupInvalid`` saying where, ``BackupTooLarge`` when an unwrapped config passes the limit,
    ``WorkerFailed``.
    """
    try:
        return judge.accept(content, limit)
    except NotAConfig as problem:
        raise ApiError(ErrorCode.BackupInvalid, f"not a whole gateway config: {problem}") from None
    except OSError as error:
        raise backup_volume_error(error) from None
