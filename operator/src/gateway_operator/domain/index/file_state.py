"""Whether the file of a Completed GatewayBackup is on the volume of its gateway, as the last listing shows it."""

from __future__ import annotations

from enum import StrEnum


class FileState(StrEnum):
    """The state of a backup's file. Only a backup whose file is ``present`` counts for a retention rule."""

    present = "present"
    """At its own path, or there as ``.gz``, with the right digest."""
    unproven = "unproven"
    """At its own path with the right size, but without a manifest that proves the digest."""
    changed = "changed"
    """Its path has other content, or the file was moved. It belongs to the person who did that."""
    missing = "missing"
    """The listing does not have it. A read of its record has not confirmed this yet."""
    absent = "absent"
    """Missing, and confirmed. The object has the condition FilePresent=False."""
    other_volume = "other volume"
    """The gateway has another volume than the one on which the backup was made."""
    unknown = "unknown"
    """Nothing is known: there is no complete listing, or the backup is newer than the listing."""

    @property
    def is_lost(self) -> bool:
        """Whether the gateway's volume does not have the file as the backup was made."""
        return self in (FileState.changed, FileState.missing, FileState.absent, FileState.other_volume)
