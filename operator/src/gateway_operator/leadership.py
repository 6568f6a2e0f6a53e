"""Whether this process may act: call an admin API, or write to the Kubernetes API.

The answer is computed from the clock at each question. A process that was frozen longer than its leadership gets the
right answer in its first step, before a task of its own has noticed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from gateway_operator.ports import ClusterError

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""The clock of Linux that also counts the time in which the machine was suspended."""


class NotLeaderError(ClusterError):
    """This process is not the leader, so the call or the write was not started."""


def elapsed_seconds() -> float:
    """Seconds of a clock that never goes back."""
    return time.clock_gettime(_CLOCK)


class Leadership:
    """The right to act until a time of ``clock``. Without leader election it never ends."""

    def __init__(self, *, elected: bool, clock: Callable[[], float] = elapsed_seconds) -> None:
        self._clock = clock
        self._until = -math.inf if elected else math.inf

    @property
    def is_leader(self) -> bool:
        return self._clock() < self._until

    @property
    def remaining(self) -> float:
        """Seconds for which the right lasts if it is not extended; 0 or less if it has ended."""
        return self._until - self._clock()

    def extend(self, until: float) -> None:
        """Give the right until a time of the clock."""
        self._until = until

    def revoke(self) -> None:
        self._until = -math.inf

    def require(self) -> None:
        """Raise NotLeaderError if this process may not act. Adapters call it immediately before they send."""
        if not self.is_leader:
            raise NotLeaderError("This replica of the operator is not the leader.")
