"""The first config of a new gateway: made only where there never was one.

A config that is lost must be restored, not papered over by an empty one, so any trace of an earlier life in the state
folder stops this.
"""

from __future__ import annotations

import json
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gateway_api.gateway_config.defaults import default_config
from gateway_api.gateway_config.schema import InvalidConfig, check, parse, unwrap
from gateway_api.storage.atomic_write import close, link_exclusive, sync_directory, unlink_if_exists, write_temporary
from gateway_api.storage.layout import GATEWAY_ID_FILE, JOURNAL_FILE, LAST_KEY_FILE
from gateway_api.storage.state_dir import StateDir

PREVIOUS_CONFIG_MARKERS: Final = (GATEWAY_ID_FILE, LAST_KEY_FILE, JOURNAL_FILE)


class SeedError(Exception):
    """There is nothing to seed from, or nowhere to write. The text is for the person who reads the pod's log."""


def first_content(source: Path | None) -> bytes:
    """The bytes of the first config. Raises :class:`SeedError` when ``source`` is no config."""
    if source is None:
        key = secrets.token_urlsafe(192)
        return json.dumps(default_config(key), indent=2).encode()
    try:
        data = source.read_bytes()
        value, enveloped = unwrap(parse(data))
        config = check(value)
    except OSError as error:
        raise SeedError(f"{source} cannot be read: {error.strerror}") from None
    except InvalidConfig as problem:
        raise SeedError(f"{source} is not a gateway config: {problem}") from None
    return json.dumps(config, indent=2).encode() if enveloped else data


def seed(config_file: Path, source: Path | None) -> str:
    """Makes the first config if there never was one; returns what happened, as a sentence.

    Raises :class:`SeedError` when the source is no config or the directory cannot be written.
    """
    try:
        if config_file.exists() or config_file.is_symlink():
            return "there is a config already; left alone"
        if _was_initialised(config_file.parent):
            return "the config is missing, but there was one: restore a backup; left alone"
        content = first_content(source)
        fd = os.open(config_file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            temporary = write_temporary(fd, content)
            try:
                link_exclusive(fd, temporary, config_file.name)
            except FileExistsError:
                return "there is a config already; left alone"
            finally:
                unlink_if_exists(fd, temporary)
            sync_directory(fd)
        finally:
            close(fd)
    except OSError as error:
        raise SeedError(f"the config's directory cannot be written: {error.strerror}") from None
    return f"made the first config at {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _was_initialised(config_dir: Path) -> bool:
    try:
        with StateDir(config_dir, create=False) as state:
            return any(state.read(name) is not None for name in PREVIOUS_CONFIG_MARKERS)
    except FileNotFoundError:
        return False
