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
from gateway_api.gateway_config.schema import NotAConfig, check, parse, unwrap
from gateway_api.storage.atomic_write import close, make_temporary, publish_new, sync_directory, unlink_quietly
from gateway_api.storage.layout import GATEWAY_ID, JOURNAL, LAST_KEY
from gateway_api.storage.state_dir import StateFolder

TRACES: Final = (GATEWAY_ID, LAST_KEY, JOURNAL)


class CannotSeed(Exception):  # noqa: N818 - reads as what it says
    """There is nothing to seed from, or nowhere to write. The text is for the person who reads the pod's log."""


def first_content(source: Path | None) -> bytes:
    """The bytes of the first config. Raises :class:`CannotSeed` when ``source`` is no config."""
    if source is None:
        key = secrets.token_urlsafe(192)
        return json.dumps(default_config(key), indent=2).encode()
    try:
        data = source.read_bytes()
        value, enveloped = unwrap(parse(data))
        config = check(value)
    except OSError as error:
        raise CannotSeed(f"{source} cannot be read: {error.strerror}") from None
    except NotAConfig as problem:
        raise CannotSeed(f"{source} is not a gateway config: {problem}") from None
    return json.dumps(config, indent=2).encode() if enveloped else data


def seed(config_file: Path, source: Path | None) -> str:
    """Makes the first config if there never was one; returns what happened, as a sentence.

    Raises :class:`CannotSeed` when the source is no config or the directory cannot be written.
    """
    try:
        if config_file.exists() or config_file.is_symlink():
            return "there is a config already; left alone"
        if _had_config(config_file.parent):
            return "the config is missing, but there was one: restore a backup; left alone"
        content = first_content(source)
        fd = os.open(config_file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            temporary = make_temporary(fd, content)
            try:
                publish_new(fd, temporary, config_file.name)
            except FileExistsError:
                return "there is a config already; left alone"
            finally:
                unlink_quietly(fd, temporary)
            sync_directory(fd)
        finally:
            close(fd)
    except OSError as error:
        raise CannotSeed(f"the config's directory cannot be written: {error.strerror}") from None
    return f"made the first config at {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _had_config(config_dir: Path) -> bool:
    try:
        with StateFolder(config_dir, create=False) as state:
            return any(state.read(name) is not None for name in TRACES)
    except FileNotFoundError:
        return False
