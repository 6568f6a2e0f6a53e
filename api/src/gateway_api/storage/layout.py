"""Every name that this server writes to disk: state folders, records, suffixes. Nothing else in the code spells one."""

from __future__ import annotations

import re
from typing import Final

AUDIT_LOG_FILE: Final = "audit.jsonl"


LAST_KEY_FILE: Final = "last_key"


GATEWAY_ID_FILE = "gateway_id"
VOLUME_ID_FILE = "volume_id"


DELETION_STARTED_SUFFIX: Final = ".deleting"
DELETION_FINISHED_SUFFIX: Final = ".json"


TEMPORARY_NAME: Final = re.compile(r"^\.gateway-[0-9a-f]{16}\.tmp$")


JOURNAL_FILE: Final = "restore.json"


SIGNING_KEY_FILE: Final = "signing_key.pem"
"""In the config directory's state folder: never on the volume whose files it vouches for."""


RESERVE_FILE: Final = "reserve"


GZIP_SUFFIX: Final = ".gz"
"""Not counted: a backup of the longest name stays within reach when a person gzips it."""


MANIFEST_SUFFIX: Final = ".manifest.json"
VERIFICATION_SUFFIX: Final = ".verification.json"
RESERVED_SUFFIXES: Final = (MANIFEST_SUFFIX, VERIFICATION_SUFFIX, ".tmp")


STATE_FOLDER: Final = ".gateway"
LOCK_FILE: Final = "lock"


PENDING_FOLDER: Final = "pending"
TOMBSTONES_FOLDER: Final = "tombstones"
REQUESTS_FOLDER: Final = "requests"


UPLOADS_FOLDER: Final = "uploads"
