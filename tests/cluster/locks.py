"""File locks that separate concurrent runs on one machine.

The kernel releases such a lock when its holder ends, even after SIGKILL. A stale lock is impossible.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Lock:
    """An exclusive lock on a file, held by this process until `release`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def try_acquire(self) -> bool:
        """Acquire the lock if it is free; returns whether it was."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def acquire(self) -> None:
        """Acquire the lock, and block until it is free."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def release(self) -> None:
        """Release the lock; a second call has no effect."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of this file during a block."""
    lock = Lock(path)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()
