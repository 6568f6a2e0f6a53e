"""`gateway-admin audit verify`: is the chain whole, and do the manifests' heads lie on it?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from . import audit
from .audit_log import LOG
from .context import VOLUME_ID
from .durable import close, read_all
from .inventory import Inventory, load_beside
from .manifest import Located
from .safe_path import FILE_FLAGS
from .state_folder import StateFolder

NO_LIMIT = 1 << 40


class Unreadable(Exception):  # noqa: N818 - reads as what it says
    """There is no log, or it cannot be read. The text is for the person at the terminal."""


def verify(backup_dir: Path) -> tuple[bool, str]:
    """Whether the log of a backup directory is whole, and a sentence. Changes nothing; raises :class:`Unreadable`."""
    try:
        with StateFolder(backup_dir, create=False) as state:
            data = _read(state)
            volume_id = state.known_identity(VOLUME_ID)
            witnesses = list(_witnesses(state, volume_id))
    except OSError as error:
        raise Unreadable(f"the audit log cannot be read: {error.strerror}") from None
    seen, broken = audit.check(data)
    if broken is not None:
        return False, f"line {broken.line}: {broken.why}"
    for located in witnesses:
        if located.manifest.audit_head not in seen:
            return False, (
                f"line 1: {located.path} was made when the log had a line that is not in it:"
                " the log was rewritten, or is another volume's"
            )
    return True, f"whole: {len(seen) - 1} records, {len(witnesses)} manifests agree"


def _read(state: StateFolder) -> bytes:
    fd = os.open(LOG, FILE_FLAGS, dir_fd=state.fd)
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
