"""Verifies the audit log for `gateway-admin audit verify`.

Two checks: the chain has no broken record across all segments, and it contains the head that each manifest of this
volume recorded. The second check detects a log that was rewritten to its end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway_api.audit import chain
from gateway_api.audit.chain import BrokenRecord, Head
from gateway_api.audit.log import segments
from gateway_api.clock import rfc3339
from gateway_api.repository.index import RepositoryIndex
from gateway_api.repository.manifest import LocatedBackup
from gateway_api.repository.manifest_files import load_beside
from gateway_api.storage.atomic_write import close, read_all
from gateway_api.storage.layout import AUDIT_LOG_FILE, VOLUME_ID_FILE
from gateway_api.storage.paths import FILE_FLAGS
from gateway_api.storage.state_dir import StateDir

NO_LIMIT = 1 << 40
GAP_MARK = b'"event":"gap"'
"""Occurs in gap records only: JSON escapes the quotes inside every value."""


class UnreadableLog(Exception):  # noqa: N818 - reads as what it says
    """The log does not exist or cannot be read. The text is shown at the terminal."""


@dataclass
class _LogContents:
    """Result of reading all segments.

    ``removed`` is the number of records in older segments that no longer exist; ``first_time`` is the RFC 3339 time of
    the first record that does. ``broken`` describes the first broken record, None if there is none.
    """

    head_digests: set[str] = field(default_factory=set)
    records: int = 0
    gaps: int = 0
    removed: int = 0
    first_time: str = ""
    broken: str | None = None


def verify_audit_log(backup_dir: Path) -> tuple[bool, str]:
    """Whether the log of a backup directory is intact, and a sentence for the terminal. Raises ``UnreadableLog``."""
    try:
        with StateDir(backup_dir, create=False) as state:
            contents = _read_segments(state)
            volume_id = state.read_id(VOLUME_ID_FILE)
            manifests = list(_manifest_heads(state, volume_id))
    except OSError as error:
        raise UnreadableLog(f"the audit log cannot be read: {error.strerror}") from None
    if contents.broken is not None:
        return False, contents.broken
    older = 0
    for located in manifests:
        if located.manifest.audit_head in contents.head_digests:
            continue
        # The line may have been in a removed segment, so this manifest neither confirms nor contradicts the log.
        if contents.removed and rfc3339(located.manifest.created) <= contents.first_time:
            older += 1
            continue
        return False, (
            f"{AUDIT_LOG_FILE}, line 1: the manifest of {located.path} names a line that is not in the log:"
            " the log was rewritten, or belongs to another volume"
        )
    text = f"intact: {contents.records} records, {len(manifests) - older} manifests agree"
    if contents.removed:
        text += (
            f"; it begins with record {contents.removed + 1}: older segments were removed,"
            f" and {older} manifests are from before that record"
        )
    if contents.gaps:
        text += f"; gaps: {contents.gaps}, their lines are in the log of the server (event: audit)"
    return True, text


def _read_segments(state: StateDir) -> _LogContents:
    contents = _LogContents()
    names = [*segments(state), AUDIT_LOG_FILE]
    head: Head | None = None
    for name in names:
        try:
            data = _read(state, name)
        except FileNotFoundError:
            if name != AUDIT_LOG_FILE or len(names) == 1:
                raise
            continue  # a crash between the rename of a full log and the next line
        if head is None:
            head, contents.first_time = chain.parse_segment_start(data)
            contents.removed = head.lines
        after = chain.verify_segment(data, head, contents.head_digests)
        if isinstance(after, BrokenRecord):
            contents.broken = f"{name}, line {after.line}: {after.reason}"
            return contents
        contents.gaps += data.count(GAP_MARK)
        contents.records += after.lines - head.lines
        head = after
    return contents


def _read(state: StateDir, name: str) -> bytes:
    fd = os.open(name, FILE_FLAGS, dir_fd=state.fd)
    try:
        return read_all(fd, NO_LIMIT)
    finally:
        close(fd)


def _manifest_heads(state: StateDir, volume_id: str | None) -> Iterator[LocatedBackup]:
    """Backups whose manifest records a head of the log of this volume."""
    index = RepositoryIndex()
    index.refresh(state.base_fd)
    for parts in index.all_locations():
        manifest = load_beside(state.base_fd, parts)
        if manifest is not None and manifest.audit_head is not None and manifest.volume_id == volume_id:
            yield LocatedBackup(manifest, parts)
