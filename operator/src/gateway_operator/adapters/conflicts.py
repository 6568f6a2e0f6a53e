"""Optimistic concurrency for the jobs and the command line: read, change, and repeat after a conflict.

A reconcile does not use this: after a conflict it decides again, because the new version may need another action.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from gateway_operator.ports import ConflictError

ATTEMPTS: Final = 8
Read = TypeVar("Read")
Result = TypeVar("Result")


async def retry_on_conflict(read: Callable[[], Awaitable[Read]], change: Callable[[Read], Awaitable[Result]]) -> Result:
    """Read an object and change it; read again and repeat if another writer changed it in between.

    ``change`` must create an object, or name the version that it was given. Raises the ConflictError of the last
    attempt after ``ATTEMPTS`` attempts.
    """
    for _ in range(ATTEMPTS - 1):
        with suppress(ConflictError):
            return await change(await read())
    return await change(await read())
