"""Three lines of values turn a schedule on, and what they make is what the CRD takes."""

from __future__ import annotations

from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from tests.unit.charts.render import container, of_kind, one, render, template
from tests.unit.charts.test_examples import _schemas

KIND = "GatewayBackupSchedule"
ON = {"enabled": True}


def made(**values: Any) -> dict[str, Any]:
    """The schedule of some values, found valid."""
    found = one(render("gateway", {"schedule": {**ON, **values}}), KIND)
    jsonschema.validate(found, _schemas()[KIND], cls=jsonschema.Draft202012Validator)
    return found


def test_none_is_made_unless_it_is_asked_for() -> None:
    assert of_kind(render("gateway"), KIND) == []


def test_three_lines_are_a_schedule_that_is_safe() -> None:
    found = made(cron="15 1 * * *")
    assert found["metadata"]["name"] == "my-gateway"
    assert found["spec"]["gatewayRef"] == {"name": "my-gateway"}
    assert (found["spec"]["schedule"], found["spec"]["timeZone"]) == ("15 1 * * *", "UTC")
    assert found["spec"]["retention"]["minKeep"] == 3
    assert found["spec"]["objective"] == {"maxAge": "26h"}


def test_each_value_arrives() -> None:
    retention = {"keepLast": 1, "keepYearly": 5, "keepWithin": "36h", "timeZone": "Europe/Berlin", "dryRun": True}
    found = made(
        name="other",
        timeZone="America/Argentina/Buenos_Aires",
        suspend=True,
        backupTemplate={"ttl": "90d", "timeoutSeconds": 60},
        retention=retention,
        objective={"maxAge": "8d"},
    )
    assert found["metadata"]["name"] == "other"
    assert found["spec"]["suspend"] is True
    assert found["spec"]["backupTemplate"] == {"ttl": "90d", "timeoutSeconds": 60}
    assert found["spec"]["retention"].items() >= retention.items()
    assert found["spec"]["objective"] == {"maxAge": "8d"}


def test_everything_can_be_kept_and_nothing_promised() -> None:
    found = made(retention=None, objective=None)
    assert not {"retention", "objective"} & found["spec"].keys()


@pytest.mark.parametrize(
    "values",
    [
        {"cron": "0 2 * *"},
        {"cron": "TZ=UTC 0 2 * * *"},
        {"timeZone": "CET"},
        {"name": "manual"},
        {"name": "x" * 47},
        {"retention": {"keepLasst": 7}},
        {"retention": {"minKeep": 0}},
        {"retention": {"failed": {"maxAge": "1 month"}}},
        {"objective": {"maxAge": "soon"}},
        {"schedule": "0 2 * * *"},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_before_anything_is_installed(values: dict[str, Any]) -> None:
    done = template("gateway", {"schedule": {**ON, **values}})
    assert done.returncode != 0
    assert "schedule" in done.stderr


def test_the_operator_knows_its_own_image() -> None:
    image = {"repository": "host.example/op", "tag": "1.2.3", "pullPolicy": "Always"}
    objects = render("operator", {"image": image, "schedules": {"imagePullSecrets": ["one", "two"]}})
    operator = container(objects, "operator")
    environment = {item["name"]: item["value"] for item in operator["env"]}
    assert environment["GATEWAY_OPERATOR_IMAGE"] == operator["image"] == "host.example/op:1.2.3"
    assert environment["GATEWAY_OPERATOR_IMAGE_PULL_POLICY"] == "Always"
    assert environment["GATEWAY_OPERATOR_IMAGE_PULL_SECRETS"] == "one,two"
