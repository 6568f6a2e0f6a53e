"""Names that outlive a process: annotations, paths of backups, request ids.

A backup's path and request id are known before the first call is made and are the same after a crash: that is
what makes a repeated call harmless. Nothing here may change between versions without a migration.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, Final

GROUP: Final = "mcpgateway.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
BACKUP_KIND: Final = "GatewayBackup"
RESTORE_KIND: Final = "GatewayRestore"
BACKUP_PLURAL: Final = "gatewaybackups"
RESTORE_PLURAL: Final = "gatewayrestores"
SCHEDULE_KIND: Final = "GatewayBackupSchedule"
SCHEDULE_PLURAL: Final = "gatewaybackupschedules"

IMPORT_KIND: Final = "GatewayBackupImport"
IMPORT_PLURAL: Final = "gatewaybackupimports"

FINALIZER: Final = f"{GROUP}/finalizer"
"""On GatewayBackups with ``spec.deleteFile`` alone."""

ADMIN_KEY_SECRET: Final = f"{GROUP}/admin-key-secret"
"""Annotation of a workload: the Secret whose key ``admin-key`` opens the admin API."""
ADMIN_CA_SECRET: Final = f"{GROUP}/admin-ca-secret"
"""Annotation of a workload: the Secret whose key ``ca.crt`` proves the admin API. Where given, never plain HTTP."""
CONFIG_RELOAD: Final = f"{GROUP}/config-reload"
"""Annotation of a workload: ``Watch`` where the gateway reloads its config by itself, else ``Restart``."""
RESTORED: Final = f"{GROUP}/restored"
"""Annotation of a pod template: the restore that last restarted the pods. Setting it twice restarts once."""
RESTORE_LABEL: Final = f"{GROUP}/restore"
"""Label of a safety backup: the restore that asked for it."""
RESTORE_UID: Final = f"{GROUP}/restore-uid"
"""Annotation of a safety backup: the restore's uid, since a name may be used again."""

SCHEDULE_LABEL: Final = f"{GROUP}/schedule"
"""Label of a backup and of a CronJob: the schedule that made it."""
JOB_UID: Final = f"{GROUP}/job-uid"
"""Annotation of a backup that a Job made: the Job's uid. A retried pod finds its own backup by it."""
BACKUP_TEMPLATE: Final = f"{GROUP}/backup-template"
"""Annotation of a schedule's pods: the GatewayBackup to create, as JSON."""
ADOPTED_LABEL: Final = f"{GROUP}/adopted"
"""Label, ``true`` on a backup that was adopted from a volume: retention keeps it until a person takes the label off."""
IMPORT_LABEL: Final = f"{GROUP}/import"
"""Label of a backup: the GatewayBackupImport that created it."""
IMPORT_UID: Final = f"{GROUP}/import-uid"
"""Annotation of it: that import's uid, since a name may be used again."""
SHRINK_ACCEPTED: Final = f"{GROUP}/shrink-accepted"
"""Annotation, ``true`` on a Suspicious backup: a person looked, and it is right that it is so small."""
ACCEPT_INVENTORY: Final = f"{GROUP}/accept-inventory"
"""Annotation of a schedule, ``NOW/BEFORE``: so few backups are left of so many, and retention may go on."""

GATEWAY_LABEL: Final = f"{GROUP}/gateway"
"""Label of a Secret with an age identity: the one gateway whose restores may use it."""

DEFAULT_IDENTITY_KEY: Final = "identity"

SPEC_DIGEST: Final = f"{GROUP}/spec-digest"
"""Annotation of a CronJob: the digest of what the operator wanted when it last wrote it. Where it still wants the same
and the CronJob differs, somebody else changed it."""

ADMIN_KEY_FIELD: Final = "admin-key"
CA_FIELD: Final = "ca.crt"
SAFETY_GROUP: Final = "safety"
MANUAL_GROUP: Final = "manual"

COMPONENT_LIMIT: Final = 180
"""Bytes of one path component: the admin API refuses longer ones."""
_SUFFIX: Final = ".json.zst"
ENCRYPTED: Final = ".age"
_LONGEST_COMPANION: Final = ".verification.json"
"""The longest name that the admin API puts beside a backup must fit as well."""
_NAME_LIMIT: Final = 63


def backup_path(group: str, created: datetime, name: str, uid: str, *, encrypted: bool = False) -> str:
    """Where a backup lies in the gateway's backup directory. Depends only on what never changes, and on whether the
    gateway demands encryption when it is first asked: what was chosen then stands in the status."""
    stamp = created.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    tail = f"-{uid[:8]}{_SUFFIX}{ENCRYPTED if encrypted else ''}"
    room = COMPONENT_LIMIT - len(stamp) - 1 - len(tail) - len(_LONGEST_COMPANION)
    return f"{group}/{stamp}-{name[:room]}{tail}"


def safety_backup_name(restore_name: str, restore_uid: str) -> str:
    """The GatewayBackup that a restore makes of what it is about to replace."""
    tail = f"-safety-{restore_uid[:8]}"
    return restore_name[: _NAME_LIMIT - len(tail)].rstrip("-.") + tail


def backup_account(gateway: str) -> str:
    """The ServiceAccount under which a schedule's pods make backups of a gateway."""
    return f"{gateway}-backup"


def label_value(name: str) -> str:
    """A name as a label's value: at most 63 characters, ending in a letter or digit."""
    return name[:_NAME_LIMIT].rstrip("-._")


def canonical_digest(value: Any) -> str:
    """SHA-256 of the value as JSON with sorted keys and no spaces: equal values have equal digests."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
