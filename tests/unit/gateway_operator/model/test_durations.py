"""Tests that durations which the schemas accept are parsed, and all others are rejected."""

import re
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_operator.domain.model import durations

CRDS = Path(__file__).resolve().parents[4] / "crds"


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("30d", timedelta(days=30)),
        ("36h", timedelta(hours=36)),
        ("1w2d3h4m5s", timedelta(weeks=1, days=2, hours=3, minutes=4, seconds=5)),
        ("0s", timedelta(0)),
    ],
)
def test_valid_durations_are_parsed(text: str, length: timedelta) -> None:
    assert durations.parse(text) == length


@pytest.mark.parametrize("text", ["", "30", "d", "1h1d", "-1d", "1.5h", "1M", "1y", " 1d", "1d\n", "\u0661d"])
def test_invalid_durations_raise_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        durations.parse(text)
    assert durations.parse_or_none(text) is None


def test_absent_duration_is_none() -> None:
    assert durations.parse_or_none(None) is None
    assert durations.parse_or_none(7) is None


@cache
def _retention(file: str) -> dict[str, object]:
    crd = yaml.load((CRDS / file).read_text(), yaml.CSafeLoader)
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    schema: dict[str, object] = spec["properties"]["retention"]
    return schema


@given(st.text(alphabet="0123456789wdhms", min_size=2, max_size=32))
@settings(deadline=None)
def test_schema_and_parser_accept_the_same_durations(text: str) -> None:
    fields = _retention("mcpgateway.dev_gatewaybackupschedules.yaml")["properties"]
    assert isinstance(fields, dict)
    accepted = re.fullmatch(fields["keepWithin"]["pattern"], text) is not None
    assert accepted == (durations.parse_or_none(text) is not None)
