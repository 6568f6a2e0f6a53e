"""A conflict is retried from the read, a limited number of times."""

from __future__ import annotations

import pytest

from gateway_operator.adapters.conflicts import ATTEMPTS, retry_on_conflict
from gateway_operator.ports import ConflictError, ForbiddenError


class Store:
    """An object whose first writes conflict."""

    def __init__(self, conflicts: int) -> None:
        self.conflicts = conflicts
        self.reads = 0

    async def read(self) -> int:
        self.reads += 1
        return self.reads

    async def change(self, version: int) -> str:
        if version <= self.conflicts:
            raise ConflictError("newer")
        return f"changed {version}"


async def test_each_attempt_reads_again() -> None:
    store = Store(conflicts=2)
    assert await retry_on_conflict(store.read, store.change) == "changed 3"


async def test_last_conflict_is_raised_after_the_last_attempt() -> None:
    store = Store(conflicts=1000)
    with pytest.raises(ConflictError, match="newer"):
        await retry_on_conflict(store.read, store.change)
    assert store.reads == ATTEMPTS


async def test_any_other_error_is_raised_at_once() -> None:
    store = Store(conflicts=0)

    async def refuse(_version: int) -> None:
        raise ForbiddenError("no")

    with pytest.raises(ForbiddenError):
        await retry_on_conflict(store.read, refuse)
    assert store.reads == 1
