"""Read, change, write: for the jobs and the command line. A reconcile decides again instead."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from gateway_operator.ports import ConflictError

ATTEMPTS: Final = 8
Read = TypeVar("Read")
Result = TypeVar("Result")


async def retry_on_conflict(read: Callable[[], Awaitable[Read]], change: Callable[[Read], Awaitable[Result]]) -> Result:
    """Read something and change it; from the beginning again when somebody else wrote in between.

    ``change`` must name the version that it was given, or create. Raises the last conflict after ``ATTEMPTS``.
    """
    for _ in range(ATTEMPTS - 1):
        with suppress(ConflictError):
            return await change(await read())
    return await change(await read())
