"""Readiness: whether a backup and a restore could be taken now.

The check reads the config and makes the system calls of the operations on both volumes (`storage/probe.py`). It also
checks the free space, the ids, the journal and the signing key. It takes no lock of an operation.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway_api.auth import KeyRing
from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError, describe_errno, is_volume_full
from gateway_api.gateway_config.config_path import config_file_problem
from gateway_api.gateway_config.live import ConfigFile
from gateway_api.repository.keys import EncryptionAndSigning
from gateway_api.restores import records
from gateway_api.settings import AdminSettings
from gateway_api.storage.free_space import OVERHEAD_BYTES, lacks_inodes, missing_reserve_bytes, read_free_space
from gateway_api.storage.layout import GATEWAY_ID_FILE, SAFETY_FOLDER, VOLUME_ID_FILE
from gateway_api.storage.paths import lstat_if_exists
from gateway_api.storage.probe import ProbeFailed, probe
from gateway_api.storage.state_dir import StateDir

_CONFIG_TEXT: Final = {
    "missing": "the config is missing",
    "invalid": "the config is not valid",
    "too_large": "the config is too large",
    "unstable": "the config keeps changing",
    "unreadable": "the config cannot be read",
    "not_parsed": "the process that parses the config could not be started",
    "not_a_file": "the config is a symbolic link or a special file",
}


class ReadinessChecker:
    """Checks readiness without the locks of the operations. :meth:`problem` blocks, so it runs in a thread."""

    def __init__(
        self, settings: AdminSettings, config: ConfigFile, keys: KeyRing, crypto: EncryptionAndSigning
    ) -> None:
        self._settings = settings
        self._config = config
        self._keys = keys
        self._crypto = crypto

    def problem(self) -> str | None:
        """The first reason why a backup or a restore cannot be taken now, or None."""
        live = self._config.read_cached()
        if live.summary is None:
            return _CONFIG_TEXT[live.kind]
        if (problem := config_file_problem(self._settings.config_file)) is not None:
            return problem
        if not self._keys.accepted_keys():
            return "no admin key is available"
        size, settings = live.summary.size, self._settings
        return _volume_problem(
            "the config's directory",
            settings.config_dir,
            lambda state: self._check_config_volume(state, size),
            holds_config=True,
        ) or _volume_problem(
            "the backup volume",
            settings.backup_dir,
            lambda state: _check_backup_volume(state, size),
            holds_config=False,
        )

    def _check_config_volume(self, state: StateDir, config_bytes: int) -> str | None:
        if (problem := _space_problem(state, config_bytes + OVERHEAD_BYTES)) is not None:
            return problem
        if (problem := _id_problem(state, GATEWAY_ID_FILE)) is not None:
            return problem
        try:
            records.load_journal(state)
        except ApiError as error:
            # A damaged journal is a matter of the next restore, which `supersede` permits.
            if error.code is not ErrorCode.RestoreStateUnknown:
                return f"has a journal that cannot be read: {error.detail}"
        try:
            self._crypto.check_signing_key(state)
        except ApiError as error:
            return f"has a signing key that cannot be used: {error.detail}"
        return None


def _check_backup_volume(state: StateDir, config_bytes: int) -> str | None:
    safety = lstat_if_exists(state.base_fd, SAFETY_FOLDER)
    if safety is not None and not stat.S_ISDIR(safety.st_mode):
        return f"has a file named {SAFETY_FOLDER} in place of the folder of safety backups"
    needed = config_bytes + OVERHEAD_BYTES + missing_reserve_bytes(state.fd)
    return _space_problem(state, needed) or _id_problem(state, VOLUME_ID_FILE)


def _space_problem(state: StateDir, needed_bytes: int) -> str | None:
    space = read_free_space(state.base_fd)
    if space.free_bytes < needed_bytes:
        return "is full"
    return "has too few free inodes" if lacks_inodes(space) else None


def _id_problem(state: StateDir, name: str) -> str | None:
    """A problem that recovery cannot solve. A missing, empty or unreadable file is replaced by the next operation."""
    info = lstat_if_exists(state.fd, name)
    return f"has a directory in place of the file {name}" if info is not None and stat.S_ISDIR(info.st_mode) else None


def _volume_problem(
    label: str, folder: Path, check: Callable[[StateDir], str | None], *, holds_config: bool
) -> str | None:
    """The problem of one volume as a sentence that begins with ``label``, or None."""
    try:
        state = StateDir(folder, create=True)
    except (OSError, ApiError) as error:
        reason = f": {describe_errno(error)}" if isinstance(error, OSError) else ""
        return f"{label} cannot be opened{reason}"
    with state:
        try:
            # The space first: its answer is clearer than the error of a call on a full volume.
            if (problem := check(state)) is not None:
                return f"{label} {problem}"
            probe(state, holds_config=holds_config)
        except ProbeFailed as error:
            return f"{label}: {error}"
        except OSError as error:
            return f"{label} is full" if is_volume_full(error) else f"{label}: {describe_errno(error)}"
    return None
