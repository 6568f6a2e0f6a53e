"""From a file's name to its form, and between a config's bytes and a file's bytes.

The suffix decides, so that a person with `gunzip` or `zstd` opens a backup without this software. Nothing is
decompressed beyond the size a config may have.
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
"""Half the time of the usual 3, and on configs, whose keys and ids are random, no larger: docs/performance.md."""
GZIP_LEVEL: Final = 6
_GZIP_WINDOW: Final = 31
_CHUNK: Final = 64 * 1024
_ZSTD_PIECE: Final = 256
"""A zstd block of four bytes becomes 128 KiB: pieces this small keep one step of a bomb below 8 MiB."""
_MAX_MEMBERS: Final = 1024


class DecodeError(Exception):
    """The bytes are not what the suffix says, or end early, or are followed by others."""


@dataclass(frozen=True, slots=True)
class StoredFormat:
    """How a file holds its config."""

    compression: Compression
    encrypted: bool


def format_for_name(name: str) -> StoredFormat:
    """The form that ``name``'s suffix stands for; any suffix that is not known is plain JSON."""
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
    """The bytes of the file, a piece at a time. The same content always gives the same bytes: no time or name."""
    if compression == "none":
        yield from content.pieces()
        return
    packer = _gzip_compressor() if compression == "gzip" else _zstd_compressor(content.size)
    for piece in content.pieces():
        if some := packer.compress(piece):
            yield some
    yield packer.flush()


class _Compressor(Protocol):
    def compress(self, data: bytes | memoryview, /) -> bytes: ...

    def flush(self) -> bytes: ...


def _gzip_compressor() -> _Compressor:
    return zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)


def _zstd_compressor(size: int) -> _Compressor:
    import zstandard

    return zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compressobj(size=size)


def decompress(stored: Blob, compression: Compression, limit: int) -> Blob:
    """The config's bytes, at most ``limit`` of them.

    Raises :class:`DecodeError`, or ``BackupTooLarge`` as soon as the limit is passed, whatever a header claims.
    """
    if compression == "none":
        if stored.size > limit:
            raise too_large(limit)
        return stored
    out = LimitedBlobWriter(limit)
    unpacker = _Decompressor(_GZIP if compression == "gzip" else _ZSTD, out)
    for piece in stored.pieces():
        unpacker.add(piece)
    unpacker.end()
    return out.content()


def too_large(limit: int) -> ApiError:
    """The failure of a backup that holds, or claims to hold, more than ``limit`` bytes."""
    return ApiError(ErrorCode.BackupTooLarge, f"the backup holds more than the {limit} bytes a config may have")


class LimitedBlobWriter(BlobWriter):
    """Collects what is unpacked and stops at the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def write(self, piece: bytes | memoryview) -> int:
        """Takes the next bytes. Raises ``BackupTooLarge``."""
        if self.size + len(piece) > self._limit:
            raise too_large(self._limit)
        return super().write(piece)


class _Member(Protocol):
    """One gzip member or zstd frame being unpacked, as zlib and zstandard have it."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Codec:
    name: str
    piece: int
    member: Callable[[], _Member]
    feed: Callable[[Any, memoryview], Iterator[bytes]]
    failures: Callable[[], type[Exception]]


def _feed_gzip(member: Any, piece: memoryview) -> Iterator[bytes]:
    rest: bytes | memoryview = piece
    while rest and not member.eof:
        yield member.decompress(rest, _CHUNK)
        rest = member.unconsumed_tail


def _feed_zstd(member: Any, piece: memoryview) -> Iterator[bytes]:
    yield member.decompress(piece)


def _zstd_member() -> _Member:
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()


def _zstd_failure() -> type[Exception]:
    import zstandard

    return zstandard.ZstdError


_GZIP: Final = _Codec("gzip", _CHUNK, lambda: zlib.decompressobj(_GZIP_WINDOW), _feed_gzip, lambda: zlib.error)
_ZSTD: Final = _Codec("zstd", _ZSTD_PIECE, _zstd_member, _feed_zstd, _zstd_failure)


class _Decompressor:
    """Unpacks members that follow each other, each whole, and nothing after the last."""

    def __init__(self, codec: _Codec, out: LimitedBlobWriter) -> None:
        self._codec = codec
        self._out = out
        self._failure = codec.failures()
        self._member: _Member | None = None
        self._members = 0

    def add(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        try:
            while view:
                if self._member is None:
                    self._begin()
                piece = view[: self._codec.piece]
                view = view[len(piece) :]
                for some in self._codec.feed(self._member, piece):
                    self._out.write(some)
                if self._member is not None and self._member.eof:
                    unused = len(self._member.unused_data)
                    self._member = None
                    if unused:
                        view = memoryview(data)[len(data) - len(view) - unused :]
        except self._failure:
            raise DecodeError(f"not {self._codec.name} data, or damaged") from None

    def _begin(self) -> None:
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise DecodeError(f"the {self._codec.name} data are in too many pieces")
        self._member = self._codec.member()

    def end(self) -> None:
        if self._member is not None or not self._members:
            raise DecodeError(f"the {self._codec.name} data end early")


class DecodeCheck:
    """Takes the bytes of a file that we have packed ourselves, and tells what they unpack to. Not for what others have
    made: the memory that one step takes has no bound."""

    def __init__(self, compression: Compression) -> None:
        import zstandard

        self._hasher = hashlib.sha256()
        self._failures = (zlib.error, zstandard.ZstdError)
        self._damaged = False
        self._unpacker: Any = None
        if compression != "none":
            gzip = compression == "gzip"
            self._unpacker = zlib.decompressobj(_GZIP_WINDOW) if gzip else zstandard.ZstdDecompressor().decompressobj()

    def write(self, piece: bytes | memoryview) -> int:
        """Takes the next bytes. Never raises for what they are."""
        # zstandard raises for an empty piece after the end of a frame, which damages nothing.
        if piece:
            try:
                self._hasher.update(piece if self._unpacker is None else self._unpacker.decompress(piece))
            except self._failures:
                self._damaged = True
        return len(piece)

    def flush(self) -> None:
        """Nothing is held back."""

    def matches(self, content: Blob) -> bool:
        """Whether the bytes, which were all, unpacked to ``content`` and nothing more."""
        ended = self._unpacker is None or (self._unpacker.eof and not self._unpacker.unused_data)
        return ended and not self._damaged and self._hasher.hexdigest() == content.sha256
