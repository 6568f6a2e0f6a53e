"""`gateway-admin audit verify`: is the chain whole, across all segments, and do the manifests' heads lie on it?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway_api.audit import chain
from gateway_api.audit.chain import BrokenRecord, Head
from gateway_api.audit.log import segments
from gateway_api.clock import rfc3339
from gateway_api.repository.index import RepositoryIndex, load_beside
from gateway_api.repository.manifest import LocatedBackup
from gateway_api.storage.atomic_write import close, read_all
from gateway_api.storage.layout import AUDIT_LOG_FILE, VOLUME_ID_FILE
from gateway_api.storage.paths import FILE_FLAGS
from gateway_api.storage.state_dir import StateDir

NO_LIMIT = 1 << 40
GAP_MARK = b'"event":"gap"'
"""In the line of a gap record, and in no other: JSON escapes the quotes of every value."""


class UnreadableLog(Exception):  # noqa: N818 - reads as what it says
    """There is no log, or it cannot be read. The text is for the person at the terminal."""


@dataclass
class _LogContents:
    """What the segments say: the digests on the chain, how many records, and from where the kept ones begin."""

    seen: set[str] = field(default_factory=set)
    records: int = 0
    gaps: int = 0
    removed: int = 0
    begins: str = ""
    broken: str | None = None


def verify(backup_dir: Path) -> tuple[bool, str]:
    """Whether the log of a backup directory is intact, and a sentence that says so. Raises ``UnreadableLog``."""
    try:
        with StateDir(backup_dir, create=False) as state:
            found = _read_all(state)
            volume_id = state.read_id(VOLUME_ID_FILE)
            witnesses = list(_manifest_heads(state, volume_id))
    except OSError as error:
        raise UnreadableLog(f"the audit log cannot be read: {error.strerror}") from None
    if found.broken is not None:
        return False, found.broken
    older = 0
    for located in witnesses:
        if located.manifest.audit_head in found.seen:
            continue
        if found.removed and rfc3339(located.manifest.created) <= found.begins:
            older += 1
            continue
        return False, (
            f"{AUDIT_LOG_FILE}, line 1: {located.path} was made when the log had a line that is not in it:"
            " the log was rewritten, or is another volume's"
        )
    text = f"whole: {found.records} records, {len(witnesses) - older} manifests agree"
    if found.removed:
        text += (
            f"; it begins with record {found.removed + 1}: older segments were removed,"
            f" and {older} manifests are from their time"
        )
    if found.gaps:
        text += f"; gaps: {found.gaps}, whose lines are in the server's log (event: audit)"
    return True, text


def _read_all(state: StateDir) -> _LogContents:
    found = _LogContents()
    names = [*segments(state), AUDIT_LOG_FILE]
    head: Head | None = None
    for name in names:
        try:
            data = _read(state, name)
        except FileNotFoundError:
            if name != AUDIT_LOG_FILE or len(names) == 1:
                raise
            continue  # a crash came between the end of a segment and the next line
        if head is None:
            head, found.begins = chain.start_of(data)
            found.removed = head.lines
        after = chain.check(data, head, found.seen)
        if isinstance(after, BrokenRecord):
            found.broken = f"{name}, line {after.line}: {after.why}"
            return found
        found.gaps += data.count(GAP_MARK)
        found.records += after.lines - head.lines
        head = after
    return found


def _read(state: StateDir, name: str) -> bytes:
    fd = os.open(name, FILE_FLAGS, dir_fd=state.fd)
    try:
        return read_all(fd, NO_LIMIT)
    finally:
        close(fd)


def _manifest_heads(state: StateDir, volume_id: str | None) -> Iterator[LocatedBackup]:
    """Manifests that name a head of this volume's log."""
    inventory = RepositoryIndex()
    inventory.refresh(state.base_fd)
    for parts in inventory.all_locations():
        found = load_beside(state.base_fd, parts)
        if found is not None and found.audit_head is not None and found.volume_id == volume_id:
            yield LocatedBackup(found, parts)
