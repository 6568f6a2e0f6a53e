"""The position of what is no JSON: exact, for any nesting, and without a part of the text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_api.gateway_config.schema import InvalidConfig, parse

SECRET = "gateway-key-secret"


def _reason(text: str) -> str:
    with pytest.raises(InvalidConfig) as failure:
        parse(text.encode())
    assert not failure.value.parsed
    return str(failure.value)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ('{"a": 1,\n "b": NaN}', "line 2, column 7"),
        ('{"a": [1, -Infinity]}', "line 1, column 11"),
        ('{"NaN": "NaN",\n\n "x\\"NaN": Infinity}', "line 3, column 12"),
        ('{"a": 1e999}', "line 1, column 7"),
        ('{"1e999": [\n  -1e400]}', "line 2, column 3"),
        ('{"a": ' + "9" * 5000 + "}", "line 1, column 7"),
        ('{"a": 1, "a": 2}', "line 1, column 10"),
        ('{"x": {"a": 1},\n "y": {"a": 1, "b": [{"a": 1}],\n   "a": 2}}', "line 3, column 4"),
        ('{"a": 1, "\\u0061": 2}', "line 1, column 10"),
        ('[{"a": "a"}, {"a": ["a", "a"], "b": "a", "a": 1}]', "line 1, column 42"),
    ],
)
def test_position_of_what_is_no_json(text: str, position: str) -> None:
    assert position in _reason(text)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(
    values,
    st.sampled_from([None, 1, 3]),
    st.sampled_from(["NaN", "-Infinity", "1e999", f'{{"{SECRET}": 1, "{SECRET}": 2}}']),
)
def test_position_points_at_the_text_and_quotes_nothing(value: Any, indent: int | None, bad: str) -> None:
    marker = "the-only-marker"
    text = json.dumps({"a": value, "b": [marker, value]}, indent=indent).replace(f'"{marker}"', bad)
    reason = _reason(text)
    assert SECRET not in reason
    line, column = (int(word) for word in reason.partition(" at line ")[2].split(", column "))
    at = sum(len(one) + 1 for one in text.split("\n")[: line - 1]) + column - 1
    expected = bad if not bad.startswith("{") else f'"{SECRET}": 2'
    assert text[at:].startswith(expected)
