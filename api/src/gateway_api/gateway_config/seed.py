"""Creates the first config of a new gateway, and only where no config has ever existed.

A lost config must be restored from a backup. An empty config in its place would hide the loss. Therefore any file
of an earlier run in the state folder prevents seeding.
"""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gateway_api.gateway_config.defaults import default_config
from gateway_api.gateway_config.schema import InvalidConfig, check, parse, unwrap
from gateway_api.storage.atomic_write import close, link_exclusive, unlink_if_exists, write_temporary
from gateway_api.storage.file_system import sync_directory
from gateway_api.storage.layout import GATEWAY_ID_FILE, JOURNAL_FILE, LAST_KEY_FILE
from gateway_api.storage.paths import open_root
from gateway_api.storage.state_dir import StateDir

PREVIOUS_CONFIG_MARKERS: Final = (GATEWAY_ID_FILE, LAST_KEY_FILE, JOURNAL_FILE)
"""Files of the state folder that exist only if the gateway has had a config."""


class SeedError(Exception):
    """The source is not a config, or the directory is not writable. The message goes to the pod's log."""


def first_content(source: Path | None) -> bytes:
    """The bytes of the first config: those of ``source``, or default settings with a new random admin key.

    Raises :class:`SeedError` when ``source`` is not a config or cannot be read.
    """
    if source is None:
        key = secrets.token_urlsafe(192)
        return json.dumps(default_config(key), indent=2).encode()
    try:
        data = source.read_bytes()
        value, enveloped = unwrap(parse(data))
        config = check(value)
    except OSError as error:
        raise SeedError(f"{source} cannot be read: {error.strerror}") from None
    except InvalidConfig as error:
        raise SeedError(f"{source} is not a gateway config: {error}") from None
    return json.dumps(config, indent=2).encode() if enveloped else data


def seed(config_file: Path, source: Path | None) -> str:
    """Creates the first config if none has ever existed. Returns a log sentence about the result.

    Raises :class:`SeedError` when the source is not a config or the directory is not writable.
    """
    try:
        if config_file.exists() or config_file.is_symlink():
            return "a config exists already; it is left alone"
        if _was_initialised(config_file.parent):
            return "the config is missing, but a config existed before: restore a backup; nothing was created"
        content = first_content(source)
        fd = open_root(config_file.parent)
        try:
            # The content is written and fsynced under a temporary name, so that the gateway never reads half a config.
            temporary = write_temporary(fd, content)
            try:
                # A link and not a rename: it fails if the gateway has created its config in the meantime.
                link_exclusive(fd, temporary, config_file.name)
            except FileExistsError:
                return "a config exists already; it is left alone"
            finally:
                unlink_if_exists(fd, temporary)
            # Last, because it makes the new name durable: the gateway starts once this function has returned.
            sync_directory(fd)
        finally:
            close(fd)
    except OSError as error:
        raise SeedError(f"the config's directory is not writable: {error.strerror}") from None
    return f"created the first config at {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _was_initialised(config_dir: Path) -> bool:
    try:
        with StateDir(config_dir, create=False) as state:
            return any(state.read(name) is not None for name in PREVIOUS_CONFIG_MARKERS)
    except FileNotFoundError:
        return False
