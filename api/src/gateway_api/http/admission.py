"""Admits requests: cheap checks come before work that costs a thread, a file or time of the event loop.

A key that the last snapshot of accepted keys contains is checked against the files, each time. Any other key is
compared with the snapshot, which is loaded again at most once a second when a peer sends wrong keys. So wrong keys,
however many, never keep the right key waiting.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from gateway_api import logs
from gateway_api.auth import AcceptedKeys, match_key
from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.gateway_config.admin_keys import MIN_KEY_LENGTH, key_digest
from gateway_api.http.rate_limit import MAX_DELAY_SECONDS, FailureLimit, Pacer

NEGATIVE_SECONDS: Final = 1.0
"""How long a snapshot answers wrong keys of a peer that has sent many of them."""


class _Snapshot:
    """The keys that ``load`` returned last. ``loaded_at`` is None if they must be loaded again."""

    def __init__(self, load: Callable[[], Awaitable[AcceptedKeys]], clock: Callable[[], float]) -> None:
        self._load = load
        self._clock = clock
        self._loading = asyncio.Lock()
        self.keys: AcceptedKeys = ()
        self.loaded_at: float | None = None

    async def since(self, needed_since: float) -> AcceptedKeys:
        """The keys as of ``needed_since`` (monotonic seconds) or later. One load at a time."""
        async with self._loading:
            if self.loaded_at is None or self.loaded_at < needed_since:
                started_at = self._clock()
                self.keys = await self._load()
                self.loaded_at = started_at
            return self.keys


class KeyAdmission:
    """Authenticates requests on the event loop; the calls that read files run in threads of their own.

    ``loads`` return accepted keys, the fastest first: the keys in the key file do not wait for a config to be parsed.
    ``check`` returns the kind of a key digest, or None. All of them read the files.
    """

    def __init__(
        self,
        loads: Sequence[Callable[[], Awaitable[AcceptedKeys]]],
        check: Callable[[str], Awaitable[str | None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._snapshots = [_Snapshot(load, clock) for load in loads]
        self._check = check
        self._clock = clock
        self._failures = FailureLimit()

    def recognizes(self, presented: bytes | None) -> bool:
        """Whether a snapshot contains the key. It may be outdated: this never admits a request."""
        return presented is not None and self._in_snapshots(key_digest(presented))

    def _in_snapshots(self, digest: str) -> bool:
        keys = tuple(key for snapshot in self._snapshots for key in snapshot.keys)
        return match_key(digest, keys) is not None

    async def authenticate(self, presented: bytes | None, peer: str) -> str:
        """The kind of the accepted key. Raises ``Unauthorized``, ``AdminKeyTooShort`` or ``TooManyFailures``."""
        kind = None
        if presented is not None and len(presented) >= MIN_KEY_LENGTH:
            kind = await self._find(key_digest(presented), peer)
        if kind is not None:
            return kind
        wait = self._failures.record_failure(peer, self._clock())
        logs.limited_event("key_refused", logging.WARNING, peer=peer, limited=wait is not None)
        if wait is not None:
            raise ApiError(ErrorCode.TooManyFailures, retry_after=wait)
        short = presented is not None and len(presented) < MIN_KEY_LENGTH
        raise ApiError(ErrorCode.AdminKeyTooShort if short else ErrorCode.Unauthorized)

    async def _find(self, digest: str, peer: str) -> str | None:
        if self._in_snapshots(digest):
            # The files decide: a key that was rotated out must stop working at once.
            if (kind := await self._check(digest)) is not None:
                return kind
            for snapshot in self._snapshots:
                snapshot.loaded_at = None
            return None
        now = self._clock()
        # The first wrong keys of a peer always load the snapshot, because the key may be new. Afterwards a load may
        # be as old as NEGATIVE_SECONDS, and all requests that arrive during a load share the next one.
        needed_since = now - NEGATIVE_SECONDS if self._failures.is_limited(peer, now) else now
        for snapshot in self._snapshots:
            if (kind := match_key(digest, await snapshot.since(needed_since))) is not None:
                return kind
        return None


async def wait_for_pace(pacer: Pacer, peer: str, cost: float = 1.0) -> None:
    """Waits until the peer's next request may cost time of the event loop, at most ``MAX_DELAY_SECONDS``."""
    delay = pacer.reserve(peer, time.monotonic(), cost)
    if delay is None:
        delay = MAX_DELAY_SECONDS
    if delay > 0:
        await asyncio.sleep(delay)
