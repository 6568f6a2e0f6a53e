"""Pods that the charts render and pods that the operator makes: tokens, root file systems and images by digest."""

from collections.abc import Iterator
from typing import Any

from gateway_operator.domain.drill.pod import build_pod
from gateway_operator.domain.schedule.cronjob import Image, desired_cron_job
from gateway_operator.domain.schedule.drill_cronjob import desired_drill_cron_job
from tests.unit.charts.render import Object, container, containers, one, pod_specs, render
from tests.unit.gateway_operator.drill.workloads import plan, workload
from tests.unit.gateway_operator.schedule.test_decide import schedule

DIGEST = f"sha256:{'d' * 64}"
_IMAGE = {"digest": DIGEST}
OPERATOR: Object = {"image": _IMAGE}
GATEWAY: Object = {
    "gateway": {"image": _IMAGE},
    "admin": {"image": _IMAGE},
    "operator": {"image": _IMAGE},
    "backups": {"beforeUpgrade": {"enabled": True}},
    "managementApi": {"enabled": True},
    "schedule": {"enabled": True},
    "restore": {"drills": True},
}
CALLS_API_SERVER = {"gateway-operator", "kubectl-gateway"}


def operator_image() -> Image:
    """The image of the schedules' pods, as the operator's chart passes it to the operator."""
    environment = {one["name"]: one.get("value") for one in container(render("operator", OPERATOR), "operator")["env"]}
    return Image(str(environment["GATEWAY_OPERATOR_IMAGE"]), str(environment["GATEWAY_OPERATOR_IMAGE_PULL_POLICY"]))


def pods_of_the_operator() -> Iterator[tuple[str, dict[str, Any]]]:
    """The pods that the operator makes for the gateway of the chart."""
    with_drills = schedule(drill={"schedule": "0 4 * * 0"})
    assert with_drills.drill is not None
    image = operator_image()
    for name, body in (
        ("schedule", desired_cron_job(with_drills, image)),
        ("drills of the schedule", desired_drill_cron_job(with_drills, with_drills.drill, image)),
    ):
        yield name, body["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    gateway = one(render("gateway", GATEWAY), "Deployment")["spec"]["template"]["spec"]
    yield "drill", build_pod(plan(workload(gateway)))["spec"]


def all_pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """All pods of the product, with the images of both charts named by digest."""
    yield from pod_specs(render("operator", OPERATOR))
    yield from pod_specs(render("gateway", GATEWAY))
    yield from pods_of_the_operator()


def test_pods_that_the_operator_makes_are_hardened() -> None:
    for name, spec in pods_of_the_operator():
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & {key for key, value in spec.items() if value}, name
        assert spec["enableServiceLinks"] is False, name
        for volume in spec["volumes"]:
            assert volume.keys() - {"name"} <= {"emptyDir", "secret", "configMap"}, (name, volume)
        for item in containers(spec):
            context = item["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, (name, item["name"])
            assert context["allowPrivilegeEscalation"] is False, (name, item["name"])
            assert context["capabilities"] == {"drop": ["ALL"]}, (name, item["name"])


def test_only_pods_that_call_the_api_server_have_a_token() -> None:
    for name, spec in all_pods():
        commands = {item["command"][0] for item in spec["containers"] if item.get("command")}
        calls = bool(commands & CALLS_API_SERVER) and commands <= CALLS_API_SERVER
        # An absent field would mount the token of the namespace's default account.
        assert spec["automountServiceAccountToken"] is calls, name
        assert calls is ("serviceAccountName" in spec), name
        assert not any("projected" in volume for volume in spec["volumes"]), name


def test_each_image_can_be_pinned_by_digest() -> None:
    for name, spec in all_pods():
        for item in containers(spec):
            assert item["image"].endswith(f"@{DIGEST}"), (name, item["name"], item["image"])
