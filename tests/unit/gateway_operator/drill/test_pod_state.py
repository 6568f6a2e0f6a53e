"""The status of a drill's pod shows a failure, missing isolation, or the thing that the pod waits for."""

from __future__ import annotations

from typing import Any

import pytest

from gateway_operator.domain.drill.pod_state import belongs_to, failure_of, isolation_answer, waits_for


def pod(*, init: dict[str, Any] | None = None, main: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    """A drill pod; ``init`` and ``main`` are the states of containers by their names."""

    def statuses(states: dict[str, Any] | None) -> list[dict[str, Any]]:
        return [{"name": name, "state": state} for name, state in (states or {}).items()]

    fields = {"initContainerStatuses": statuses(init), "containerStatuses": statuses(main), **status}
    return {"metadata": {"name": "d", "uid": "p"}, "status": fields}


def ended(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "message": message, "reason": reason}}


RUNNING: dict[str, Any] = {"running": {}}
FAILED = "Failed"


@pytest.mark.parametrize(
    ("body", "reason", "text"),
    [
        (pod(), None, ""),
        (pod(init={"drill-isolation": ended(0), "admin": RUNNING}, phase="Pending"), None, ""),
        (pod(init={"drill-isolation": ended(3, "The pod reached x.")}, phase=FAILED), "NotIsolated", "reached x"),
        (pod(init={"drill-isolation": ended(3)}), "NotIsolated", "reached another address"),
        (pod(init={"drill-isolation": ended(2, "no such command")}, phase=FAILED), "DrillPodFailed", "no such command"),
        (pod(init={"seed": ended(1, "no volume")}), "DrillPodFailed", "container seed ended with exit code 1"),
        (pod(init={"seed": ended(0)}), None, ""),
        (pod(main={"gateway": ended(1, "Traceback")}), "DrillPodFailed", "container gateway ended with exit code 1"),
        (pod(main={"gateway": ended(0, reason="Completed")}), "DrillPodFailed", "exit code 0 (Completed)"),
        (pod(phase=FAILED, reason="Evicted", message="low on memory"), "DrillPodFailed", "Evicted: low on memory"),
        (pod(phase="Succeeded"), "DrillPodFailed", "has ended"),
        (pod(phase="Running", message="just a note"), None, ""),
    ],
)
def test_failure_is_recognized_and_its_cause_named(body: dict[str, Any], reason: str | None, text: str) -> None:
    failure = failure_of(body)
    assert (failure.reason if failure else None) == reason
    assert text in (failure.message if failure else "")


def test_pod_that_is_being_deleted_has_failed() -> None:
    body = pod(phase="Running")
    body["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    failure = failure_of(body)
    assert failure is not None
    assert "was deleted during the drill" in failure.message


@pytest.mark.parametrize(
    ("state", "answer"),
    [
        (RUNNING, None),
        (ended(0), ""),
        (ended(0, "The pod reached x. "), "The pod reached x."),
        (ended(2, "usage"), None),
    ],
)
def test_answer_of_the_isolation_check_is_known_only_after_it(state: dict[str, Any], answer: str | None) -> None:
    assert isolation_answer(pod(init={"drill-isolation": state})) == answer
    assert isolation_answer(pod()) is None


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]),
            "it has no node: 0/1 nodes are available",
        ),
        (
            pod(init={"admin": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}}),
            "container admin: ImagePullBackOff Back-off",
        ),
        (
            pod(init={"admin": RUNNING}, main={"gateway": {"waiting": {"reason": "PodInitializing"}}}),
            "admin is not ready",
        ),
        (pod(main={"gateway": RUNNING}), "container gateway is not ready"),
        (pod(phase="Pending"), "it is Pending"),
    ],
)
def test_message_names_what_the_pod_waits_for(body: dict[str, Any], text: str) -> None:
    assert text in waits_for(body)


def test_only_the_controlling_restore_owns_a_pod() -> None:
    body = pod()
    assert not belongs_to(body, "r")
    body["metadata"]["ownerReferences"] = [{"uid": "r"}, {"uid": "other", "controller": True}]
    assert not belongs_to(body, "r")
    body["metadata"]["ownerReferences"] = [{"uid": "r", "controller": True}]
    assert belongs_to(body, "r")
