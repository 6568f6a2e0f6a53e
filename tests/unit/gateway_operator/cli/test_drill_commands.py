"""``kubectl gateway drill create``: the drill of a Job's template, of options and of a schedule."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from gateway_operator.cli import drills
from gateway_operator.cli.from_job import named_job, of_job
from gateway_operator.cli.options.commands import parser
from gateway_operator.cli.session import Session, UsageError
from gateway_operator.domain.model.names import SCHEDULE_LABEL
from gateway_operator.domain.schedule.drill_cronjob import DRILL_VARIABLE, desired_drill_cron_job
from tests.operator.support.kubectl_gateway import downward_api_value
from tests.unit.gateway_operator.schedule.test_decide import schedule
from tests.unit.gateway_operator.schedule.world import IMAGE

SET = {"kind": "StatefulSet", "name": "set", "ordinal": 2}
DRILL = {"schedule": "0 5 * * *", "identitySecretRef": {"name": "key", "key": "k"}, "timeoutSeconds": 90}


class _ScheduleSession:
    """Answers with one schedule, and records the object that the command would create."""

    created: dict[str, Any] | None = None

    async def get(self, _kind: str, _name: str) -> dict[str, Any]:
        spec = {"gatewayRef": SET, "schedule": "0 2 * * *", "drill": DRILL}
        return {"metadata": {"name": "nightly", "namespace": "a", "uid": "u"}, "spec": spec}

    async def create(self, _kind: str, body: dict[str, Any]) -> dict[str, Any]:
        self.created = body
        return body

    def print_object(self, *_: object) -> None:
        pass


def created(*words: str) -> dict[str, Any]:
    """The object that the command line creates."""
    session = _ScheduleSession()
    asyncio.run(drills.create(cast(Session, session), parser().parse_args(["drill", "create", *words])))
    assert session.created is not None
    return session.created


def test_pod_creates_the_drill_of_its_template() -> None:
    one = schedule(gatewayRef=SET, drill=DRILL)
    assert one.drill is not None
    pod = desired_drill_cron_job(one, one.drill, IMAGE)["spec"]["jobTemplate"]["spec"]["template"]
    pod["metadata"]["labels"] |= {"batch.kubernetes.io/job-name": "j", "batch.kubernetes.io/controller-uid": "12345-6"}
    (container,) = pod["spec"]["containers"]
    environment = {
        one["name"]: downward_api_value(pod, one["valueFrom"]["fieldRef"]["fieldPath"]) for one in container["env"]
    }
    arguments = parser().parse_args(container["args"])
    assert arguments.wait
    assert arguments.from_job
    assert arguments.timeout > 90 + 300
    body = of_job(drills._template(arguments, environment), named_job(environment))
    assert body["metadata"] == {"name": "j-12345", "labels": {SCHEDULE_LABEL: "nightly"}}
    assert body["spec"] == {
        "gatewayRef": SET,
        "mode": "Drill",
        "latest": {"group": "nightly"},
        "startingDeadlineSeconds": 300,
        "timeoutSeconds": 90,
        "identitySecretRef": {"name": "key", "key": "k"},
        "job": {"name": "j", "uid": "12345-6"},
    }


def test_drill_of_a_schedule_takes_its_gateway_group_and_identity() -> None:
    spec = created("--schedule=nightly")["spec"]
    identity = {"name": "key", "key": "k"}
    expected = {"gatewayRef": SET, "mode": "Drill", "latest": {"group": "nightly"}, "identitySecretRef": identity}
    assert spec == expected
    assert created("--schedule=nightly", "--backup=b", "--identity-secret=s")["spec"] == {
        "gatewayRef": SET,
        "mode": "Drill",
        "backupName": "b",
        "identitySecretRef": {"name": "s"},
    }


@pytest.mark.parametrize(
    ("words", "source"),
    [
        ([], {"latest": {}}),
        (["--group=g"], {"latest": {"group": "g"}}),
        (["--backup=b"], {"backupName": "b"}),
        (["--timeout-seconds=60", "--description=x"], {"latest": {}, "timeoutSeconds": 60, "description": "x"}),
        (["--set=expectedSha256=x"], {"latest": {}, "expectedSha256": "x"}),
    ],
    ids=str,
)
def test_options_set_the_source_of_a_drill(words: list[str], source: dict[str, Any]) -> None:
    body = created("x", "--gateway=gw", *words)
    gateway = {"kind": "Deployment", "name": "gw", "ordinal": 0}
    assert body == {"metadata": {"name": "x"}, "spec": {"gatewayRef": gateway, "mode": "Drill", **source}}


def test_generated_names_fit_and_differ() -> None:
    names = {created(f"--gateway={'g' * 63}")["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(len(name) <= 63 and "-drill-" in name for name in names)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "one of --gateway and --schedule"),
        (["--gateway=gw", "--schedule=s"], "one of --gateway and --schedule"),
        (["--gateway=gw", "--backup=b", "--group=g"], "only one of --backup and --group"),
        (["--gateway=gw", "--identity-key=k"], "requires --identity-secret"),
        (["--from-job"], DRILL_VARIABLE),
        (["x", "--from-job"], "leave NAME"),
        (["--schedule=s", "--from-job"], "leave NAME"),
    ],
    ids=str,
)
def test_options_that_contradict_each_other_are_usage_errors(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        created(*words)
