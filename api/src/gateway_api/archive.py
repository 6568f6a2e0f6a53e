"""From a file's name to its form, and between a config's bytes and a file's bytes.

The suffix decides, so that a person with `gunzip` or `zstd` opens a backup without this software. Nothing is
decompressed beyond the size a config may have.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final, Literal

from .contract import ErrorCode
from .errors import ApiError

Compression = Literal["none", "gzip", "zstd"]
ZSTD_LEVEL: Final = 3
GZIP_LEVEL: Final = 6
_GZIP_WINDOW: Final = 31
_CHUNK: Final = 64 * 1024
_ZSTD_PIECE: Final = 256
"""A zstd block of four bytes becomes 128 KiB: pieces this small keep one step of a bomb below 8 MiB."""
_MAX_MEMBERS: Final = 1024


class Undecodable(Exception):  # noqa: N818 - reads as what it says
    """The bytes are not what the suffix says, or end early, or are followed by others."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a file holds its config."""

    compression: Compression
    encrypted: bool


def form_of(name: str) -> Form:
    """The form that ``name``'s suffix stands for; any suffix that is not known is plain JSON."""
    lower = name.lower()
    encrypted = lower.endswith(".age")
    if encrypted:
        lower = lower.removesuffix(".age")
    if lower.endswith(".gz"):
        return Form("gzip", encrypted)
    if lower.endswith(".zst"):
        return Form("zstd", encrypted)
    return Form("none", encrypted)


def pack(content: bytes, compression: Compression) -> bytes:
    """The bytes of the file. The same content always gives the same bytes: no time, no name inside."""
    if compression == "gzip":
        packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        return packer.compress(content) + packer.flush()
    if compression == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compress(content)
    return content


def unpack(stored: bytes, compression: Compression, limit: int) -> bytes:
    """The config's bytes, at most ``limit`` of them.

    Raises :class:`Undecodable`, or ``BackupTooLarge`` as soon as the limit is passed, whatever a header claims.
    """
    if compression == "none":
        if len(stored) > limit:
            raise too_large(limit)
        return stored
    return _gunzip(stored, limit) if compression == "gzip" else _unzstd(stored, limit)


def too_large(limit: int) -> ApiError:
    """The failure of a backup that holds, or claims to hold, more than ``limit`` bytes."""
    return ApiError(ErrorCode.BackupTooLarge, f"the backup holds more than the {limit} bytes a config may have")


class _Output:
    """Collects what is unpacked and stops at the limit."""

    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self._limit = limit

    def add(self, chunk: bytes) -> None:
        self.data += chunk
        if len(self.data) > self._limit:
            raise too_large(self._limit)


def _gunzip(stored: bytes, limit: int) -> bytes:
    out = _Output(limit)
    offset = members = 0
    try:
        while offset < len(stored) or not members:
            members += 1
            unpacker = zlib.decompressobj(_GZIP_WINDOW)
            while not unpacker.eof:
                piece = stored[offset : offset + _CHUNK]
                if not piece or members > _MAX_MEMBERS:
                    raise Undecodable("the gzip data end early or are in too many pieces")
                offset += len(piece)
                while piece and not unpacker.eof:
                    out.add(unpacker.decompress(piece, _CHUNK))
                    piece = unpacker.unconsumed_tail
            offset -= len(unpacker.unused_data)
    except zlib.error:
        raise Undecodable("not gzip data, or damaged") from None
    return bytes(out.data)


def _unzstd(stored: bytes, limit: int) -> bytes:
    import zstandard

    out = _Output(limit)
    offset = frames = 0
    try:
        while offset < len(stored) or not frames:
            frames += 1
            unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
            while not unpacker.eof:
                piece = stored[offset : offset + _ZSTD_PIECE]
                if not piece or frames > _MAX_MEMBERS:
                    raise Undecodable("the zstd data end early or are in too many pieces")
                offset += len(piece)
                out.add(unpacker.decompress(piece))
            offset -= len(unpacker.unused_data)
    except zstandard.ZstdError:
        raise Undecodable("not zstd data, or damaged") from None
    return bytes(out.data)
