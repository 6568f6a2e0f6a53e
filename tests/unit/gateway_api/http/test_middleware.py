"""Request headers: where the admin key may be, and which request ids are accepted."""

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
def test_key_is_read_from_either_header_authorization_first(
    authorization: bytes | None, apikey: bytes | None, expected: bytes | None
) -> None:
    assert presented_key(authorization, apikey) == expected


def test_request_id_is_never_the_key_or_an_invalid_id() -> None:
    assert request_id_for(b"abc", None) == "abc"
    assert request_id_for(b"abc\n", None) != "abc\n"
    assert request_id_for(KEY, KEY) != KEY.decode()
    assert len(request_id_for(None, None)) == 16
