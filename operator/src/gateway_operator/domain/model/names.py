"""Names that are stored outside the process: kinds, annotations, labels, paths of backups.

The path of a backup is computed before the first call and is the same after a crash. So a repeated call has the same
arguments and writes no second file. A change of any name here needs a migration.
"""

from __future__ import annotations

import hashlib
import json
import re
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

JOB_KIND: Final = "Job"
IMPORT_KIND: Final = "GatewayBackupImport"
IMPORT_PLURAL: Final = "gatewaybackupimports"

OBJECT_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
"""A subdomain of RFC 1123, as the API server requires it of most names. Callers check the length."""
FINALIZER: Final = f"{GROUP}/finalizer"
"""Only on GatewayBackups with ``spec.deleteFile``."""
RESTORE_FINALIZER: Final = f"{GROUP}/restore"
"""Only on GatewayRestores that the gateway may hold open: neither committed nor rolled back."""
FINALIZERS: Final = {BACKUP_KIND: FINALIZER, RESTORE_KIND: RESTORE_FINALIZER}
"""The operator's finalizer of each kind that has one."""

ADMIN_KEY_SECRET: Final = f"{GROUP}/admin-key-secret"
"""Annotation of a workload: the Secret whose field ``admin-key`` is the key of the admin API."""
ADMIN_CA_SECRET: Final = f"{GROUP}/admin-ca-secret"
"""Annotation of a workload: the Secret whose field ``ca.crt`` signs the admin API's certificate. It forces TLS."""
CONFIG_RELOAD: Final = f"{GROUP}/config-reload"
"""Annotation of a workload: ``Watch`` if the gateway reloads its config by itself, otherwise ``Restart``."""
RESTORED: Final = f"{GROUP}/restored"
"""Annotation of a pod template: the restore that last restarted the pods. Setting it twice restarts once."""
RESTORE_LABEL: Final = f"{GROUP}/restore"
"""Label of a safety backup: the restore that created it. Only a hint: the restore's status must name the uid."""

SCHEDULE_LABEL: Final = f"{GROUP}/schedule"
"""Label of a backup and of a CronJob: the schedule that created it."""
BACKUP_TEMPLATE: Final = f"{GROUP}/backup-template"
"""Annotation of a schedule's pods: the GatewayBackup to create, as JSON."""
DRILL_TEMPLATE: Final = f"{GROUP}/drill-template"
"""Annotation of the pods of a schedule's drills: the GatewayRestore to create, as JSON."""
IMPORT_LABEL: Final = f"{GROUP}/import"
"""Label of a backup: the GatewayBackupImport that created it."""
IMPORT_UID: Final = f"{GROUP}/import-uid"
"""Annotation of such a backup: the import's uid, since a name may be reused."""
APPROVE_DELETIONS: Final = f"{GROUP}/approve-deletions"
"""Annotation of a schedule: the nonces of the holds that a person has approved, separated by commas."""

RESTORE_APPROVAL: Final = f"{GROUP}/restore-approval"
"""Annotation of a workload: ``Required`` if a second person must approve each restore."""
APPROVAL_TIMEOUT: Final = f"{GROUP}/approval-timeout"
"""Annotation of a workload: how long a restore waits for its approval, such as ``24h``."""
APPROVED_BY: Final = f"{GROUP}/approved-by"
"""Annotation of a restore: the user who approves it. The admission policy proves that this user has set it."""
DRILL_LABEL: Final = f"{GROUP}/drill"
"""Label of a drill pod and of its NetworkPolicy: the restore. No Service or workload selects it."""
DRILL_KIND: Final = f"{GROUP}/drill-kind"
"""Label of a drill pod: the kind of its workload. It selects the admission policy that compares the pod."""
DRILL_OF: Final = f"{GROUP}/drill-of"
"""Annotation of a drill pod: the name of the workload whose pod template it has."""
DRILL_ISOLATION: Final = f"{GROUP}/drill-isolation"
"""Annotation of a workload: ``Optional`` accepts drill pods that no policy engine isolates; otherwise ``Required``."""

GATEWAY_LABEL: Final = f"{GROUP}/gateway"
"""Label of a Secret with an age identity: the only gateway whose restores may use it."""

DEFAULT_IDENTITY_KEY: Final = "identity"

SPEC_DIGEST: Final = f"{GROUP}/spec-digest"
"""Annotation of a CronJob: the digest of the spec that the operator last wrote. If the desired spec still has this
digest and the CronJob differs, someone else changed it."""

ADMIN_KEY_FIELD: Final = "admin-key"
CA_FIELD: Final = "ca.crt"
SAFETY_GROUP: Final = "safety"
MANUAL_GROUP: Final = "manual"

COMPONENT_LIMIT: Final = 180
"""Bytes of one path component: the admin API rejects longer ones."""
_SUFFIX: Final = ".json.zst"
ENCRYPTED: Final = ".age"
_LONGEST_COMPANION: Final = ".verification"
"""The longest suffix of a file that the admin API writes beside a backup. It must fit as well."""
_NAME_LIMIT: Final = 63
_JOB_UID_CHARACTERS: Final = 5


def backup_path(group: str, created: datetime, name: str, uid: str, *, encrypted: bool = False) -> str:
    """The path of a backup in the gateway's backup directory, from immutable fields and ``encrypted``.

    ``encrypted`` is the gateway's setting at the first call. The status records the path, so a later change of the
    setting does not matter.
    """
    stamp = created.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    tail = f"-{uid[:8]}{_SUFFIX}{ENCRYPTED if encrypted else ''}"
    room = COMPONENT_LIMIT - len(stamp) - 1 - len(tail) - len(_LONGEST_COMPANION)
    return f"{group}/{stamp}-{name[:room]}{tail}"


def safety_backup_name(restore_name: str, restore_uid: str) -> str:
    """The name of the GatewayBackup that a restore creates before it replaces the config."""
    tail = f"-safety-{restore_uid[:8]}"
    return restore_name[: _NAME_LIMIT - len(tail)].rstrip("-.") + tail


def drill_name(restore_name: str, restore_uid: str) -> str:
    """The name of a drill's pod and of its NetworkPolicy. Nobody knows the uid before the restore exists."""
    tail = f"-drill-{restore_uid[:8]}"
    return restore_name[: _NAME_LIMIT - len(tail)].rstrip("-.") + tail


def job_backup_name(job_name: str, job_uid: str) -> str:
    """The only name that the GatewayBackup or the drill of this Job can have. Nobody knows the uid before it exists."""
    tail = f"-{job_uid[:_JOB_UID_CHARACTERS]}"
    return job_name[: _NAME_LIMIT - len(tail)].rstrip("-.") + tail


def drill_cron_job_name(schedule: str) -> str:
    """The CronJob of a schedule's drills. A CronJob's name has at most 52 characters, a schedule's at most 46."""
    return f"{schedule}-drill"


def backup_account(gateway: str) -> str:
    """The ServiceAccount that a schedule's pods use to create backups and drills of a gateway."""
    return f"{gateway}-backup"


def label_value(name: str) -> str:
    """A name as the value of a label: at most 63 characters, ending in a letter or digit."""
    return name[:_NAME_LIMIT].rstrip("-._")


def canonical_digest(value: Any) -> str:
    """SHA-256 of the value as JSON with sorted keys and no spaces: equal values have equal digests."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
