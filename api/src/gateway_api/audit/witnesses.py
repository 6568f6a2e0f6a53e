"""Files beside the audit log that testify to its lines: manifests, the kept head, tombstones and request records.

A manifest is a witness only with a valid signature of a trusted key, because a person who edits the log can edit
manifests too. A manifest of this volume without one was edited. Tombstones and request records are not signed. They
only show that a line is missing, and never that the log is intact.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from gateway_api.audit.contents import LogContents
from gateway_api.audit.kept_head import read_kept_heads
from gateway_api.clock import rfc3339
from gateway_api.errors import ApiError
from gateway_api.repository import manifest as manifests
from gateway_api.repository import signing
from gateway_api.repository.index import RepositoryIndex
from gateway_api.repository.manifest_files import ParsedManifest, read_manifest_with_json
from gateway_api.storage.atomic_write import list_names
from gateway_api.storage.layout import REQUESTS_FOLDER, TOMBSTONES_FOLDER
from gateway_api.storage.paths import lstat_if_exists, open_parent
from gateway_api.storage.state_dir import StateDir

_RESTORE_RECORD: Final = re.compile(r"^restore-(?P<id>[A-Za-z0-9_-]+)\.json$")
_UNNAMED_REQUEST: Final = re.compile(r"^r-[0-9a-f]{32}$")
"""The id that a restore without a request id gets. Only its outcome line has it."""
_CREATIONS: Final = ("backup", "restore", "upload", "save-previous")
_ENDS: Final = ("restore", "commit", "rollback")


@dataclass
class Evidence:
    """The result of asking all witnesses.

    ``missing`` holds a record number and a sentence for each line that a witness names and the log lacks; the number
    is None if the witness does not know it. ``edited`` are sentences about manifests. ``agreeing`` and ``older`` count
    manifests; an older one is from before the first line that exists. ``confirmed`` are the confirmed record numbers.
    ``explained`` counts missing records that a gap or a removed segment may explain.
    """

    missing: list[tuple[int | None, str]] = field(default_factory=list)
    edited: list[str] = field(default_factory=list)
    confirmed: set[int] = field(default_factory=set)
    agreeing: int = 0
    older: int = 0
    explained: int = 0


def compare_manifests(
    evidence: Evidence, log: LogContents, state: StateDir, volume_id: str | None, trusted: Mapping[str, bytes]
) -> None:
    """Compares the heads in the signed manifests of this volume with the log. Raises ``OSError``."""
    for path, (received, manifest) in _read_manifests(state):
        created_here = manifest.volume_id == volume_id or ("backup", manifest.id) in log.named
        check = signing.check_signatures(received, trusted)
        if check.state == "invalid":
            evidence.edited.append(f"the manifest of {path} was changed after it was signed")
        elif check.state == "valid":
            if manifest.volume_id == volume_id and manifest.audit_head is not None:
                _compare(evidence, log, path, manifest)
        elif created_here and check.state == "unsigned":
            evidence.edited.append(f"the manifest of {path} has no signature, and this server signs all manifests")
        elif created_here:
            evidence.edited.append(
                f"the manifest of {path} is signed by key {check.keys[0]}, which is not trusted: it was edited, or"
                " the public key of an earlier signing key is missing in the trusted keys"
            )


def _compare(evidence: Evidence, log: LogContents, path: str, manifest: manifests.Manifest) -> None:
    assert manifest.audit_head is not None
    number = log.heads.get(manifest.audit_head)
    if number is not None and manifest.audit_lines in (None, number):
        evidence.agreeing += 1
        evidence.confirmed.add(number)
    # The line may have been in a removed segment, so this manifest neither confirms nor contradicts the log.
    elif log.removed and rfc3339(manifest.created) <= log.first_time:
        evidence.older += 1
    else:
        evidence.missing.append((manifest.audit_lines, f"the manifest of {path} names a line that is not in the log"))


def compare_kept_heads(evidence: Evidence, log: LogContents, config_state: StateDir, volume_id: str | None) -> None:
    """Compares the ends of the log that the config directory keeps. Raises ``OSError``."""
    if volume_id is None:
        return
    kept = read_kept_heads(config_state, volume_id)
    for head in (*kept.before_loss, *kept.recent):
        if log.heads.get(head.sha256) == head.lines:
            evidence.confirmed.add(head.lines)
        elif head.lines < log.removed:
            continue  # the line was in a removed segment
        else:
            evidence.missing.append(
                (head.lines, f"the config directory has record {head.lines}, which is not in the log")
            )


def compare_tombstones_and_requests(evidence: Evidence, log: LogContents, state: StateDir) -> None:
    """Looks for the lines of deletions, replacements and finished restores. Raises ``OSError``."""
    absent = [*_absent_deletions(log, state), *_absent_restores(log, state)]
    # Their lines may have been in a removed segment, or in the server's log during a gap.
    if log.removed or log.gap_lines is None or len(absent) <= log.gap_lines:
        evidence.explained += len(absent)
    else:
        evidence.missing += [(None, text) for text in absent]


def _absent_deletions(log: LogContents, state: StateDir) -> Iterator[str]:
    for name, (received, manifest) in _read_folder(state, TOMBSTONES_FOLDER):
        successor = received.get("replaced_by")
        lines = [("delete", manifest.id)]
        if isinstance(successor, str):
            lines = [(operation, successor) for operation in _CREATIONS]
        if not log.named.intersection(lines):
            what = "deletion" if len(lines) == 1 else "replacement"
            yield f"the tombstone {name} has no line of its {what} in the log"


def _absent_restores(log: LogContents, state: StateDir) -> Iterator[str]:
    if lstat_if_exists(state.fd, REQUESTS_FOLDER) is None:
        return
    with state.open_folder(REQUESTS_FOLDER) as folder:
        names = sorted(list_names(folder))
    for name in names:
        match = _RESTORE_RECORD.match(name)
        if match is None or _UNNAMED_REQUEST.match(match["id"]):
            continue
        if not any((operation, match["id"]) in log.named for operation in _ENDS):
            yield f"the record {name} has no line of its restore in the log"


def _read_folder(state: StateDir, name: str) -> Iterator[tuple[str, ParsedManifest]]:
    if lstat_if_exists(state.fd, name) is None:
        return
    with state.open_folder(name) as folder:
        for file in sorted(list_names(folder)):
            with suppress(OSError):
                if (parsed := read_manifest_with_json(folder, file)) is not None:
                    yield file, parsed


def _read_manifests(state: StateDir) -> Iterator[tuple[str, ParsedManifest]]:
    index = RepositoryIndex()
    index.refresh(state.base_fd)
    for parts in index.all_locations():
        with suppress(FileNotFoundError, ApiError), open_parent(state.base_fd, parts) as parent:
            parsed = read_manifest_with_json(parent, manifests.manifest_name(parts[-1]))
            if parsed is not None:
                yield "/".join(parts), parsed
