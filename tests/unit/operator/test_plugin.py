"""``kubectl-gateway``: what a schedule tells its pods is what the pods put into the backup; values that cannot be."""

from __future__ import annotations

import argparse
from argparse import ArgumentTypeError
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_operator.cli import values
from gateway_operator.cli.backups import _spec
from gateway_operator.cli.main import parser
from gateway_operator.domain.schedule_job import arguments
from tests.unit.operator.test_schedule import schedule

NOTES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)
TEMPLATES = st.fixed_dictionaries(
    {},
    optional={
        "ttl": st.sampled_from(["30d", "1w2d", "36h"]),
        "deletionPolicy": st.sampled_from(["Retain", "Delete"]),
        "timeoutSeconds": st.integers(10, 86400),
        "retryLimit": st.integers(0, 20),
        "startingDeadlineSeconds": st.integers(1, 604800),
        "description": NOTES,
        "verification": st.fixed_dictionaries(
            {},
            optional={"level": st.sampled_from(["Stored", "Verified"]), "maxShrinkPercent": st.integers(0, 100)},
        ),
    },
)
GATEWAYS = st.one_of(
    st.just({"kind": "Deployment", "name": "gw", "ordinal": 0}),
    st.builds(lambda ordinal: {"kind": "StatefulSet", "name": "gw-2", "ordinal": ordinal}, st.integers(0, 9999)),
)


def kubelet(word: str) -> str:
    """An argument as the kubelet hands it on: ``$$`` is a dollar, ``$(NAME)`` is a variable."""
    result, rest = "", word
    while rest:
        if rest.startswith("$$"):
            result, rest = result + "$", rest[2:]
        else:
            assert not rest.startswith("$("), word
            result, rest = result + rest[0], rest[1:]
    return result


@settings(deadline=None)
@given(TEMPLATES, GATEWAYS)
def test_what_the_schedule_says_is_what_the_pod_creates(template: dict[str, Any], gateway: dict[str, Any]) -> None:
    one = schedule(gatewayRef=gateway, backupTemplate=template)
    parsed = parser().parse_args([kubelet(word) for word in arguments(one)])
    wanted = {key: value for key, value in template.items() if value not in ("", {})}
    assert _spec(parsed) == {"gatewayRef": gateway, "group": "nightly", **wanted}
    assert parsed.from_job
    assert parsed.wait
    assert parsed.timeout > template.get("timeoutSeconds", 600) + template.get("startingDeadlineSeconds", 300)


@pytest.mark.parametrize(
    ("read", "good", "bad"),
    [
        (values.name, ["a", "a-b.c", "0"], ["", "A", "-a", "a_b", "x" * 64, "a/b", "ä"]),
        (values.positive, ["1", "960"], ["0", "-1", "1.5", "", "x", "٣"]),
        (values.duration, ["30d", "1w2d", "36h"], ["", "1", "1 d", "1y", "-1d"]),
        (values.since, ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00+02:00"], ["yesterday", "2026-01-31", ""]),
        (
            values.policy,
            ["keepLast=7", "failed.maxAge=30d", "timeZone=UTC", "dryRun=true"],
            ["keepLast", "keepLast=x", "failed.keepDaily=1", "keepEver=1", "dryRun=yes", "maxAge=1", "=1"],
        ),
        (values.text, ["x"], [""]),
    ],
)
def test_values(read: Any, good: list[str], bad: list[str]) -> None:
    for value in good:
        read(value)
    for value in bad:
        with pytest.raises(ArgumentTypeError):
            read(value)


def test_a_policy_is_put_together_from_its_rules() -> None:
    rules = [values.policy(rule) for rule in ("keepLast=7", "failed.keepLast=2", "failed.maxAge=30d", "keepWithin=36h")]
    assert values.retention(rules) == {
        "keepLast": 7,
        "failed": {"keepLast": 2, "maxAge": "30d"},
        "keepWithin": "36h",
    }


def test_the_parser_is_argparse_and_no_option_is_taken_for_another() -> None:
    def leaves(one: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
        inner = [action for action in one._actions if isinstance(action, argparse._SubParsersAction)]
        return [leaf for action in inner for choice in action.choices.values() for leaf in leaves(choice)] or [one]

    found = leaves(parser())
    assert len(found) >= 12
    assert all(not leaf.allow_abbrev for leaf in found), "--tim must not become --timeout-seconds one day"
