"""The chart's schedule values render a GatewayBackupSchedule that is valid for the CRD."""

from __future__ import annotations

from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from tests.unit.charts.render import container, of_kind, one, render, template
from tests.unit.charts.test_examples import _schemas

KIND = "GatewayBackupSchedule"
ON = {"enabled": True}


def rendered_schedule(**values: Any) -> dict[str, Any]:
    """The GatewayBackupSchedule that these values render, validated against the CRD."""
    schedule = one(render("gateway", {"schedule": {**ON, **values}}), KIND)
    jsonschema.validate(schedule, _schemas()[KIND], cls=jsonschema.Draft202012Validator)
    return schedule


def test_no_schedule_by_default() -> None:
    assert of_kind(render("gateway"), KIND) == []


def test_defaults_of_an_enabled_schedule() -> None:
    schedule = rendered_schedule(cron="15 1 * * *")
    assert schedule["metadata"]["name"] == "my-gateway"
    assert schedule["spec"]["gatewayRef"] == {"name": "my-gateway"}
    assert (schedule["spec"]["schedule"], schedule["spec"]["timeZone"]) == ("15 1 * * *", "UTC")
    assert schedule["spec"]["retention"]["minKeep"] == 3
    assert schedule["spec"]["objective"] == {"maxAge": "26h"}


def test_each_value_is_rendered() -> None:
    retention = {"keepLast": 1, "keepYearly": 5, "keepWithin": "36h", "timeZone": "Europe/Berlin", "dryRun": True}
    schedule = rendered_schedule(
        name="other",
        timeZone="America/Argentina/Buenos_Aires",
        suspend=True,
        backupTemplate={"ttl": "90d", "timeoutSeconds": 60},
        retention=retention,
        objective={"maxAge": "8d"},
    )
    assert schedule["metadata"]["name"] == "other"
    assert schedule["spec"]["suspend"] is True
    assert schedule["spec"]["backupTemplate"] == {"ttl": "90d", "timeoutSeconds": 60}
    assert schedule["spec"]["retention"].items() >= retention.items()
    assert schedule["spec"]["objective"] == {"maxAge": "8d"}


def test_drills_take_the_time_zone_and_the_first_identity() -> None:
    values = {
        "schedule": {**ON, "timeZone": "Europe/Berlin", "drill": {"enabled": True, "cron": "0 5 * * 6"}},
        "restore": {"drills": True, "ageIdentitySecrets": ["restore-key", "paper-key"]},
    }
    schedule = one(render("gateway", values), KIND)
    jsonschema.validate(schedule, _schemas()[KIND], cls=jsonschema.Draft202012Validator)
    assert schedule["spec"]["drill"] == {
        "schedule": "0 5 * * 6",
        "timeZone": "Europe/Berlin",
        "timeoutSeconds": 600,
        "identitySecretRef": {"name": "restore-key"},
    }
    assert "drill" not in rendered_schedule()["spec"]


def test_drills_of_a_schedule_need_the_permission_for_drills() -> None:
    refused = template("gateway", {"schedule": {**ON, "drill": {"enabled": True}}})
    assert refused.returncode != 0
    assert "needs restore.drills=true" in refused.stderr


def test_retention_and_objective_can_be_null() -> None:
    schedule = rendered_schedule(retention=None, objective=None)
    assert not {"retention", "objective"} & schedule["spec"].keys()


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
        {"drill": {"cron": "weekly"}},
        {"drill": {"timeoutSeconds": 1}},
    ],
    ids=str,
)
def test_helm_refuses_invalid_schedule_values(values: dict[str, Any]) -> None:
    result = template("gateway", {"schedule": {**ON, **values}})
    assert result.returncode != 0
    assert "schedule" in result.stderr


def test_operator_gets_its_own_image_for_the_pods_of_schedules() -> None:
    image = {"repository": "host.example/op", "tag": "1.2.3", "pullPolicy": "Always"}
    objects = render("operator", {"image": image, "schedules": {"imagePullSecrets": ["one", "two"]}})
    operator = container(objects, "operator")
    environment = {item["name"]: item["value"] for item in operator["env"]}
    assert environment["GATEWAY_OPERATOR_IMAGE"] == operator["image"] == "host.example/op:1.2.3"
    assert environment["GATEWAY_OPERATOR_IMAGE_PULL_POLICY"] == "Always"
    assert environment["GATEWAY_OPERATOR_IMAGE_PULL_SECRETS"] == "one,two"
