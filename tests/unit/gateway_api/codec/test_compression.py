"""Compression formats by suffix, and limits of decompression."""

from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_api.codec.compression import Compression, DecodeCheck, DecodeError, StoredFormat, compress, format_for_name
from gateway_api.errors import ApiError
from gateway_api.storage.content import Blob
from tests.api.support.backup_files import compress_bytes, decompress_bytes

COMPRESSIONS: list[Compression] = ["none", "gzip", "zstd"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.json", StoredFormat("none", False)),
        ("a.json.pre-restore", StoredFormat("none", False)),
        ("a.json.current", StoredFormat("none", False)),
        ("a", StoredFormat("none", False)),
        ("a.json.gz", StoredFormat("gzip", False)),
        ("A.JSON.GZ", StoredFormat("gzip", False)),
        ("a.json.zst", StoredFormat("zstd", False)),
        ("a.json.zst.age", StoredFormat("zstd", True)),
        ("a.age", StoredFormat("none", True)),
    ],
)
def test_suffix_selects_the_format(name: str, expected: StoredFormat) -> None:
    assert format_for_name(name) == expected


@given(st.binary(max_size=3000), st.sampled_from(COMPRESSIONS))
def test_compression_is_reversible_and_deterministic(data: bytes, compression: Compression) -> None:
    compressed = compress_bytes(data, compression)
    assert compressed == compress_bytes(data, compression)
    assert decompress_bytes(compressed, compression, len(data)) == data


NOISE = Random(1).randbytes(300_000)
"""Bytes that no compression makes smaller."""


@given(st.data(), st.sampled_from(COMPRESSIONS), st.sampled_from([0, 1, 1000, 128 * 1024, 300_000]))
def test_decode_check_does_not_depend_on_piece_sizes(data: st.DataObject, compression: Compression, size: int) -> None:
    content = Blob.of(NOISE[:size])
    stored = b"".join(map(bytes, compress(content, compression)))
    cuts = data.draw(st.lists(st.integers(0, len(stored)), max_size=6))
    assert _matches(content, compression, stored, cuts)
    at = data.draw(st.integers(0, max(0, len(stored) - 1)))
    for other in (stored[:-1], stored[:at], stored + b"x", stored + stored[at : at + 9]):
        assert other == stored or not _matches(content, compression, other, cuts)


def _matches(content: Blob, compression: Compression, stored: bytes, cuts: list[int]) -> bool:
    check = DecodeCheck(compression)
    for begin, end in itertools.pairwise([0, *sorted(min(cut, len(stored)) for cut in cuts), len(stored)]):
        check.write(stored[begin:end])
    return check.matches(content)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_damaged_truncated_and_extended_files_are_refused(compression: Compression) -> None:
    compressed = compress_bytes(b"some config " * 200, compression)
    for bad in (b"", compressed[:-1], compressed[: len(compressed) // 2], compressed + b"junk", b"plain"):
        with pytest.raises(DecodeError):
            decompress_bytes(bad, compression, 1 << 20)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_decompression_stops_at_the_limit(compression: Compression) -> None:
    with pytest.raises(ApiError, match="BackupTooLarge"):
        decompress_bytes(compress_bytes(b"a" * 5_000_001, compression), compression, 5_000_000)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_concatenated_members_are_one_file_up_to_a_limit(compression: Compression) -> None:
    assert (
        decompress_bytes(compress_bytes(b"one", compression) + compress_bytes(b"two", compression), compression, 100)
        == b"onetwo"
    )
    with pytest.raises(DecodeError):
        decompress_bytes(compress_bytes(b"", compression) * 3000, compression, 100)
