"""Tests of the choice of a gateway's pod and of the address of its admin API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway_operator.domain.gateway.rollout import (
    RestartRecord,
    restart_obstacle,
    rollout,
    still_starting,
)
from gateway_operator.domain.gateway.workload import Endpoint, Workload, choose, confirm
from gateway_operator.domain.model.identifiers import GatewayRef
from gateway_operator.domain.model.problem import GatewayProblem


def workload(kind: str = "Deployment", ordinal: int = 0, **spec: Any) -> Workload:
    """The workload of a gateway, with this spec."""
    annotations = {"mcpgateway.dev/admin-key-secret": "key", **spec.pop("annotations", {})}
    status = spec.pop("status", {})
    body = {
        "metadata": {"uid": "w", "generation": 2, "annotations": annotations},
        "spec": {"selector": {"matchLabels": {"app": "gw"}}, **spec},
        "status": status,
    }
    return Workload(GatewayRef(kind, "gw", ordinal), "prod", "w", body)


def pod(name: str = "gw-1", owner: str = "rs", **changes: Any) -> dict[str, Any]:
    """A Ready pod, with these changes."""
    ports = changes.pop("ports", [{"name": "admin", "containerPort": 8001}])
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": changes.pop("created", "2026-01-01T00:00:00Z"),
            "ownerReferences": [{"uid": owner, "controller": changes.pop("controller", True)}],
            "annotations": changes.pop("annotations", {}),
            **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if changes.pop("going", False) else {}),
        },
        "spec": {"containers": [{"name": "admin", "ports": ports}]},
        "status": {
            "phase": changes.pop("phase", "Running"),
            "podIP": changes.pop("ip", "10.0.0.1"),
            "containerStatuses": [{"name": "admin", "ready": changes.pop("ready", True)}],
            "conditions": [{"type": "Ready", "status": str(changes.pop("whole", True))}],
        },
    }


SETS = [{"metadata": {"uid": "rs", "ownerReferences": [{"uid": "w", "controller": True}]}}]
REFUSED: dict[str, tuple[list[dict[str, Any]], str]] = {
    "none": ([], "has no pod"),
    "of another owner": ([pod(owner="other")], "has no pod"),
    "owned, but not by its controller": ([pod(controller=False)], "has no pod"),
    "going": ([pod(going=True)], "is being deleted"),
    "without an address": ([pod(ip=None, phase="Pending")], "no address yet (Pending)"),
    "admin container not ready": ([pod(ready=False)], "container admin of pod gw-1 is not ready"),
    "no named port, not running": ([pod(ports=[], phase="Pending")], "is Pending"),
    "evicted, with an old address": ([pod(phase="Failed")], "has no pod that runs or starts"),
    "ended, with an old address": ([pod(phase="Succeeded")], "has no pod that runs or starts"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_pods_that_cannot_be_called_are_not_chosen(case: str) -> None:
    pods, sentence = REFUSED[case]
    chosen = choose(workload(), SETS, pods)
    assert isinstance(chosen, GatewayProblem)
    assert sentence in chosen.message


def endpoint(workload: Workload, *pods: dict[str, Any]) -> Endpoint:
    """The endpoint of the chosen pod."""
    chosen = choose(workload, SETS, pods)
    assert not isinstance(chosen, GatewayProblem), chosen
    return chosen[0]


def test_the_newest_ready_pod_is_preferred() -> None:
    old, new = pod("old"), pod("new", created="2026-02-01T00:00:00Z")
    not_ready = pod("sick", created="2026-03-01T00:00:00Z", whole=False)
    assert endpoint(workload(), old, not_ready, new).pod == "new"
    assert endpoint(workload(), not_ready).pod == "sick"


CA = {"annotations": {"mcpgateway.dev/admin-ca-secret": "ca"}}
TLS_PORT, PLAIN_PORT = {"name": "admin-tls", "containerPort": 8443}, {"name": "admin", "containerPort": 8002}
REACHED: dict[str, tuple[dict[str, Any], list[dict[str, Any]], tuple[int, bool]]] = {
    "tls before plain": (CA, [PLAIN_PORT, TLS_PORT], (8443, True)),
    "tls without a CA is still tls": ({}, [TLS_PORT], (8443, True)),
    "plain": ({}, [PLAIN_PORT], (8002, False)),
    "plain port, but a CA: never plain HTTP": (CA, [PLAIN_PORT], (8002, True)),
    "no named port": ({}, [], (8001, False)),
    "no named port, but a CA": (CA, [], (8001, True)),
}


@pytest.mark.parametrize("case", REACHED)
def test_port_and_tls_of_the_admin_api(case: str) -> None:
    spec, ports, (port, tls) = REACHED[case]
    chosen = endpoint(workload(**spec), pod(ports=ports))
    assert (chosen.port, chosen.tls) == (port, tls)
    assert chosen.server_name == ("gw.prod.svc" if tls else None)


def test_pod_of_a_statefulset_is_chosen_by_ordinal() -> None:
    mine = workload("StatefulSet", 1)
    assert endpoint(mine, pod("gw-0", owner="w"), pod("gw-1", owner="w")).pod == "gw-1"
    assert isinstance(choose(mine, [], [pod("gw-0", owner="w")]), GatewayProblem)
    assert isinstance(choose(mine, [], [pod("gw-1", owner="another")]), GatewayProblem)


def test_admin_container_may_be_a_native_sidecar() -> None:
    body = pod()
    body["spec"]["initContainers"] = [{**body["spec"]["containers"].pop(), "restartPolicy": "Always"}]
    body["status"]["initContainerStatuses"] = body["status"].pop("containerStatuses")
    assert endpoint(workload(), body).container == "admin"


STARTS: dict[str, tuple[list[dict[str, Any]], bool]] = {
    "no container made yet": ([], True),
    "its startup probe has not passed": (
        [{"ready": True}, {"ready": False, "started": False, "restartCount": 0}],
        True,
    ),
    "its image cannot be pulled": ([{"ready": False, "state": {"waiting": {"reason": "ImagePullBackOff"}}}], False),
    "it waits for its volumes": ([{"ready": False, "state": {"waiting": {"reason": "ContainerCreating"}}}], True),
    "it ended for the first time": ([{"ready": False, "restartCount": 0, "state": {"terminated": {}}}], False),
    "it will be started again": ([{"ready": False, "restartCount": 0, "lastState": {"terminated": {}}}], False),
    "it crashed": ([{"ready": True}, {"ready": False, "started": False, "restartCount": 1}], False),
    "it started and is not well": ([{"ready": False, "started": True, "restartCount": 0}], False),
    "all are ready, and the pod is not": ([{"ready": True}], False),
}


@pytest.mark.parametrize("case", STARTS)
def test_starting_pod_differs_from_a_crashed_one(case: str) -> None:
    statuses, expected = STARTS[case]
    body = pod()
    body["status"].update(containerStatuses=statuses, conditions=[{"type": "Ready", "status": "False"}])
    assert still_starting([body]) is expected
    body["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not still_starting([body])


@pytest.mark.parametrize("change", [{"phase": "Failed"}, {"phase": "Succeeded"}])
def test_ended_pod_is_never_starting(change: dict[str, Any]) -> None:
    """An Evicted pod has no container statuses and stays until someone deletes it."""
    body = pod()
    body["status"] = {**change, "reason": "Evicted", "conditions": []}
    assert not still_starting([body])


def test_pod_that_no_node_takes_is_not_starting() -> None:
    body = pod(whole=False)
    body["status"] = {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False"}]}
    assert not still_starting([body])


NOW = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
FINISHED: dict[str, Any] = {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1}
OBSTACLES: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]], str | None]] = {
    "none": ("Deployment", {}, [pod()], None),
    "crashing pod": ("Deployment", {"status": {**FINISHED, "readyReplicas": 0}}, [pod(whole=False)], None),
    "paused": ("Deployment", {"paused": True}, [pod()], "RolloutPaused"),
    "not observed": ("Deployment", {"status": {**FINISHED, "observedGeneration": 1}}, [pod()], "RolloutInProgress"),
    "no new pod": ("Deployment", {"status": {**FINISHED, "updatedReplicas": 0}}, [pod()], "RolloutInProgress"),
    "old pod": ("Deployment", {"status": {**FINISHED, "replicas": 2}}, [pod()], "RolloutInProgress"),
    "terminating": ("Deployment", {}, [pod(), pod("gw-2", going=True)], "PodTerminating"),
    "StatefulSet": ("StatefulSet", {}, [pod(owner="w")], None),
    "OnDelete": ("StatefulSet", {"updateStrategy": {"type": "OnDelete"}}, [], "RestartNotPossible"),
    "partition": (
        "StatefulSet",
        {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}},
        [],
        "RestartNotPossible",
    ),
    "rollout of a StatefulSet": (
        "StatefulSet",
        {"status": {**FINISHED, "updatedReplicas": 0, "updateRevision": "b", "currentRevision": "a"}},
        [],
        "RolloutInProgress",
    ),
}


@pytest.mark.parametrize("case", OBSTACLES)
def test_obstacles_of_a_restart_are_known_before_it(case: str) -> None:
    kind, spec, pods, reason = OBSTACLES[case]
    problem = restart_obstacle(workload(kind, **{"status": FINISHED, **spec}), pods, NOW)
    assert (None if problem is None else problem.reason) == reason


def test_pod_that_should_have_ended_is_reported_with_its_node() -> None:
    stuck = pod(going=True)
    stuck["spec"]["nodeName"] = "node-7"
    problem = restart_obstacle(workload(status=FINISHED), [stuck], NOW)
    assert problem is not None
    assert "node-7" in problem.message
    assert "delete pod gw-1 --force" in problem.message
    early = restart_obstacle(workload(status=FINISHED), [stuck], NOW - timedelta(seconds=50))
    assert early is not None
    assert "--force" not in early.message


def test_label_selector_as_a_query() -> None:
    rules = [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "old", "operator": "NotIn", "values": ["c"]},
        {"key": "x", "operator": "Exists"},
        {"key": "y", "operator": "DoesNotExist"},
    ]
    chosen = workload(selector={"matchLabels": {"app": "gw"}, "matchExpressions": rules})
    assert chosen.label_selector == "app=gw,tier in (a,b),old notin (c),x,!y"
    assert workload(selector={}).label_selector is None


def test_progress_of_a_rollout() -> None:
    def at(marker: str | None, observed: int, updated: int, *pods: dict[str, Any]) -> tuple[bool, bool]:
        template = {"metadata": {"annotations": {"mcpgateway.dev/restored": marker} if marker else {}}}
        status = {"observedGeneration": observed, "updatedReplicas": updated}
        chosen = rollout(workload(replicas=1, template=template, status=status), "uid", pods)
        return chosen.requested, chosen.done

    new, old = pod(annotations={"mcpgateway.dev/restored": "uid"}), pod()
    assert at(None, 2, 1, old) == (False, False)
    assert at("another", 2, 1, old) == (False, False)
    assert at("uid", 1, 1, old) == (True, False)
    assert at("uid", 2, 0, old) == (True, False)
    assert at("uid", 2, 0) == (True, False)
    assert at("uid", 2, 1, old, new) == (True, False)
    assert at("uid", 2, 1, new) == (True, True)


@pytest.mark.parametrize("marked", [True, False])
def test_recorded_restart_is_done_when_its_old_pods_are_gone(marked: bool) -> None:
    template = {"metadata": {"annotations": {"mcpgateway.dev/restored": "uid"} if marked else {}}}
    body = workload(replicas=1, template=template, status={"observedGeneration": 2, "updatedReplicas": 1})
    old, new = pod(), pod()
    old["metadata"]["uid"], new["metadata"]["uid"] = "old", "new"
    record = RestartRecord("uid", frozenset({"old"}))
    before, after = rollout(body, "uid", [old], record), rollout(body, "uid", [new], record)
    assert (before.requested, before.recorded, before.done, before.old_pods) == (True, True, False, ("old",))
    assert ("removed the annotation" in before.message) is not marked
    assert (after.done, after.old_pods) == (True, ())
    assert not rollout(body, "uid", [new], RestartRecord("another", frozenset())).recorded


def listed(**meta: Any) -> dict[str, Any]:
    """A pod as the API server's cache has it."""
    body = pod()
    body["metadata"].update({"uid": "p", "labels": {"app": "gw"}, **meta})
    return body


DIFFERENT: dict[str, dict[str, Any]] = {
    "another pod of the name": {"metadata": {"uid": "other"}},
    "terminating": {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
    "taken out of the selector": {"metadata": {"labels": {"app": "quarantine"}}},
    "its owner was taken off": {"metadata": {"ownerReferences": []}},
    "another owner": {"metadata": {"ownerReferences": [{"uid": "other", "controller": True}]}},
    "its owner does not control it": {"metadata": {"ownerReferences": [{"uid": "rs"}]}},
    "failed": {"status": {"phase": "Failed"}},
    "succeeded": {"status": {"phase": "Succeeded"}},
    "no address": {"status": {"podIP": None}},
    "the admin container is not ready": {"status": {"containerStatuses": [{"name": "admin", "ready": False}]}},
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_a_listed_pod_that_changed_is_not_confirmed(case: str) -> None:
    current = listed()
    for part, changes in DIFFERENT[case].items():
        current[part] = {**current[part], **changes}
    assert confirm(workload(), listed(), current) is None


def test_address_and_readiness_are_those_of_the_confirming_read() -> None:
    current = listed()
    current["status"] |= {"podIP": "10.0.0.2", "conditions": [{"type": "Ready", "status": "False"}]}
    confirmed = confirm(workload(), listed(), current)
    assert confirmed is not None
    assert (confirmed[0].host, confirmed[0].pod_ready, confirmed[1]) == ("10.0.0.2", False, current)
