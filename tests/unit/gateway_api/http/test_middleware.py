"""The key and the request id are taken from the headers."""

from __future__ import annotations

import pytest

from gateway_api.http.middleware import presented_key, request_id_for

KEY = b"k" * 40


@pytest.mark.parametrize(
    ("authorization", "apikey", "expected"),
    [
        (b"Bearer abc", None, b"abc"),
        (b"bearer  abc ", None, b"abc"),
        (None, b" abc ", b"abc"),
        (b"Bearer one", b"two", b"one"),
        (b"Basic abc", b"two", b"two"),
        (b"Bearer", None, None),
        (b"Bearer ", None, None),
        (None, b"", None),
        (None, None, None),
    ],
)
def test_the_key_is_taken_from_either_header(
    authorization: bytes | None, apikey: bytes | None, expected: bytes | None
) -> None:
    assert presented_key(authorization, apikey) == expected


def test_request_id_never_contains_the_key() -> None:
    assert request_id_for(b"abc", None) == "abc"
    assert request_id_for(b"abc\n", None) != "abc\n"
    assert request_id_for(KEY, KEY) != KEY.decode()
    assert len(request_id_for(None, None)) == 16
