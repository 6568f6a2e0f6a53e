"""Limits failed authentications per peer."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

MAX_PEERS: Final = 4096
BURST: Final = 10.0
REFILL_PER_SECOND: Final = 0.2


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class FailureLimit:
    """A token bucket per peer that only failures draw from, so that a right key is never locked out."""

    def __init__(self) -> None:
        self._peers: OrderedDict[str, _Bucket] = OrderedDict()

    def failed(self, peer: str, now: float) -> int | None:
        """Counts a failure at ``now`` (monotonic seconds). None, or after how many seconds to try again."""
        bucket = self._peers.pop(peer, None) or _Bucket(BURST, now)
        bucket.tokens = min(BURST, bucket.tokens + (now - bucket.at) * REFILL_PER_SECOND)
        bucket.at = now
        self._peers[peer] = bucket
        while len(self._peers) > MAX_PEERS:
            self._peers.popitem(last=False)
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return None
        return int((1 - bucket.tokens) / REFILL_PER_SECOND) + 1
