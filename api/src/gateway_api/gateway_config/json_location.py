"""Finds the line and column of what Python's JSON parser refuses without a position.

These are duplicate keys, NaN and Infinity, and numbers that are too large. The search runs only after the parser has
refused the text. It returns positions and never a part of the text. Imports the standard library only, because it runs
in the parse worker.
"""

from __future__ import annotations

import json
import math
import re
from typing import Final

_TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s"{}\[\],:]+', re.DOTALL)
_CONSTANTS: Final = frozenset(("NaN", "Infinity", "-Infinity"))
_NUMBER: Final = re.compile(r"-?[0-9]")


def find_constant(text: str) -> str:
    """The position of the first NaN or Infinity, such as `` at line 3, column 14``; empty if there is none."""
    for match in _TOKEN.finditer(text):
        if match[0] in _CONSTANTS:
            return _position(text, match.start())
    return ""


def find_large_number(text: str, most_digits: int) -> str:
    """The position of the first number that is not finite as a float or has more than ``most_digits`` digits."""
    for match in _TOKEN.finditer(text):
        if _NUMBER.match(match[0]) and (len(match[0]) > most_digits or not math.isfinite(_to_float(match[0]))):
            return _position(text, match.start())
    return ""


def find_duplicate_key(text: str) -> str:
    """The position of the first key that its object already has; empty if there is none."""
    # The keys of each open object; None for an open array.
    open_containers: list[set[str] | None] = []
    expects_key = False
    for match in _TOKEN.finditer(text):
        piece = match[0]
        if piece in ("{", "["):
            open_containers.append(set() if piece == "{" else None)
            expects_key = piece == "{"
        elif piece in ("}", "]"):
            if open_containers:
                open_containers.pop()
            expects_key = False
        elif piece == ",":
            expects_key = bool(open_containers) and open_containers[-1] is not None
        elif expects_key and piece.startswith('"'):
            keys = open_containers[-1]
            key = _to_key(piece)
            if keys is not None and key in keys:
                return _position(text, match.start())
            if keys is not None:
                keys.add(key)
            expects_key = False
    return ""


def _position(text: str, at: int) -> str:
    """Line and column of an offset, both counted from one, as the JSON parser counts them."""
    return f" at line {text.count(chr(10), 0, at) + 1}, column {at - text.rfind(chr(10), 0, at)}"


def _to_float(piece: str) -> float:
    try:
        return float(piece)
    except ValueError:
        return 0.0


def _to_key(piece: str) -> str:
    try:
        return str(json.loads(piece))
    except ValueError:
        return piece
