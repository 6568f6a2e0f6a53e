"""An encoded file decodes to the config; a file that does not is refused."""

from __future__ import annotations

import os

import pytest

from gateway_api.codec import compression as compressions
from gateway_api.codec.compression import Compression, StoredFormat
from gateway_api.codec.encode import decode, encode
from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.storage.content import Blob

COMPRESSIONS: list[Compression] = ["none", "gzip", "zstd"]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("size", [0, 1, 131_072, 3_000_000])
def test_config_of_any_size_is_encoded_and_decoded(compression: Compression, size: int) -> None:
    form = StoredFormat(compression, False)
    content = Blob.of(os.urandom(size))
    assert decode(encode(content, form, []), form, None, size + 1).sha256 == content.sha256


@pytest.mark.parametrize("name", ["a.json.zst", "a.json.gz.age"])
def test_file_that_decodes_to_another_config_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = list(compressions.compress(Blob.of(b"another config"), compressions.format_for_name(name).compression))
    monkeypatch.setattr(compressions, "compress", lambda *_: encoded)
    with pytest.raises(ApiError) as raised:
        encode(Blob.of(b"the config"), compressions.format_for_name(name), [])
    assert raised.value.code is ErrorCode.InternalError
