"""The latest ends of the audit log of each volume, kept in the config directory as witnesses against a cut log.

The end is added after the outcome line of every operation. Someone who edits the backup volume cannot edit this file.
Before an operation the newest kept end is searched in the log. If it is absent, lines were removed. The record then
keeps these ends for `gateway-admin audit verify`, and the log gets a line about it. No operation is refused.
"""

from __future__ import annotations

import json
import logging
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from gateway_api import logs
from gateway_api.audit.chain import Head
from gateway_api.contract import Sha256
from gateway_api.storage.layout import AUDIT_HEAD_FILE
from gateway_api.storage.state_dir import StateDir, dump_record

MAX_RECENT: Final = 100
MAX_LOST: Final = 300
MAX_VOLUMES: Final = 16


class KeptHead(BaseModel):
    """A number of records and the digest of the last one."""

    model_config = ConfigDict(frozen=True)
    lines: int
    sha256: Sha256


class KeptHeads(BaseModel):
    """The ends of one volume's log after each of the latest operations, oldest first, and those before a loss."""

    model_config = ConfigDict(frozen=True)
    volume_id: str
    recent: tuple[KeptHead, ...] = ()
    before_loss: tuple[KeptHead, ...] = ()

    @property
    def head(self) -> KeptHead | None:
        """The newest end; None before the first operation ends and after a loss."""
        return self.recent[-1] if self.recent else None


class _Record(BaseModel):
    volumes: tuple[KeptHeads, ...] = ()


def _read(config_state: StateDir) -> _Record:
    data = config_state.read(AUDIT_HEAD_FILE)
    if data is None:
        return _Record()
    try:
        return _Record.model_validate(json.loads(data))
    except (ValueError, ValidationError, RecursionError):
        # A damaged record is no witness. The next outcome replaces it.
        logs.event("audit_head_damaged", logging.WARNING)
        return _Record()


def read_kept_heads(config_state: StateDir, volume_id: str) -> KeptHeads:
    """The kept ends of the log of one volume. Raises ``OSError``."""
    kept = (one for one in _read(config_state).volumes if one.volume_id == volume_id)
    return next(kept, KeptHeads(volume_id=volume_id))


def keep_head(config_state: StateDir, volume_id: str, head: Head) -> None:
    """Records the end of the log. Raises ``OSError`` or ``DurabilityUnknown``."""
    kept = read_kept_heads(config_state, volume_id)
    recent = (*kept.recent, KeptHead(lines=head.lines, sha256=head.sha256))[-MAX_RECENT:]
    _write(config_state, kept.model_copy(update={"recent": recent}))


def mark_lost(config_state: StateDir, volume_id: str) -> None:
    """Records that the log lost the newest end. Raises ``OSError`` or ``DurabilityUnknown``."""
    kept = read_kept_heads(config_state, volume_id)
    # The ends before the first loss say most about where the log was changed.
    before_loss = (*kept.before_loss, *kept.recent)[:MAX_LOST]
    _write(config_state, kept.model_copy(update={"recent": (), "before_loss": before_loss}))


def _write(config_state: StateDir, kept: KeptHeads) -> None:
    others = (one for one in _read(config_state).volumes if one.volume_id != kept.volume_id)
    # The volume of this operation comes last, so the ones that were used last are kept.
    record = _Record(volumes=(*others, kept)[-MAX_VOLUMES:])
    config_state.write(AUDIT_HEAD_FILE, dump_record(record.model_dump(mode="json")))
