"""Reads the bytes of text files that people and editors write: key files, recipients, settings.

Editors on Windows put a byte order mark at the start of a file, or store the text as UTF-16. Both would become part
of the first line.
"""

from __future__ import annotations

import codecs


def without_bom(data: bytes) -> bytes:
    """``data`` as UTF-8 without a byte order mark. UTF-16 is recognised by its mark and converted.

    Bytes that have no mark, or are no UTF-16 in spite of it, are returned as they are.
    """
    if data.startswith(codecs.BOM_UTF8):
        return data[len(codecs.BOM_UTF8) :]
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return data.decode("utf-16").encode()
        except UnicodeError:
            return data
    return data
