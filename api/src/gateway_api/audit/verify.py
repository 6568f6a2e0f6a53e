"""Verifies the audit log for `gateway-admin audit verify`.

First the chain: every line holds the digest of the line before it, across all segments. An attacker can compute a new
chain, so witnesses are asked as well (`witnesses.py`). The report names the first line that no witness confirms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gateway_api.audit.contents import LogContents, read_log
from gateway_api.audit.witnesses import Evidence, compare_kept_heads, compare_manifests, compare_tombstones_and_requests
from gateway_api.repository import signing
from gateway_api.repository.signing import InvalidKey
from gateway_api.storage.layout import SIGNING_KEY_FILE, VOLUME_ID_FILE
from gateway_api.storage.state_dir import StateDir

MAX_FINDINGS: Final = 20


class UnreadableLog(Exception):  # noqa: N818 - reads as what it says
    """The log, the config directory or a key cannot be read. The text is shown at the terminal."""


def verify_audit_log(
    backup_dir: Path, config_dir: Path | None = None, trusted: Mapping[str, bytes] | None = None
) -> tuple[bool, str]:
    """Whether the log of a backup directory is intact, and the findings for the terminal, one a line.

    ``config_dir`` gives the kept end of the log and the server's own signing key. ``trusted`` are further public keys
    by key id. Without both, manifests are not compared, and the text says so. Raises ``UnreadableLog``.
    """
    keys = {**(trusted or {})}
    evidence = Evidence()
    try:
        with StateDir(backup_dir, create=False) as state:
            volume_id = state.read_id(VOLUME_ID_FILE)
            log = read_log(state)
            if log.broken is not None:
                return False, log.broken
            if config_dir is not None:
                with StateDir(config_dir, create=False) as config_state:
                    keys |= _own_key(config_state)
                    compare_kept_heads(evidence, log, config_state, volume_id)
            compared = bool(keys) or config_dir is not None
            if compared:
                compare_manifests(evidence, log, state, volume_id, keys)
            compare_tombstones_and_requests(evidence, log, state)
    except OSError as error:
        raise UnreadableLog(f"the audit log cannot be read: {error.strerror or error}") from None
    findings = _findings(log, evidence)
    return not findings, "\n".join(findings[:MAX_FINDINGS]) or _summary(log, evidence, compared=compared)


def _own_key(config_state: StateDir) -> dict[str, bytes]:
    """The public key of the server's own signing key in its state folder. Raises ``UnreadableLog``."""
    pem = config_state.read(SIGNING_KEY_FILE)
    if pem is None:
        return {}
    try:
        signer = signing.load_signer(pem)
    except InvalidKey as error:
        raise UnreadableLog(f"{SIGNING_KEY_FILE} is invalid: {error}") from None
    return {signer.key_id: signer.public}


def _findings(log: LogContents, evidence: Evidence) -> list[str]:
    """The findings, beginning with the first line of the log that differs from what the witnesses saw."""
    numbered = sorted((number, text) for number, text in evidence.missing if number is not None)
    # A line that the server wrote after a loss confirms nothing about the lines before the loss.
    first_loss = min(log.losses, default=math.inf)
    findings = []
    if numbered or log.losses:
        limit = min(first_loss, numbered[0][0] if numbered else math.inf)
        # Everything up to the last confirmed line is as it was written. The change begins after it.
        before = max((number for number in evidence.confirmed if number < limit), default=log.removed)
        total = log.removed + log.records
        findings.append(
            f"{log.position_after(before)}: no witness confirms the log from here to its end, record {total}:"
            " lines were changed, removed or cut off, or the log belongs to another volume"
        )
    findings += [text for _, text in numbered]
    findings += [f"the server itself found record {last} and later ones removed" for last in log.losses.values()]
    last_confirmed = max(evidence.confirmed, default=log.removed)
    findings += [
        f"{log.position_after(last_confirmed)}: {text}; lines were removed"
        for number, text in evidence.missing
        if number is None
    ]
    return findings + evidence.edited


def _summary(log: LogContents, evidence: Evidence, *, compared: bool) -> str:
    text = f"intact: {log.records} records, {evidence.agreeing} manifests agree"
    if not compared:
        text = f"intact: {log.records} records; no key was given, so no manifest was compared"
    if log.removed:
        text += (
            f"; it begins with record {log.removed + 1}: older segments were removed,"
            f" and {evidence.older} manifests are from before that record"
        )
    if log.gaps:
        text += f"; gaps: {log.gaps}, their lines are in the log of the server (event: audit)"
    if evidence.explained:
        text += f"; {evidence.explained} deletions or restores have no line, which a gap or a removed segment explains"
    return text
