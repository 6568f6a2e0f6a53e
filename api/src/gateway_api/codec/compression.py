"""Compresses and decompresses backup files with gzip or zstd, in pieces.

The suffix of the file name selects the format, so that `gunzip` or `zstd` can open a backup without this software.
Decompression stops at the largest size that a config may have, so a decompression bomb cannot exhaust the memory.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.storage.content import Blob, BlobWriter

Compression = Literal["none", "gzip", "zstd"]
ZSTD_LEVEL: Final = 1
"""Level 1 takes half the time of the default 3. Configs are no larger, as their keys and ids are random.

Source: docs/performance.md.
"""
GZIP_LEVEL: Final = 6
_GZIP_WINDOW: Final = 31
"""A 32 KiB window (15) with a gzip header and trailer (+ 16), as zlib encodes it."""
_CHUNK: Final = 64 * 1024
_ZSTD_PIECE: Final = 256
"""Bytes of input per call. Four bytes of zstd can decode to 128 KiB, so 256 bytes give at most 8 MiB at once."""
_MAX_MEMBERS: Final = 1024
"""Each gzip member or zstd frame costs a new decompressor, even if it is empty."""


class DecodeError(Exception):
    """The bytes are not in the format of the suffix, are truncated, or are followed by other bytes."""


@dataclass(frozen=True, slots=True)
class StoredFormat:
    """The format of a backup file, from its name."""

    compression: Compression
    encrypted: bool


def format_for_name(name: str) -> StoredFormat:
    """The format of the suffix of ``name``. A name with any other suffix is plain JSON."""
    lower = name.lower()
    encrypted = lower.endswith(".age")
    if encrypted:
        lower = lower.removesuffix(".age")
    if lower.endswith(".gz"):
        return StoredFormat("gzip", encrypted)
    if lower.endswith(".zst"):
        return StoredFormat("zstd", encrypted)
    return StoredFormat("none", encrypted)


def compress(content: Blob, compression: Compression) -> Iterator[bytes | memoryview]:
    """The bytes of the file, in pieces. Equal content gives equal bytes: no time and no name is stored."""
    if compression == "none":
        yield from content.pieces()
        return
    compressor = _gzip_compressor() if compression == "gzip" else _zstd_compressor(content.size)
    for piece in content.pieces():
        if compressed := compressor.compress(piece):
            yield compressed
    yield compressor.flush()


class _Compressor(Protocol):
    def compress(self, data: bytes | memoryview, /) -> bytes: ...

    def flush(self) -> bytes: ...


def _gzip_compressor() -> _Compressor:
    return zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)


def _zstd_compressor(size: int) -> _Compressor:
    import zstandard

    return zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compressobj(size=size)


def decompress(stored: Blob, compression: Compression, limit: int) -> Blob:
    """The decompressed bytes. Raises :class:`DecodeError`.

    Raises ``BackupTooLarge`` as soon as more than ``limit`` bytes are decompressed. Sizes in headers are not trusted.
    """
    if compression == "none":
        if stored.size > limit:
            raise _backup_too_large(limit)
        return stored
    out = LimitedBlobWriter(limit)
    decompressor = _Decompressor(_GZIP if compression == "gzip" else _ZSTD, out)
    for piece in stored.pieces():
        decompressor.add(piece)
    decompressor.end()
    return out.to_blob()


def _backup_too_large(limit: int) -> ApiError:
    return ApiError(ErrorCode.BackupTooLarge, f"the backup contains more than the allowed {limit} bytes")


class LimitedBlobWriter(BlobWriter):
    """Collects decompressed bytes up to a limit."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def write(self, piece: bytes | memoryview) -> int:
        """Appends ``piece``. Raises ``BackupTooLarge``."""
        if self.size + len(piece) > self._limit:
            raise _backup_too_large(self._limit)
        return super().write(piece)


class _Member(Protocol):
    """The decompressor of one gzip member or zstd frame, as zlib and zstandard define it."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Codec:
    """The functions of one compression format. They import zstandard only when it is needed."""

    name: str
    input_bytes: int
    """Bytes of input per call of ``feed``."""
    new_member: Callable[[], _Member]
    feed: Callable[[Any, memoryview], Iterator[bytes]]
    error_type: Callable[[], type[Exception]]


def _feed_gzip(member: Any, piece: memoryview) -> Iterator[bytes]:
    rest: bytes | memoryview = piece
    while rest and not member.eof:
        yield member.decompress(rest, _CHUNK)
        rest = member.unconsumed_tail


def _feed_zstd(member: Any, piece: memoryview) -> Iterator[bytes]:
    yield member.decompress(piece)


def _new_zstd_member() -> _Member:
    import zstandard

    # The window of `zstd --long=27`. A larger one is refused, because the header alone would allocate it.
    return zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()


def _zstd_error_type() -> type[Exception]:
    import zstandard

    return zstandard.ZstdError


_GZIP: Final = _Codec("gzip", _CHUNK, lambda: zlib.decompressobj(_GZIP_WINDOW), _feed_gzip, lambda: zlib.error)
_ZSTD: Final = _Codec("zstd", _ZSTD_PIECE, _new_zstd_member, _feed_zstd, _zstd_error_type)


class _Decompressor:
    """Decompresses one or more complete members in sequence. Refuses other bytes after the last one."""

    def __init__(self, codec: _Codec, out: LimitedBlobWriter) -> None:
        self._codec = codec
        self._out = out
        self._error_type = codec.error_type()
        self._member: _Member | None = None
        self._members = 0

    def add(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        try:
            while view:
                if self._member is None:
                    self._begin()
                piece = view[: self._codec.input_bytes]
                view = view[len(piece) :]
                for output in self._codec.feed(self._member, piece):
                    self._out.write(output)
                if self._member is not None and self._member.eof:
                    unused = len(self._member.unused_data)
                    self._member = None
                    if unused:
                        # The next member begins inside of this piece: feed the rest of it again.
                        view = memoryview(data)[len(data) - len(view) - unused :]
        except self._error_type:
            raise DecodeError(f"not {self._codec.name} data, or damaged") from None

    def _begin(self) -> None:
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise DecodeError(f"the {self._codec.name} data has more than {_MAX_MEMBERS} members")
        self._member = self._codec.new_member()

    def end(self) -> None:
        if self._member is not None or not self._members:
            raise DecodeError(f"the {self._codec.name} data is truncated")


class DecodeCheck:
    """A writable stream that decompresses a file and compares the result with its source.

    Only for files that this process has just compressed: the memory for one call is not limited.
    """

    def __init__(self, compression: Compression) -> None:
        import zstandard

        self._hasher = hashlib.sha256()
        self._error_types = (zlib.error, zstandard.ZstdError)
        self._damaged = False
        self._decompressor: Any = None
        if compression != "none":
            gzip = compression == "gzip"
            self._decompressor = (
                zlib.decompressobj(_GZIP_WINDOW) if gzip else zstandard.ZstdDecompressor().decompressobj()
            )

    def write(self, piece: bytes | memoryview) -> int:
        """Decompresses ``piece``. Damaged bytes do not raise; :meth:`matches` reports them."""
        # zstandard raises for an empty piece after the end of a frame, which is no damage.
        if piece:
            try:
                self._hasher.update(piece if self._decompressor is None else self._decompressor.decompress(piece))
            except self._error_types:
                self._damaged = True
        return len(piece)

    def flush(self) -> None:
        """Does nothing: each write is complete. Part of the stream interface that pyrage expects."""

    def matches(self, content: Blob) -> bool:
        """Whether the written bytes decompress to exactly ``content``. Call this after the last write."""
        ended = self._decompressor is None or (self._decompressor.eof and not self._decompressor.unused_data)
        return ended and not self._damaged and self._hasher.hexdigest() == content.sha256
