"""Limits failed authentications: a token bucket for each peer address.

Only failures take tokens, so a client with the right key is never locked out by failures from the same address.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

MAX_PEERS: Final = 4096
"""Bounds the memory: above it, the peer whose last failure is oldest is dropped."""
BURST: Final = 10.0
REFILL_PER_SECOND: Final = 0.2


@dataclass(slots=True)
class _Bucket:
    tokens: float
    updated_at: float  # monotonic seconds


class FailureLimit:
    """Counts failed authentications per peer and says when a peer has to wait."""

    def __init__(self) -> None:
        self._peers: OrderedDict[str, _Bucket] = OrderedDict()

    def record_failure(self, peer: str, now: float) -> int | None:
        """Counts a failure at ``now`` (monotonic seconds). Returns the seconds to wait, or None below the limit."""
        bucket = self._peers.pop(peer, None) or _Bucket(BURST, now)
        bucket.tokens = min(BURST, bucket.tokens + (now - bucket.updated_at) * REFILL_PER_SECOND)
        bucket.updated_at = now
        self._peers[peer] = bucket
        while len(self._peers) > MAX_PEERS:
            self._peers.popitem(last=False)
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return None
        return int((1 - bucket.tokens) / REFILL_PER_SECOND) + 1
