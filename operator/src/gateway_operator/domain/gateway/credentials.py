"""Reads the admin keys and the CA certificates out of the texts in a gateway's Secrets.

People fill these Secrets with what their tools write: bundles with comments, files with a byte order mark, several keys
while one is rotated. Nothing here puts a part of a key into a message.
"""

from __future__ import annotations

import re
from typing import Final

_KEY: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
"""A text without control characters, which no HTTP header can carry. The admin API decides whether it is a key."""
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_CERTIFICATE: Final = re.compile(
    r"-----BEGIN (?P<label>(?:X509 |TRUSTED )?CERTIFICATE)-----[A-Za-z0-9+/=\s]+-----END (?P=label)-----", re.ASCII
)
"""A run of one class of characters between two markers: the time is linear, whatever the text is."""
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


def secret_text(value: bytes) -> str:
    """The text of a Secret's value without surrounding white space. Every value has one.

    A byte order mark is removed. Bytes that are not UTF-8 become one character each, so that the ASCII text between
    them can be read.
    """
    if value.startswith(_UTF16_MARKS) and len(value) % 2 == 0:
        return value.decode("utf-16", "replace").strip()
    try:
        return value.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return value.decode("latin-1").strip()


def admin_keys(text: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The keys in a text with one key a line, and the numbers of the lines that are no key, from 1 on.

    Empty lines are skipped, as the admin API skips them in its key file.
    """
    lines = [(number, line.strip()) for number, line in enumerate(_LINE_END.split(text), 1)]
    keys = tuple(dict.fromkeys(line for _, line in lines if _KEY.fullmatch(line)))
    return keys, tuple(number for number, line in lines if line and not _KEY.fullmatch(line))


def certificates(text: str) -> str | None:
    """The certificates of a CA bundle as ASCII text; None if it has none. All text between them is dropped."""
    blocks = [match.group() for match in _CERTIFICATE.finditer(text)]
    return "\n".join(blocks) + "\n" if blocks else None
