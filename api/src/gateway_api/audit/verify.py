"""`gateway-admin audit verify`: is the chain whole, across all segments, and do the manifests' heads lie on it?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway_api.audit import chain
from gateway_api.audit.chain import Broken, Head
from gateway_api.audit.log import segments
from gateway_api.clock import rfc3339
from gateway_api.repository.index import Inventory, load_beside
from gateway_api.repository.manifest import Located
from gateway_api.storage.atomic_write import close, read_all
from gateway_api.storage.layout import LOG, VOLUME_ID
from gateway_api.storage.paths import FILE_FLAGS
from gateway_api.storage.state_dir import StateFolder

NO_LIMIT = 1 << 40
GAP_MARK = b'"event":"gap"'
"""In the line of a gap record, and in no other: JSON escapes the quotes of every value."""


class Unreadable(Exception):  # noqa: N818 - reads as what it says
    """There is no log, or it cannot be read. The text is for the person at the terminal."""


@dataclass
class _Found:
    """What the segments say: the digests on the chain, how many records, and from where the kept ones begin."""

    seen: set[str] = field(default_factory=set)
    records: int = 0
    gaps: int = 0
    removed: int = 0
    begins: str = ""
    broken: str | None = None


def verify(backup_dir: Path) -> tuple[bool, str]:
    """Whether the log of a backup directory is whole, and a sentence. Changes nothing; raises :class:`Unreadable`."""
    try:
        with StateFolder(backup_dir, create=False) as state:
            found = _read_all(state)
            volume_id = state.known_identity(VOLUME_ID)
            witnesses = list(_witnesses(state, volume_id))
    except OSError as error:
        raise Unreadable(f"the audit log cannot be read: {error.strerror}") from None
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
            f"{LOG}, line 1: {located.path} was made when the log had a line that is not in it:"
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


def _read_all(state: StateFolder) -> _Found:
    found = _Found()
    names = [*segments(state), LOG]
    head: Head | None = None
    for name in names:
        try:
            data = _read(state, name)
        except FileNotFoundError:
            if name != LOG or len(names) == 1:
                raise
            continue  # a crash came between the end of a segment and the next line
        if head is None:
            head, found.begins = chain.start_of(data)
            found.removed = head.lines
        after = chain.check(data, head, found.seen)
        if isinstance(after, Broken):
            found.broken = f"{name}, line {after.line}: {after.why}"
            return found
        found.gaps += data.count(GAP_MARK)
        found.records += after.lines - head.lines
        head = after
    return found


def _read(state: StateFolder, name: str) -> bytes:
    fd = os.open(name, FILE_FLAGS, dir_fd=state.fd)
    try:
        return read_all(fd, NO_LIMIT)
    finally:
        close(fd)


def _witnesses(state: StateFolder, volume_id: str | None) -> Iterator[Located]:
    """Manifests that name a head of this volume's log."""
    inventory = Inventory()
    inventory.refresh(state.base_fd)
    for parts in inventory.all_places():
        found = load_beside(state.base_fd, parts)
        if found is not None and found.audit_head is not None and found.volume_id == volume_id:
            yield Located(found, parts)
