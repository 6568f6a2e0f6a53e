"""Plans an import: which files of a volume get a GatewayBackup, and under which names. A pure function of the listing.

Names and groups come from the manifests, so the created GatewayBackups equal the lost ones. The same listing gives the
same names. So a run after a crash creates nothing twice: a GatewayBackup from before the crash already owns its file.

An object that was re-created without its status ended in ``NameUsed``. The import replaces it with one that adopts its
file. After a crash between the two, the name is unused and the file has no owner, so the same object is created.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway_api.contract import BackupEntry, ErrorCode
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.import_resource import Import
from gateway_operator.domain.model.names import (
    ENCRYPTED,
    IMPORT_LABEL,
    IMPORT_UID,
    MANUAL_GROUP,
    OBJECT_NAME,
    label_value,
)
from gateway_operator.domain.model.resources import Backup

_NAME_LIMIT: Final = 63
_DIGEST_CHARACTERS: Final = 10
_GROUP: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Adoption:
    """A GatewayBackup to create for a file."""

    name: str
    path: str
    group: str
    encrypted: bool
    description: str = ""
    replaces: Ref | None = None
    """The object of this name that ended in ``NameUsed``. It is deleted before the new one is created."""
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class ImportProblem:
    """A file that cannot be adopted."""

    path: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """The progress of an import in numbers, and the next steps.

    ``waiting`` and ``adopted`` count the GatewayBackups of this import, including those from before a crash.
    ``already_owned`` counts files with another GatewayBackup and copies of the same backup.
    """

    files: int
    create: tuple[Adoption, ...]
    waiting: int
    adopted: int
    already_owned: int
    failed: tuple[ImportProblem, ...]


def is_selected(import_: Import, path: str) -> bool:
    """Whether the import selects the file at this path."""
    return not import_.paths or any(path.startswith(prefix) for prefix in import_.paths)


def plan(import_: Import, files: Iterable[BackupEntry], backups: Sequence[Backup], volume_id: str) -> ImportPlan:
    """The GatewayBackups to create, the progress, and the files that cannot be adopted.

    ``files`` are those that hold or may hold a backup. Files that are no config were left out before.
    """
    create: list[Adoption] = []
    failed: list[ImportProblem] = []
    total = waiting = adopted = owned = 0
    names = {backup.meta.ref.name for backup in backups}
    refused = {_record_name(backup): backup for backup in backups if _is_replaceable(import_, backup)}
    owners = _owners(import_, backups, volume_id)
    ids: set[str] = set()
    for file in sorted(files, key=lambda one: (one.record.created if one.record else one.modified, one.path)):
        total += 1
        backup_id = file.record.backup_id if file.record is not None else ""
        if backup_id in ids:  # a copy of an earlier file: a backup has one GatewayBackup
            owned += 1
            continue
        ids |= {backup_id} if backup_id else set()
        owner = owners.get(file.path) or owners.get(backup_id)
        if owner is None and file.kind == "changed":
            failed.append(
                ImportProblem(file.path, ErrorCode.BackupCorrupt, "The file differs from the manifest beside it.")
            )
        elif owner is None:
            record_name = file.record.record_name if file.record is not None else None
            adoption = _replacement(file, refused.get(record_name or ""), names) or _adoption(file, names)
            names.add(adoption.name)
            # A run before a crash may have deleted the pinned object already: its status has the names.
            create.append(replace(adoption, pinned=adoption.pinned or adoption.name in import_.pinned_names))
        elif owner.meta.annotations.get(IMPORT_UID) != import_.meta.ref.uid and owner.phase != "Failed":
            owned += 1
        elif owner.phase == "Failed":
            failed.append(
                ImportProblem(file.path, owner.reason, f"GatewayBackup {owner.meta.ref.name}: {owner.message}")
            )
        elif owner.phase == "Completed":
            adopted += 1
        else:
            waiting += 1
    return ImportPlan(total, tuple(create), waiting, adopted, owned, tuple(failed))


def _owners(import_: Import, backups: Sequence[Backup], volume_id: str) -> Mapping[str, Backup]:
    """The owner of each path and backup id on this volume. A Failed GatewayBackup counts only without another owner."""
    owners: dict[str, Backup] = {}
    for backup in sorted(backups, key=lambda one: one.phase != "Failed"):
        if backup.meta.deleting_since is not None:
            continue
        recorded = backup.status.get("volumeID")
        if recorded != volume_id if recorded else backup.gateway != import_.gateway:
            continue
        if backup.phase == "Failed" and backup.existing is None:
            continue  # it wrote no file, so a file at its path has no owner
        for name in (backup.status.get("path") or backup.existing, backup.status.get("backupID")):
            if name:
                owners[str(name)] = backup
    return owners


def _is_replaceable(import_: Import, backup: Backup) -> bool:
    """Whether an object of this gateway has no file, because the volume has the file of an earlier one of its name."""
    return backup.phase == "Failed" and backup.reason == ErrorCode.NameUsed and backup.gateway == import_.gateway


def _record_name(backup: Backup) -> str:
    return f"{backup.meta.ref.namespace}/{backup.meta.ref.name}"


def _replacement(file: BackupEntry, refused: Backup | None, names: set[str]) -> Adoption | None:
    """The adoption under the original name, in place of the object that ended in ``NameUsed``."""
    if refused is None:
        return None
    name = refused.meta.ref.name
    adoption = _adoption(file, names - {name})
    return replace(adoption, name=name, replaces=refused.meta.ref, pinned=refused.pinned)


def _adoption(file: BackupEntry, names: set[str]) -> Adoption:
    metadata = file.record.metadata if file.record is not None else {}
    folder = file.path.partition("/")[0] if "/" in file.path else ""
    group = next((one for one in (metadata.get("group", ""), folder) if _is(_GROUP, one)), MANUAL_GROUP)
    return Adoption(
        name=_name(metadata.get("name", ""), file, names),
        path=file.path,
        group=group,
        encrypted=file.path.endswith(ENCRYPTED),
        description=metadata.get("description", "")[:1024],
    )


def _is(pattern: re.Pattern[str], text: str) -> bool:
    return len(text) <= _NAME_LIMIT and pattern.fullmatch(text) is not None


def _name(original_name: str, file: BackupEntry, names: set[str]) -> str:
    """The original name if it is valid and unused; otherwise a name with a digest of the file's id and path."""
    is_valid = _is(OBJECT_NAME, original_name)
    if is_valid and original_name not in names:
        return original_name
    backup_id = file.record.backup_id if file.record is not None else ""
    stem = original_name if is_valid else file.path.rpartition("/")[2].lower().partition(".json")[0]
    stem = _NOT_IN_NAMES.sub("-", stem).strip("-")[: _NAME_LIMIT - _DIGEST_CHARACTERS - 1].rstrip("-") or "backup"
    for number in itertools.count():
        tail = hashlib.sha256(f"{backup_id}\n{file.path}\n{number}".encode()).hexdigest()[:_DIGEST_CHARACTERS]
        if f"{stem}-{tail}" not in names:
            return f"{stem}-{tail}"
    raise AssertionError("unreachable")


def backup_body(import_: Import, adoption: Adoption) -> dict[str, Any]:
    """The GatewayBackup to create, without kind and apiVersion."""
    spec: dict[str, Any] = {
        "gatewayRef": import_.gateway.spec(),
        "group": adoption.group,
        "existing": {"path": adoption.path},
        "timeoutSeconds": 3600,
        "startingDeadlineSeconds": 3600,
    }
    if adoption.encrypted:
        # The least: an import has no age identity. A manifest with a trusted signature proves the level Verified.
        spec["verification"] = {"level": "Stored"}
    if adoption.pinned:
        spec["pinned"] = True
    if adoption.description:
        spec["description"] = adoption.description
    ref = import_.meta.ref
    labels = {IMPORT_LABEL: label_value(ref.name)}
    metadata = {"name": adoption.name, "labels": labels, "annotations": {IMPORT_UID: ref.uid}}
    return {"metadata": metadata, "spec": spec}
