"""`Blob`: the immutable bytes of a config or of a backup file.

A small blob is a `bytes` object. A large blob is a sealed anonymous file (memfd) of the kernel. It is hashed,
compressed and written in pieces, so that no copy of all bytes blocks the interpreter and with it the probes. A worker
process receives a large blob as a file descriptor.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

NO_LIMIT: Final = 1 << 40
"""Bytes; larger than every file that is read without a limit of its own."""
PIECE_BYTES: Final = 1 << 20
IN_MEMORY_BYTES: Final = 1 << 20
"""A blob with more bytes is kept in a memfd."""
_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class MemFd:
    """An anonymous file in memory, which another process can fill. Closed when the last reference is dropped."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("config", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self.fd)


class Blob:
    """Immutable bytes. ``size`` is their number, ``sha256`` their digest in lower-case hex."""

    __slots__ = ("_file", "_small", "sha256", "size")

    def __init__(self, data: bytes | MemFd, size: int, sha256: str) -> None:
        self._small = data if isinstance(data, bytes) else None
        self._file = None if isinstance(data, bytes) else data
        self.size = size
        self.sha256 = sha256

    @staticmethod
    def of(data: bytes) -> Blob:
        """A blob of ``data``, kept in the interpreter's memory whatever its size."""
        return Blob(data, len(data), hashlib.sha256(data).hexdigest())

    def pieces(self) -> Iterator[bytes | memoryview]:
        """All bytes in order. A piece is valid only until the next one is requested. Raises ``OSError``."""
        if self._file is None:
            yield self._small or b""
            return
        buffer = bytearray(PIECE_BYTES)
        view = memoryview(buffer)
        offset = 0
        while count := os.preadv(self._file.fd, [buffer], offset):
            offset += count
            yield view[:count]

    def data(self) -> bytes:
        """All bytes at once. Only for small blobs, and where a copy of all bytes is intended."""
        return self._small if self._small is not None else b"".join(map(bytes, self.pieces()))

    @contextmanager
    def descriptor(self) -> Iterator[int]:
        """A descriptor from which another process can read all bytes, from offset 0. Raises ``OSError``."""
        if self._file is not None:
            yield self._file.fd
            return
        copy = MemFd()
        write_pieces(copy.fd, self.pieces())
        yield copy.fd


class BlobWriter:
    """A writable stream that becomes a blob. Raises ``OSError`` when memory is short."""

    def __init__(self) -> None:
        self._hasher = hashlib.sha256()
        self._small = bytearray()
        self._file: MemFd | None = None
        self.size = 0

    def write(self, piece: bytes | memoryview) -> int:
        """Appends ``piece``. The caller may reuse its buffer afterwards."""
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
        """Does nothing: each write is complete. Part of the stream interface that pyrage expects."""

    def to_blob(self) -> Blob:
        """The written bytes as a blob. Seals the memfd, so call this once, after the last write."""
        if self._file is None:
            return Blob(bytes(self._small), self.size, self._hasher.hexdigest())
        fcntl.fcntl(self._file.fd, fcntl.F_ADD_SEALS, _SEALS)
        return Blob(self._file, self.size, self._hasher.hexdigest())


def write_pieces(fd: int, pieces: Iterable[bytes | bytearray | memoryview], at: int = 0) -> int:
    """Writes all bytes from offset ``at``, in as many calls as needed. Returns the offset after the last byte."""
    for piece in pieces:
        view = memoryview(piece)
        while view:
            written = os.pwrite(fd, view, at)
            at += written
            view = view[written:]
    return at


def read_pieces(fd: int, limit: int) -> Iterator[memoryview]:
    """Reads from the start to the end, at most ``limit`` + 1 bytes, so that the caller can detect an excess.

    A piece is valid only until the next one is requested. Raises ``OSError``.
    """
    buffer = bytearray(min(PIECE_BYTES, limit + 1, os.fstat(fd).st_size + 1))
    view = memoryview(buffer)
    offset = 0
    while offset <= limit and (count := os.preadv(fd, [view[: limit + 1 - offset]], offset)):
        offset += count
        yield view[:count]


def read_blob(fd: int, limit: int) -> Blob:
    """Reads an open file into a blob, at most ``limit`` + 1 bytes. Raises ``OSError``."""
    writer = BlobWriter()
    for piece in read_pieces(fd, limit):
        writer.write(piece)
    return writer.to_blob()


def digest_and_size(fd: int, limit: int) -> tuple[str, int]:
    """SHA-256 and size of the bytes that :func:`read_blob` would return, without keeping them."""
    hasher, size = hashlib.sha256(), 0
    for piece in read_pieces(fd, limit):
        hasher.update(piece)
        size += len(piece)
    return hasher.hexdigest(), size
