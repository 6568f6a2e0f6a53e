"""A gateway is found again by name only where a whole look would have found the same: a table of doubts."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gateway_operator.domain.gateway import Endpoint, Problem, Workload, choose
from gateway_operator.domain.objects import GatewayRef
from gateway_operator.domain.sighting import Sighting, found_again

UID = "workload-uid"


def workload(kind: str = "Deployment") -> dict[str, Any]:
    """A gateway's workload that is at rest."""
    return {
        "metadata": {"uid": UID, "generation": 3, "annotations": {"mcpgateway.dev/admin-key-secret": "key"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "gw"}}},
        "status": {"observedGeneration": 3, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1},
    }


def replica_set() -> dict[str, Any]:
    """Its ReplicaSet."""
    return {"metadata": {"name": "gw-5", "uid": "set-uid", "ownerReferences": [{"uid": UID, "controller": True}]}}


def pod(name: str = "gw-5-abc", owner: str = "set-uid") -> dict[str, Any]:
    """Its pod."""
    return {
        "metadata": {
            "name": name,
            "uid": "pod-uid",
            "labels": {"app": "gw"},
            "ownerReferences": [{"uid": owner, "name": "gw-5", "controller": True}],
        },
        "spec": {"containers": [{"name": "admin", "ports": [{"name": "admin", "containerPort": 8001}]}]},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "containerStatuses": [{"name": "admin", "ready": True}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def seen(body: dict[str, Any], kind: str = "Deployment") -> Workload:
    """As it is read."""
    return Workload(GatewayRef(kind, "gw"), "prod", str(body["metadata"]["uid"]), body)


SIGHTING = Sighting.of(seen(workload()), pod())
OF_A_SET = Sighting.of(seen(workload(), "StatefulSet"), pod("gw-0", UID))


def test_names_are_kept_and_what_tells_that_they_are_the_same() -> None:
    assert Sighting(UID, "gw-5-abc", "pod-uid", {"app": "gw"}, "gw-5") == SIGHTING
    assert OF_A_SET.replica_set is None


def test_what_is_at_rest_is_found_as_a_whole_look_finds_it() -> None:
    for body, sets, one, sighting, kind in (
        (workload(), [replica_set()], pod(), SIGHTING, "Deployment"),
        (workload(), [], pod("gw-0", UID), OF_A_SET, "StatefulSet"),
    ):
        whole = choose(seen(body, kind), sets, [one])
        assert not isinstance(whole, Problem)
        assert found_again(sighting, seen(body, kind), sets[0] if sets else None, one) == whole


def test_the_address_is_the_one_that_is_read_now() -> None:
    moved = pod()
    moved["status"]["podIP"] = "10.0.0.2"
    found = found_again(SIGHTING, seen(workload()), replica_set(), moved)
    assert found is not None
    assert isinstance(found[0], Endpoint)
    assert found[0].host == "10.0.0.2"


DOUBTS: dict[str, tuple[str, str, Any]] = {
    # Another workload under the name: another selector, perhaps.
    "the workload was made anew": ("workload", "metadata.uid", "other"),
    # A rollout, from its first instant to its last.
    "its controller has not seen the newest template": ("workload", "metadata.generation", 4),
    "the new ReplicaSet is made, no pod of it yet": ("workload", "status.updatedReplicas", 0),
    "old and new pod live side by side": ("workload", "status.replicas", 2),
    "the new pod is not ready": ("workload", "status.readyReplicas", 0),
    "no status yet": ("workload", "status", None),
    "it is being scaled": ("workload", "spec.replicas", 2),
    "it is scaled to none": ("workload", "spec.replicas", 0),
    # The pod.
    "another pod under the name": ("pod", "metadata.uid", "other"),
    "it is going": ("pod", "metadata.deletionTimestamp", "2026-01-01T00:00:00Z"),
    "it was taken out of the selector": ("pod", "metadata.labels", {"app": "quarantine"}),
    "its owner was taken off": ("pod", "metadata.ownerReferences", []),
    "another owner": ("pod", "metadata.ownerReferences", [{"uid": "other", "name": "gw-5", "controller": True}]),
    "its owner does not control it": ("pod", "metadata.ownerReferences", [{"uid": "set-uid", "name": "gw-5"}]),
    "not Ready": ("pod", "status.conditions", [{"type": "Ready", "status": "False"}]),
    "Ready is not known": ("pod", "status.conditions", [{"type": "Ready", "status": "Unknown"}]),
    "its admin container is not ready": ("pod", "status.containerStatuses", [{"name": "admin", "ready": False}]),
    "no address": ("pod", "status.podIP", None),
    # The link between the two.
    "another ReplicaSet under the name": ("set", "metadata.uid", "other"),
    "the ReplicaSet is nobody's": ("set", "metadata.ownerReferences", []),
    "the ReplicaSet is another's": ("set", "metadata.ownerReferences", [{"uid": "other", "controller": True}]),
}


def changed(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The same with another value there."""
    whole = copy.deepcopy(body)
    *way, last = path.split(".")
    at = whole
    for step in way:
        at = at[step]
    at[last] = value
    return whole


@pytest.mark.parametrize("case", DOUBTS)
def test_at_the_least_doubt_it_is_not_found(case: str) -> None:
    what, path, value = DOUBTS[case]
    bodies = {"workload": workload(), "set": replica_set(), "pod": pod()}
    bodies[what] = changed(bodies[what], path, value)
    assert found_again(SIGHTING, seen(bodies["workload"]), bodies["set"], bodies["pod"]) is None


def test_what_is_gone_is_not_found() -> None:
    assert found_again(SIGHTING, seen(workload()), replica_set(), None) is None
    assert found_again(SIGHTING, seen(workload()), None, pod()) is None
    assert found_again(OF_A_SET, seen(workload(), "StatefulSet"), None, None) is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.uid", "other"),
        ("metadata.name", "gw-1"),
        ("metadata.ownerReferences", [{"uid": "other", "controller": True}]),
        ("metadata.deletionTimestamp", "2026-01-01T00:00:00Z"),
    ],
)
def test_a_stateful_sets_pod_is_told_from_its_namesakes(path: str, value: Any) -> None:
    assert found_again(OF_A_SET, seen(workload(), "StatefulSet"), None, changed(pod("gw-0", UID), path, value)) is None
