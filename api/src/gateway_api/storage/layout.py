"""Every name that this server writes to disk: state folders, records, suffixes. Nothing else in the code spells one."""

from __future__ import annotations

import re
from typing import Final

LOG: Final = "audit.jsonl"


LAST_KEY: Final = "last_key"


GATEWAY_ID = "gateway_id"
VOLUME_ID = "volume_id"


BEGUN: Final = ".deleting"
DONE: Final = ".json"


TEMPORARY: Final = re.compile(r"^\.gateway-[0-9a-f]{16}\.tmp$")


JOURNAL: Final = "restore.json"


SIGNING_KEY: Final = "signing_key.pem"
"""In the config directory's state folder: never on the volume whose files it vouches for."""


RESERVE: Final = "reserve"


GZIPPED: Final = ".gz"
"""Not counted: a backup of the longest name stays within reach when a person gzips it."""


MANIFEST_SUFFIX: Final = ".manifest.json"
VERIFICATION_SUFFIX: Final = ".verification.json"
RESERVED_SUFFIXES: Final = (MANIFEST_SUFFIX, VERIFICATION_SUFFIX, ".tmp")


FOLDER: Final = ".gateway"
LOCK: Final = "lock"


PENDING: Final = "pending"
TOMBSTONES: Final = "tombstones"
REQUESTS: Final = "requests"


UPLOADS: Final = "uploads"
