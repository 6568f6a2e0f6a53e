"""Why a GatewayBackup exists. The operator verifies it and writes it into ``status.origin`` once.

The creator of an object writes its spec, labels and annotations, so none of these is a proof of the origin.
"""

from __future__ import annotations

from enum import StrEnum


class Origin(StrEnum):
    """The verified origin of a GatewayBackup. An absent or unknown value counts as ``Manual``."""

    Schedule = "Schedule"
    Restore = "Restore"
    Adopted = "Adopted"
    Manual = "Manual"

    @classmethod
    def parse(cls, value: object) -> Origin:
        """From ``status.origin``."""
        return cls(value) if isinstance(value, str) and value in cls.__members__ else cls.Manual
