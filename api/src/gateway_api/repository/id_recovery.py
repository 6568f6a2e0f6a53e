"""Recovers the ids of the gateway and of the backup volume after a loss of their files.

Each id is in one small file, which a cleanup script, a copy without hidden files or a bad disk can lose. All manifests
and tombstones name both ids. The id that most of them name is written again. Without a clear majority the id is new,
because a wrong one would mix up two volumes. Every loss is logged, recorded in the audit log and shown by the health.
"""

from __future__ import annotations

import errno
import logging
import secrets
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway_api import logs
from gateway_api.contract import Issue
from gateway_api.errors import SHORTAGE_ERRNOS, ApiError
from gateway_api.repository.index import RepositoryIndex
from gateway_api.repository.manifest import Manifest
from gateway_api.repository.manifest_files import read_manifest, read_manifest_beside
from gateway_api.storage.atomic_write import list_names
from gateway_api.storage.free_space import write_using_reserve
from gateway_api.storage.layout import GATEWAY_ID_FILE, TOMBSTONES_FOLDER, VOLUME_ID_FILE
from gateway_api.storage.state_dir import ID_PATTERN, StateDir

IdKind = Literal["gateway_id", "volume_id"]
_DEVICE_ERRNOS: Final = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT})
"""Errors of the device. The file may be readable later, so they never lead to a new id."""


@dataclass(frozen=True, slots=True)
class RecoveredId:
    """The result of a recovery. ``lost``: there was an id before. ``named``: the id is the one that manifests name."""

    value: str
    lost: bool
    named: bool


def choose_id(names: Iterable[str], *, damaged: bool) -> RecoveredId:
    """The id after a loss: the one that ``names`` contains most often, else a new one.

    ``damaged``: a file without an id exists. Without such a file and without names nothing was lost: the volume is new.
    """
    ranked = Counter(name for name in names if ID_PATTERN.match(name)).most_common(2)
    if ranked and (len(ranked) == 1 or ranked[0][1] > ranked[1][1]):
        return RecoveredId(ranked[0][0], lost=True, named=True)
    return RecoveredId(secrets.token_hex(16), lost=damaged or bool(ranked), named=False)


class IdRecovery:
    """Reads and recovers both ids, and keeps the warnings of one server process. Thread-safe."""

    def __init__(self) -> None:
        self._warnings: dict[IdKind, Issue] = {}
        self._unrecorded: list[dict[str, Any]] = []
        self.recovery_failed = False
        """Whether the last attempt to read or recover the id of the volume failed."""
        self._lock = threading.Lock()

    def warnings(self) -> list[Issue]:
        """A warning for each id that was lost since the server started."""
        with self._lock:
            return list(self._warnings.values())

    def unrecorded(self) -> list[dict[str, Any]]:
        """Entries for the audit log about recovered ids. Call :meth:`mark_recorded` when they are durable."""
        with self._lock:
            return list(self._unrecorded)

    def mark_recorded(self, number: int) -> None:
        """Removes the oldest ``number`` entries of :meth:`unrecorded`."""
        with self._lock:
            del self._unrecorded[:number]

    def recover_volume_id(self, volume: StateDir, index: RepositoryIndex) -> str:
        """The id of the backup volume; recovers it if it is lost. The caller must hold the lock. Raises ``OSError``."""
        try:
            recovered = self._recover(volume, VOLUME_ID_FILE, "volume_id", volume, index)
        except (OSError, ApiError):
            self.recovery_failed = True
            raise
        assert recovered is not None
        self.recovery_failed = False
        return recovered

    def recover_gateway_id(self, config_state: StateDir, volume: StateDir | None, index: RepositoryIndex) -> str | None:
        """The id of the gateway, as :meth:`recover_volume_id`. None if it is lost and the volume is unavailable."""
        return self._recover(config_state, GATEWAY_ID_FILE, "gateway_id", volume, index)

    def _recover(
        self, state: StateDir, file: str, kind: IdKind, volume: StateDir | None, index: RepositoryIndex
    ) -> str | None:
        failure: OSError | None = None
        damaged = False
        try:
            if (current := state.read_id(file)) is not None:
                return current
            damaged = state.read(file) is not None
        except OSError as error:
            if error.errno in SHORTAGE_ERRNOS:
                raise
            failure, damaged = error, True
        if volume is None:
            # The manifests on the volume may name the id, so it is not decided without them.
            return None
        names = (getattr(manifest, kind) for manifest in _all_manifests(volume, index))
        recovered = choose_id(names, damaged=damaged)
        if failure is not None and failure.errno in _DEVICE_ERRNOS and not recovered.named:
            raise failure
        if recovered.lost:
            # Before the write, so that no health shows the id without the warning.
            self._report(kind, recovered)
        # Durable before any operation names the id in a manifest. A crash right before this repeats the recovery.
        _write_id(state, file, recovered.value)
        logs.event("id_written", kind=kind, id=recovered.value, lost=recovered.lost)
        return recovered.value

    def _report(self, kind: IdKind, recovered: RecoveredId) -> None:
        origin = "most manifests name it" if recovered.named else "no id is named by most manifests, so it is new"
        message = f"the file {kind} was missing or unreadable and was written again: {origin}"
        remedy = "check which program removes files from the state folder"
        logs.event("id_recovered", logging.WARNING, kind=kind, id=recovered.value, named=recovered.named)
        with self._lock:
            self._warnings[kind] = Issue(code="IdLost", where=kind, message=f"{message}; {remedy}")
            self._unrecorded = [entry for entry in self._unrecorded if entry["kind"] != kind]
            self._unrecorded.append(
                {"event": "id_recovered", "kind": kind, "new_id": recovered.value, "named": recovered.named}
            )


def _write_id(state: StateDir, file: str, value: str) -> None:
    # Without an id no backup and no deletion is possible, so the reserve is used for it.
    write_using_reserve(state, lambda: state.write(file, value.encode() + b"\n"))


def _all_manifests(volume: StateDir, index: RepositoryIndex) -> Iterable[Manifest]:
    """The manifests beside all backups, and those in the tombstones of deleted and replaced ones."""
    for parts in index.all_locations():
        # One unreadable manifest must not keep the others from naming the id.
        with suppress(OSError):
            if (manifest := read_manifest_beside(volume.base_fd, parts)) is not None:
                yield manifest
    with volume.open_folder(TOMBSTONES_FOLDER) as tombstones:
        for name in list_names(tombstones):
            with suppress(OSError):
                if (manifest := read_manifest(tombstones, name)) is not None:
                    yield manifest
