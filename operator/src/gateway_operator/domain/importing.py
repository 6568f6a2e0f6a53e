"""Which files of a volume get a GatewayBackup, and under which names: a pure function of what was listed.

Names and groups come from the manifests, so that what comes back is what was lost. The same listing gives the same
names, whatever crashed in between: what was created already owns its file and is not created again.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway_api.contract import BackupEntry
from gateway_operator.domain.names import (
    ADOPTED_LABEL,
    IMPORT_LABEL,
    IMPORT_UID,
    MANUAL_GROUP,
    label_value,
)
from gateway_operator.domain.objects import Backup, Import

_NAME_LIMIT: Final = 63
_TAIL: Final = 10
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", re.ASCII)
_GROUP: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Adoption:
    """A GatewayBackup that is to be created."""

    name: str
    path: str
    group: str
    encrypted: bool
    description: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A file that cannot be adopted."""

    path: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What an import is about. ``waiting`` and ``adopted`` are its own GatewayBackups, from before a crash as well."""

    found: int
    create: tuple[Adoption, ...]
    waiting: int
    adopted: int
    already_owned: int
    failed: tuple[Trouble, ...]


def wanted(thing: Import, path: str) -> bool:
    """Whether the import is about a file."""
    return not thing.paths or any(path.startswith(prefix) for prefix in thing.paths)


def plan(thing: Import, files: Iterable[BackupEntry], backups: Sequence[Backup], volume_id: str) -> Plan:
    """What to create, what is done, and what cannot be.

    ``files`` are those that hold a backup, or may: what is no config at all was left out before.
    """
    create: list[Adoption] = []
    failed: list[Trouble] = []
    found = waiting = adopted = owned = 0
    names = {backup.meta.ref.name for backup in backups}
    owners = _owners(thing, backups, volume_id)
    ids: set[str] = set()
    for file in sorted(files, key=lambda one: (one.record.created if one.record else one.modified, one.path)):
        found += 1
        known = file.record.backup_id if file.record is not None else ""
        if known in ids:  # a copy of one that was seen already: one backup, one resource
            owned += 1
            continue
        ids |= {known} if known else set()
        owner = owners.get(file.path) or owners.get(known)
        if owner is None and file.kind == "changed":
            failed.append(
                Trouble(file.path, "BackupCorrupt", "It is not the file that the manifest beside it describes.")
            )
        elif owner is None:
            adoption = _adoption(file, names)
            names.add(adoption.name)
            create.append(adoption)
        elif owner.meta.annotations.get(IMPORT_UID) != thing.meta.ref.uid and owner.phase != "Failed":
            owned += 1
        elif owner.phase == "Failed":
            failed.append(Trouble(file.path, owner.reason, f"GatewayBackup {owner.meta.ref.name}: {owner.message}"))
        elif owner.phase == "Completed":
            adopted += 1
        else:
            waiting += 1
    return Plan(found, tuple(create), waiting, adopted, owned, tuple(failed))


def _owners(thing: Import, backups: Sequence[Backup], volume_id: str) -> Mapping[str, Backup]:
    """Who names which path and which backup id on this volume. One that failed counts only where nobody else does."""
    found: dict[str, Backup] = {}
    for backup in sorted(backups, key=lambda one: one.phase != "Failed"):
        if backup.meta.deleting_since is not None:
            continue
        recorded = backup.status.get("volumeID")
        if recorded != volume_id if recorded else backup.gateway != thing.gateway:
            continue
        if backup.phase == "Failed" and backup.existing is None:
            continue  # it made no file; what lies there is nobody's
        for name in (backup.status.get("path") or backup.existing, backup.status.get("backupID")):
            if name:
                found[str(name)] = backup
    return found


def _adoption(file: BackupEntry, names: set[str]) -> Adoption:
    metadata = file.record.metadata if file.record is not None else {}
    folder = file.path.partition("/")[0] if "/" in file.path else ""
    group = next((one for one in (metadata.get("group", ""), folder) if _is(_GROUP, one)), MANUAL_GROUP)
    return Adoption(
        name=_name(metadata.get("name", ""), file, names),
        path=file.path,
        group=group,
        encrypted=file.path.endswith(".age"),
        description=metadata.get("description", "")[:1024],
    )


def _is(pattern: re.Pattern[str], text: str) -> bool:
    return len(text) <= _NAME_LIMIT and pattern.fullmatch(text) is not None


def _name(made_as: str, file: BackupEntry, names: set[str]) -> str:
    """The name that it was made under, if that fits and is free; else with the file's id behind it."""
    if _is(_NAME, made_as) and made_as not in names:
        return made_as
    known = file.record.backup_id if file.record is not None else ""
    stem = made_as if _is(_NAME, made_as) else file.path.rpartition("/")[2].lower().partition(".json")[0]
    stem = _NOT_IN_NAMES.sub("-", stem).strip("-")[: _NAME_LIMIT - _TAIL - 1].rstrip("-") or "backup"
    for turn in itertools.count():
        tail = hashlib.sha256(f"{known}\n{file.path}\n{turn}".encode()).hexdigest()[:_TAIL]
        if f"{stem}-{tail}" not in names:
            return f"{stem}-{tail}"
    raise AssertionError("unreachable")


def body(thing: Import, adoption: Adoption) -> dict[str, Any]:
    """The GatewayBackup to create."""
    spec: dict[str, Any] = {
        "gatewayRef": {
            "kind": thing.gateway.kind,
            "name": thing.gateway.name,
            "ordinal": thing.gateway.ordinal,
        },
        "group": adoption.group,
        "existing": {"path": adoption.path},
        "timeoutSeconds": 3600,
        "startingDeadlineSeconds": 3600,
    }
    if adoption.encrypted:
        spec["verification"] = {"level": "Stored"}  # nobody here has its identity
    if adoption.description:
        spec["description"] = adoption.description
    ref = thing.meta.ref
    labels = {ADOPTED_LABEL: "true", IMPORT_LABEL: label_value(ref.name)}
    metadata = {"name": adoption.name, "labels": labels, "annotations": {IMPORT_UID: ref.uid}}
    return {"metadata": metadata, "spec": spec}
