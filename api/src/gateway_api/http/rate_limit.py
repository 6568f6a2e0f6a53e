"""Limits for each peer address: failed authentications are refused, and requests without a key are paced.

Both are token buckets. Pacing delays instead of refusing: one peer's requests then take a bounded share of the event
loop, and the probes of other peers are answered in time.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

MAX_PEERS: Final = 4096
"""Bounds the memory: above it, the peer that was active least recently is dropped."""
FAILURE_BURST: Final = 10.0
FAILURES_PER_SECOND: Final = 0.2
REQUEST_BURST: Final = 50.0
REQUESTS_PER_SECOND: Final = 200.0
MAX_DELAY_SECONDS: Final = 1.0


def peer_group(host: str) -> str:
    """The peer that limits count: an IPv4 address, or the /64 network of an IPv6 address, which one machine owns."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False).network_address)


@dataclass(slots=True)
class _Bucket:
    tokens: float
    updated_at: float  # monotonic seconds


class _Buckets:
    """One token bucket for each peer. The times are monotonic seconds."""

    def __init__(self, burst: float, per_second: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._peers: OrderedDict[str, _Bucket] = OrderedDict()

    def filled(self, peer: str, now: float) -> _Bucket:
        """The peer's bucket with the tokens that it has at ``now``."""
        bucket = self._peers.pop(peer, None) or _Bucket(self._burst, now)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.updated_at) * self._per_second)
        bucket.updated_at = now
        self._peers[peer] = bucket
        while len(self._peers) > MAX_PEERS:
            self._peers.popitem(last=False)
        return bucket


class FailureLimit:
    """Counts failed authentications per peer and says when a peer has to wait.

    Only failures take tokens, so a client with the right key is never locked out by failures from the same address.
    """

    def __init__(self) -> None:
        self._buckets = _Buckets(FAILURE_BURST, FAILURES_PER_SECOND)

    def is_limited(self, peer: str, now: float) -> bool:
        """Whether the next failure of the peer is refused with a time to wait."""
        return self._buckets.filled(peer, now).tokens < 1

    def record_failure(self, peer: str, now: float) -> int | None:
        """Counts a failure at ``now``. Returns the seconds to wait, or None below the limit."""
        bucket = self._buckets.filled(peer, now)
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return None
        return int((1 - bucket.tokens) / FAILURES_PER_SECOND) + 1


class Pacer:
    """Says how long a peer's next request or connection has to wait."""

    def __init__(self) -> None:
        self._buckets = _Buckets(REQUEST_BURST, REQUESTS_PER_SECOND)

    def reserve(self, peer: str, now: float, cost: float = 1.0) -> float | None:
        """Takes ``cost`` tokens and returns the seconds to wait before the work begins, usually 0.

        None if the wait would be longer than ``MAX_DELAY_SECONDS``; then nothing is taken.
        """
        bucket = self._buckets.filled(peer, now)
        wait = max(0.0, cost - bucket.tokens) / REQUESTS_PER_SECOND
        if wait > MAX_DELAY_SECONDS:
            return None
        bucket.tokens -= cost
        return wait
