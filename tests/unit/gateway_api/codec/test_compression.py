"""The suffix decides the form, what is packed is unpacked, and a manifest is strict."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_api.codec.compression import Compression, DecodeCheck, DecodeError, StoredFormat, compress, format_for_name
from gateway_api.contract import BackupLevel, BackupRequest, Counts, RestoreRequest
from gateway_api.errors import ApiError
from gateway_api.idempotency import request_digest
from gateway_api.repository import manifest as manifests
from gateway_api.repository.manifest import InvalidManifest, LocatedBackup, Manifest
from gateway_api.storage.content import Blob
from tests.api.support.backup_files import pack, unpack

FORMS: list[Compression] = ["none", "gzip", "zstd"]


@pytest.mark.parametrize(
    ("name", "form"),
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
def test_the_suffix_decides(name: str, form: StoredFormat) -> None:
    assert format_for_name(name) == form


@given(st.binary(max_size=3000), st.sampled_from(FORMS))
def test_what_is_packed_is_unpacked_and_always_packed_alike(data: bytes, form: Compression) -> None:
    packed = pack(data, form)
    assert packed == pack(data, form)
    assert unpack(packed, form, len(data)) == data


NOISE = Random(1).randbytes(300_000)
"""What no compression makes smaller."""


@given(st.data(), st.sampled_from(FORMS), st.sampled_from([0, 1, 1000, 128 * 1024, 300_000]))
def test_however_the_packed_bytes_are_cut_the_proof_is_the_same(
    data: st.DataObject, form: Compression, size: int
) -> None:
    content = Blob.of(NOISE[:size])
    stored = b"".join(map(bytes, compress(content, form)))
    cuts = data.draw(st.lists(st.integers(0, len(stored)), max_size=6))
    assert _gave(content, form, stored, cuts)
    at = data.draw(st.integers(0, max(0, len(stored) - 1)))
    for other in (stored[:-1], stored[:at], stored + b"x", stored + stored[at : at + 9]):
        assert other == stored or not _gave(content, form, other, cuts)


def _gave(content: Blob, form: Compression, stored: bytes, cuts: list[int]) -> bool:
    proof = DecodeCheck(form)
    for begin, end in itertools.pairwise([0, *sorted(min(cut, len(stored)) for cut in cuts), len(stored)]):
        proof.write(stored[begin:end])
    return proof.matches(content)


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_damaged_truncated_and_lengthened_files_are_told(form: Compression) -> None:
    packed = pack(b"some config " * 200, form)
    for bad in (b"", packed[:-1], packed[: len(packed) // 2], packed + b"junk", b"plain"):
        with pytest.raises(DecodeError):
            unpack(bad, form, 1 << 20)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_unpacked_beyond_the_limit(form: Compression) -> None:
    with pytest.raises(ApiError, match="BackupTooLarge"):
        unpack(pack(b"a" * 5_000_001, form), form, 5_000_000)


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_files_in_several_pieces_are_one(form: Compression) -> None:
    assert unpack(pack(b"one", form) + pack(b"two", form), form, 100) == b"onetwo"
    with pytest.raises(DecodeError):
        unpack(pack(b"", form) * 3000, form, 100)


def _manifest(**changes: object) -> Manifest:
    fields: dict[str, object] = {
        "format_version": 1,
        "id": "x",
        "path": "a/b.json",
        "gateway_id": "g",
        "volume_id": "v",
        "created": datetime(2026, 1, 1, tzinfo=UTC),
        "content_sha256": "0" * 64,
        "content_bytes": 1,
        "stored_sha256": "1" * 64,
        "stored_bytes": 1,
        "compression": "none",
        "counts": Counts(),
        "proof": "payload",
    }
    return Manifest.model_validate({**fields, **changes})


def test_a_manifest_survives_being_written_with_fields_of_a_later_version() -> None:
    made = _manifest(signatures=[{"key_id": "k"}])
    again = manifests.load(manifests.dump(made))
    assert again == made
    assert json.loads(manifests.dump(again))["signatures"] == [{"key_id": "k"}]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"format_version": 1', '"format_version": 2'),
        lambda text: text.replace('"stored_bytes": 1', '"stored_bytes": 1.0'),
        lambda text: text.replace('"id": "x"', '"id": "x", "id": "y"'),
        lambda text: text.replace('"id": "x"', '"id": "../x"'),
        lambda text: text.replace('"none"', '"xz"'),
        lambda text: text.replace("0" * 64, "zero"),
        lambda text: text[:-3],
        lambda text: "[]",
        lambda text: "[" * 100_000,
    ],
)
def test_a_manifest_that_is_not_exact_is_none(change: object) -> None:
    assert callable(change)
    with pytest.raises(InvalidManifest):
        manifests.load(change(manifests.dump(_manifest()).decode()).encode())


def test_the_record_tells_where_the_file_lies_now() -> None:
    record = manifests.record_of(LocatedBackup(_manifest(), ("moved", "b.json")))
    assert (record.backup_id, record.path, record.level) == ("x", "moved/b.json", BackupLevel.Verified)


def test_the_body_s_digest_ignores_order_and_defaults_and_tells_bodies_apart() -> None:
    def of(**body: object) -> str:
        return request_digest("backup", BackupRequest.model_validate(body))

    assert of(path="a", overwrite=False) == of(path="a")
    assert of(path="a", metadata={"x": "1", "y": "2"}) == of(metadata={"y": "2", "x": "1"}, path="a")
    assert len({of(path="a"), of(path="b"), of(output_file="a"), of(path="a", overwrite=True)}) == 4
    restore = RestoreRequest.model_validate({"backup_id": "a"})
    assert request_digest("restore", restore) != request_digest("other", restore)
