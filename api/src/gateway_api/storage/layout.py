"""The names of all files that this server writes. Other modules take names from here and spell none themselves.

The server writes to two directories. Each has a state folder, which requests cannot address.

        CONFIG DIRECTORY
          config.json                             the live config; its name is a setting
          .gateway/
            lock                                  flock: one operation at a time
            gateway_id                            32 hex digits, created once
            last_key                              SHA-256 of the admin key of the last valid config
            signing_key.pem                       only if no setting names a signing key file
            restore.json                          journal of the latest restore
            staged-{request_id}                   the config that a restore is about to activate
            previous-{time}                       a config that a restore or a rollback replaced
            requests/                             records of finished restores until the backup volume takes them
            audit_head                            number of audit lines on each volume and digest of the last one
            audit_gap                             number and first time of audit lines that are not on the volume
            probe.lock                            flock: one readiness check at a time; in both state folders
            probe, probe.*                        files of a running readiness check; in both state folders

        BACKUP DIRECTORY
          any/folder/NAME                         the data of a backup
          any/folder/NAME.manifest                its manifest, written after the data and never changed
          any/folder/NAME.verification            the result of the last verification
          safety/                                 backups that the server takes before a restore
          .gateway/
            lock                                  flock: one operation at a time
            volume_id                             32 hex digits, created once
            reserve                               1 MiB that a deletion or an audit line may use on a full volume
            pending/{backup_id}.json              manifest of a backup whose data is being published
            uploads/{backup_id}.json              manifest of an unfinished upload
            uploads/{backup_id}.part              the bytes received so far
            tombstones/{backup_id}.deleting       manifest of a backup whose deletion has begun
            tombstones/{backup_id}.json           manifest of a backup that was deleted or replaced
            requests/restore-{request_id}.json    record of a finished restore
            missing/{backup_id}-{digest}.manifest manifest whose data is gone; the digest is of its path
            missing.json                          since when data is gone, and the time of the last check
            audit.jsonl                           the current segment of the audit log
            audit-{lines}.jsonl                   a finished segment, named by the number of its last record

Any directory above may also hold `.gateway-{16 hex digits}.tmp`: a temporary file, removed after a crash. A readiness
check has `.gateway-probe.tmp` and the folder `.gateway-probe` in both directories for a moment.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import UTC, datetime
from typing import Final

# Both state folders.
STATE_FOLDER: Final = ".gateway"
LOCK_FILE: Final = "lock"
REQUESTS_FOLDER: Final = "requests"
PROBE_LOCK_FILE: Final = "probe.lock"
PROBE_FOLDER: Final = "probe"
PROBE_FILES: Final = ("probe.new", "probe.published", "probe.linked", "probe.appended")
PROBE_TARGET: Final = ".gateway-probe.tmp"
PROBE_BASE_FOLDER: Final = ".gateway-probe"
"""Both in the directory that contains the state folder. `TEMPORARY_NAME` does not match these names: only a readiness
check that holds the lock of these checks may remove the files."""

# The state folder of the config directory.
GATEWAY_ID_FILE: Final = "gateway_id"
LAST_KEY_FILE: Final = "last_key"
SIGNING_KEY_FILE: Final = "signing_key.pem"
"""Never on the backup volume: a key beside the files that it signs would prove nothing."""
JOURNAL_FILE: Final = "restore.json"
STAGED_CONFIG_PREFIX: Final = "staged-"
PREVIOUS_CONFIG_PREFIX: Final = "previous-"
_PREVIOUS_CONFIG_TIME: Final = f"{PREVIOUS_CONFIG_PREFIX}%Y%m%dT%H%M%S.%fZ"
AUDIT_HEAD_FILE: Final = "audit_head"
AUDIT_GAP_FILE: Final = "audit_gap"

# The state folder of the backup directory.
VOLUME_ID_FILE: Final = "volume_id"
RESERVE_FILE: Final = "reserve"
PENDING_FOLDER: Final = "pending"
UPLOADS_FOLDER: Final = "uploads"
MISSING_FOLDER: Final = "missing"
MISSING_RECORD_FILE: Final = "missing.json"
TOMBSTONES_FOLDER: Final = "tombstones"
AUDIT_LOG_FILE: Final = "audit.jsonl"
AUDIT_SEGMENT_NAME: Final = re.compile(r"^audit-([0-9]{12})\.jsonl$")
DELETION_STARTED_SUFFIX: Final = ".deleting"

# Beside a backup.
SAFETY_FOLDER: Final = "safety"
MANIFEST_SUFFIX: Final = ".manifest"
VERIFICATION_SUFFIX: Final = ".verification"
RESERVED_SUFFIXES: Final = (MANIFEST_SUFFIX, VERIFICATION_SUFFIX, ".tmp")
"""No backup may have a name with one of these suffixes, in any case."""
GZIP_SUFFIX: Final = ".gz"
"""Not counted in the length limit, so that a backup of the longest name can still be gzipped by hand."""

TEMPORARY_NAME: Final = re.compile(r"^\.gateway-[0-9a-f]{16}\.tmp$")


def new_temporary_name() -> str:
    """A random name that `TEMPORARY_NAME` matches."""
    return f".gateway-{secrets.token_hex(8)}.tmp"


def staged_config_name(request_id: str) -> str:
    """The config that a restore is about to activate."""
    return STAGED_CONFIG_PREFIX + request_id


def previous_config_name(replaced: datetime) -> str:
    """The config that was live until ``replaced``, a time in UTC. It stays until a backup on the volume holds it."""
    return f"{replaced:{_PREVIOUS_CONFIG_TIME}}"


def previous_config_time(name: str) -> datetime | None:
    """The time in UTC in the name of a previous config, None for another name."""
    try:
        return datetime.strptime(name, _PREVIOUS_CONFIG_TIME).replace(tzinfo=UTC)
    except ValueError:
        return None


def restore_record_name(request_id: str) -> str:
    """The record of a finished restore in `requests/`."""
    return f"restore-{request_id}.json"


def pending_manifest_name(backup_id: str) -> str:
    """The manifest in `pending/` while its data is being published."""
    return f"{backup_id}.json"


def path_digest(path: str) -> str:
    """32 hex digits for the path of a data file. They are in the name of its manifest in `missing/`."""
    return hashlib.sha256(path.encode()).hexdigest()[:32]


def missing_manifest_name(backup_id: str, path: str) -> str:
    """The manifest in `missing/` of the data file that was at ``path``."""
    return f"{backup_id}-{path_digest(path)}{MANIFEST_SUFFIX}"


def parse_missing_manifest_name(name: str) -> tuple[str, str] | None:
    """The backup id and the path digest in a name in `missing/`, or None for any other name."""
    backup_id, _, digest = name.removesuffix(MANIFEST_SUFFIX).rpartition("-")
    return (backup_id, digest) if backup_id and name.endswith(MANIFEST_SUFFIX) else None


def upload_manifest_name(backup_id: str) -> str:
    """The manifest of an unfinished upload in `uploads/`."""
    return f"{backup_id}.json"


def upload_data_name(backup_id: str) -> str:
    """The received bytes of an unfinished upload in `uploads/`."""
    return f"{backup_id}.part"


def deletion_started_name(backup_id: str) -> str:
    """The tombstone of a deletion that recovery must finish."""
    return backup_id + DELETION_STARTED_SUFFIX


def tombstone_name(backup_id: str) -> str:
    """The tombstone of a backup that was deleted or replaced."""
    return f"{backup_id}.json"


def audit_segment_name(lines: int) -> str:
    """A finished audit segment. Zero-padded, so that names sort by age."""
    return f"audit-{lines:012}.jsonl"
