"""The exact bytes of a config or of a backup's file, once read: nothing changes them any more.

Small ones are bytes like any others. Large ones lie in a sealed anonymous file of the kernel's, outside the
interpreter: they are hashed, compressed and written a piece at a time, so that no probe ever waits for a copy of all of
them, and a worker process gets them as a descriptor.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

PIECE_BYTES: Final = 1 << 20
IN_MEMORY_BYTES: Final = 1 << 20
"""What is larger leaves the interpreter."""
_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class MemFd:
    """Owns a descriptor for as long as anybody has a use for it."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("config", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self.fd)


class Blob:
    """``size`` bytes with the digest ``sha256``, lower-case hex."""

    __slots__ = ("_file", "_small", "sha256", "size")

    def __init__(self, held: bytes | MemFd, size: int, sha256: str) -> None:
        self._small = held if isinstance(held, bytes) else None
        self._file = None if isinstance(held, bytes) else held
        self.size = size
        self.sha256 = sha256

    @staticmethod
    def of(data: bytes) -> Blob:
        """``data`` as they are."""
        return Blob(data, len(data), hashlib.sha256(data).hexdigest())

    def pieces(self) -> Iterator[bytes | memoryview]:
        """All bytes in order. A piece is good only until the next one is asked for. Raises ``OSError``."""
        if self._file is None:
            yield self._small or b""
            return
        buffer = bytearray(PIECE_BYTES)
        view = memoryview(buffer)
        offset = 0
        while got := os.preadv(self._file.fd, [buffer], offset):
            offset += got
            yield view[:got]

    def data(self) -> bytes:
        """All bytes at once: for what is small, and for what a person asked for on purpose."""
        return self._small if self._small is not None else b"".join(map(bytes, self.pieces()))

    @contextmanager
    def descriptor(self) -> Iterator[int]:
        """A descriptor that another process may read all bytes from, from the start. Raises ``OSError``."""
        if self._file is not None:
            yield self._file.fd
            return
        held = MemFd()
        write_pieces(held.fd, self.pieces())
        yield held.fd


class BlobWriter:
    """Takes the bytes of a content in order, then gives it. Raises ``OSError`` when there is no memory for it."""

    def __init__(self) -> None:
        self._hasher = hashlib.sha256()
        self._small = bytearray()
        self._file: MemFd | None = None
        self.size = 0

    def write(self, piece: bytes | memoryview) -> int:
        """Takes the next bytes; the caller may reuse what holds them."""
        self._hasher.update(piece)
        if self._file is None and self.size + len(piece) > IN_MEMORY_BYTES:
            self._file = MemFd()
            write_pieces(self._file.fd, [self._small])
            self._small = bytearray()
        if self._file is None:
            self._small += piece
        else:
            write_pieces(self._file.fd, [piece], self.size)
        self.size += len(piece)
        return len(piece)

    def flush(self) -> None:
        """Nothing is held back."""

    @staticmethod
    @contextmanager
    def new_memfd() -> Iterator[int]:
        """The descriptor of an anonymous file that another process may fill. Raises ``OSError``."""
        held = MemFd()
        yield held.fd

    def content(self) -> Blob:
        """What was written, sealed."""
        if self._file is None:
            return Blob(bytes(self._small), self.size, self._hasher.hexdigest())
        fcntl.fcntl(self._file.fd, fcntl.F_ADD_SEALS, _SEALS)
        return Blob(self._file, self.size, self._hasher.hexdigest())


def write_pieces(fd: int, pieces: Iterable[bytes | bytearray | memoryview], at: int = 0) -> int:
    """Writes every byte from ``at``, however many calls it takes; returns the offset behind the last."""
    for piece in pieces:
        view = memoryview(piece)
        while view:
            written = os.pwrite(fd, view, at)
            at += written
            view = view[written:]
    return at


def read_pieces(fd: int, limit: int) -> Iterator[memoryview]:
    """From the start to the end, at most ``limit`` + 1 bytes, so that the caller sees an excess. A piece is good only
    until the next one is asked for."""
    buffer = bytearray(min(PIECE_BYTES, limit + 1, os.fstat(fd).st_size + 1))
    view = memoryview(buffer)
    offset = 0
    while offset <= limit and (got := os.preadv(fd, [view[: limit + 1 - offset]], offset)):
        offset += got
        yield view[:got]


def read_blob(fd: int, limit: int) -> Blob:
    """What an open file holds, at most ``limit`` + 1 bytes of it. Raises ``OSError``."""
    writer = BlobWriter()
    for piece in read_pieces(fd, limit):
        writer.write(piece)
    return writer.content()


def digest_of(fd: int, limit: int) -> tuple[str, int]:
    """Digest and number of the bytes that :func:`read_blob` would give, without keeping them."""
    hasher, size = hashlib.sha256(), 0
    for piece in read_pieces(fd, limit):
        hasher.update(piece)
        size += len(piece)
    return hasher.hexdigest(), size
