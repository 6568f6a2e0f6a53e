"""Attacks on the backups of others, with the operator running and its retention passing every half second.

One attacker has exactly the Role of a schedule's pod, the other one the role `edit` without its delete verbs. A real
gateway has backups of every origin. The attackers try to remove, weaken or replace them. Afterwards each backup still
has its object, its status and its file, and the schedule's own retention still works.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway_operator.domain.model.names import RESTORE_LABEL, SCHEDULE_LABEL, job_backup_name, safety_backup_name
from tests.operator.conftest import IMAGE
from tests.operator.schedule.test_jobs import first_pod, report_exit, run_pod
from tests.operator.support.callers import APPLY, MERGE, OUR_KINDS, Answer, Caller, grant_user, rule
from tests.operator.support.kubectl_gateway import KubectlGateway
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.rbac import apply_backup_account, kubeconfig_for_account
from tests.operator.support.real_gateway import RealGateway, real_gateway
from tests.operator.support.workloads import QUICK_HEALTH_CHECK, Kube, wait_for

pytestmark = pytest.mark.cluster

GW = {"gatewayRef": {"name": "gw"}}
KEPT_STATUS = ("phase", "reason", "path", "sha256", "backupID", "volumeID", "origin", "schedule", "snapshotTime")
SCHEDULED = 3
"""Number of scheduled backups, and the `keepLast` of the schedule."""


@dataclass
class World:
    """The gateway, its backups before the attacks, and the two attackers."""

    kube: Kube
    gw: RealGateway
    pod_cli: KubectlGateway
    pod: Caller
    writer: Caller
    victims: dict[str, dict[str, Any]] = field(default_factory=dict)
    digests: dict[Path, str] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)

    def start_job(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start a Job of the schedule. Returns the Job and its pod."""
        self.kube.kubectl("create", "job", "--from=cronjob/nightly", name)
        return self.kube.require("job", name), first_pod(self.kube, name)

    def run_job(self, name: str) -> dict[str, Any]:
        """Run a Job of the schedule to its end. Returns the status of its backup."""
        job, pod = self.start_job(name)
        run_pod(self.pod_cli, pod)
        report_exit(self.kube, pod, 0)
        return self.kube.status("gwb", job_backup_name(name, job["metadata"]["uid"]))

    def record_victims(self) -> None:
        """Remember each object, and the digest of each file on the volume."""
        self.victims = {body["metadata"]["name"]: body for body in self.kube.items("gwb")}
        self.digests = {path: digest(path) for path in self.gw.backup_files()}

    def let_the_operator_settle(self) -> None:
        """Wait until every backup is finished, and for several retention passes after that."""
        wait_for(
            "all backups are finished",
            lambda: all(
                (body.get("status") or {}).get("phase") in ("Completed", "Failed") for body in self.kube.items("gwb")
            ),
            timeout=90,
        )
        time.sleep(3)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def world(team: Kube, operator_account: Caller, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Backups of every origin at one gateway: scheduled, in a group, pinned, safety, adopted, and an unowned file."""
    folder = tmp_path_factory.mktemp("attacks")
    apply_backup_account(team)
    operator = kubeconfig_for_account(team, "gateway-backup-operator", folder)
    process = OperatorProcess(
        team.cluster, folder / "operator.log", kubeconfig=operator, environment={"GATEWAY_OPERATOR_IMAGE": IMAGE},
        flags=["--pass-seconds=0.5"],
    )  # fmt: skip
    with real_gateway(team, folder) as gw, process:
        gw.write_config(users=40)
        verbs = "get list watch create update patch"
        writer = grant_user(team, "edit-without-delete", rule("mcpgateway.dev", " ".join(OUR_KINDS), verbs))
        pod_cli = KubectlGateway.as_account(team, "gw-backup", folder)
        attacked = World(team, gw, pod_cli, Caller.account(team, "gw-backup"), writer)
        make_victims(attacked)
        attacked.record_victims()
        yield attacked


def make_victims(world: World) -> None:
    """Make the backups that the attackers must not touch. The Jobs run while the other backups are made."""
    kube = world.kube
    kube.apply_schedule("nightly", retention={"keepLast": SCHEDULED}, successfulJobsHistoryLimit=9)
    kube.wait_schedule_ready("nightly", "Scheduled")
    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(make_manual_victims, world), pool.submit(make_adopted_victims, world)]
        for number in range(SCHEDULED):
            assert world.run_job(f"run-{number}")["origin"] == "Schedule"
        for one in others:
            one.result()


def make_manual_victims(world: World) -> None:
    """Backups in open groups, and a restore with its safety backup."""
    kube = world.kube
    kube.complete_backup("manual")
    kube.apply_restore("back", backupName="manual", healthCheck=QUICK_HEALTH_CHECK)
    kube.complete_backup("team-1", group="team")
    kube.complete_backup("team-2", group="team", ttl="30d")
    kube.complete_backup("pinned", group="team", pinned=True)
    kube.wait_phase("gwr", "back", "Completed")


def make_adopted_victims(world: World) -> None:
    """A file with an adopted object, and a file without an object."""
    kube = world.kube
    for name in ("adopted", "forgotten"):
        path = kube.complete_backup(f"first-{name}", group="old")["path"]
        kube.kubectl("delete", "gwb", f"first-{name}")
        if name == "adopted":
            kube.complete_backup(name, existing={"path": path})


def backup(name: str, metadata: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **(metadata or {})}, "spec": {**GW, **spec}}


def files_on_volume(world: World) -> list[str]:
    """The paths of all backups, also of the one without an object."""
    return [str(path.relative_to(world.gw.backups)) for path in world.gw.backup_files()]


def forged_backups(world: World) -> Iterator[dict[str, Any]]:
    """GatewayBackups that pretend to belong to others, or to decide about them."""
    retention = {"keepLast": 1, "minKeep": 1, "maxAge": "1s", "includeAdopted": True, "failed": {"keepLast": 0}}
    job = world.kube.require("job", "run-0")["metadata"]
    labels = {SCHEDULE_LABEL: "nightly", RESTORE_LABEL: "back", "mcpgateway.dev/adopted": "no"}
    restore = world.kube.require("gwr", "back")["metadata"]
    annotations = {
        "mcpgateway.dev/job-uid": job["uid"],
        "mcpgateway.dev/restore-uid": restore["uid"],
        "mcpgateway.dev/import-uid": restore["uid"],
        "mcpgateway.dev/delete-file": "requested",
        "mcpgateway.dev/shrink-accepted": "true",
        "mcpgateway.dev/accept-inventory": "0/100",
    }
    for group in ("nightly", "team", "safety", "old", "manual"):
        for number in range(SCHEDULED + 1):
            # A field that the kind does not have is dropped, as a client without strict validation sends it.
            yield backup(f"x-{group}-{number}", group=group, retention=retention)
        metadata = {"labels": labels, "annotations": annotations}
        yield backup(f"x-{group}-brief", metadata, group=group, ttl="1s", verification={"maxShrinkPercent": 100})
        yield backup(f"x-{group}-pinned", metadata, group=group, pinned=True, verification={"level": "Stored"})
    for number, claim in enumerate(
        [
            {"name": "run-0", "uid": job["uid"]},
            {"name": "run-0", "uid": "00000000-0000-0000-0000-000000000000"},
            {"name": "none", "uid": job["uid"]},
        ]
    ):
        yield backup(f"claim-{number}", group="nightly", job=claim)
        if claim["name"] != "run-0" or claim["uid"] != job["uid"]:  # that one exists
            yield backup(job_backup_name(claim["name"], claim["uid"]), group="nightly", job=claim)
    yield backup(safety_backup_name("next", restore["uid"]), {"labels": labels}, group="safety")
    for number, path in enumerate(files_on_volume(world)):
        yield backup(f"file-{number}", existing={"path": path}, group="nightly", pinned=True)


def refused_creates(world: World) -> Iterator[dict[str, Any]]:
    """Creates that the API server refuses."""
    owner = world.kube.require("gwr", "back")["metadata"]
    reference = {
        "apiVersion": "mcpgateway.dev/v1alpha1", "kind": "GatewayRestore", "name": "back", "uid": owner["uid"]
    }  # fmt: skip
    yield backup("owned", {"ownerReferences": [reference]})
    yield backup("orphan", {"ownerReferences": [{**reference, "uid": "00000000-0000-0000-0000-000000000000"}]})
    yield backup("final", {"finalizers": ["mcpgateway.dev/finalizer"]})
    yield backup("delete-file", deleteFile=True)
    yield backup("accepted", accepted=True)
    yield backup("approved", {"annotations": {"mcpgateway.dev/approve-deletions": "x"}})
    yield backup("traversal", group="../team")
    for number, path in enumerate(files_on_volume(world)):
        yield backup(
            f"brief-file-{number}", {"labels": {"mcpgateway.dev/adopted": "no"}}, existing={"path": path}, ttl="1s"
        )
    yield from (backup(name) for name in world.victims)


def attack(world: World) -> None:
    """Everything that the two attackers can send. The answers are recorded by a description."""
    kube, answers = world.kube, world.answers
    for attacker, title in ((world.pod, "pod"), (world.writer, "writer")):
        for body in refused_creates(world):
            answers[f"refused: {title} creates {body['metadata']['name']}"] = attacker.create("gatewaybackups", body)
    for body in forged_backups(world):
        status = {"phase": "Completed", "origin": "Schedule", "schedule": "nightly"}
        forged = {**body, "status": status}
        answers[f"free: creates {body['metadata']['name']}"] = world.pod.create("gatewaybackups", forged)
    for name in world.victims:
        for change in ({"spec": {"ttl": "1s"}}, {"metadata": {"finalizers": ["a.example/b"]}}, {"spec": GW}):
            answers[f"refused: pod patches {name} {change}"] = world.pod.patch("gatewaybackups", name, change)
        body = {"apiVersion": "mcpgateway.dev/v1alpha1", "kind": "GatewayBackup", **backup(name)}
        query = {"fieldManager": "them", "force": "true"}
        answer = world.pod.send("PATCH", "gatewaybackups", name, body=body, content_type=APPLY, **query)
        answers[f"refused: pod applies {name}"] = answer
        answers[f"refused: pod replaces {name}"] = world.pod.send("PUT", "gatewaybackups", name, body=body)
        for attacker, title in ((world.pod, "pod"), (world.writer, "writer")):
            answers[f"refused: {title} deletes {name}"] = attacker.send("DELETE", "gatewaybackups", name)
            for subresource in ("status", "scale", "finalizers"):
                done = {"status": {"phase": "Deleting", "deletion": {"reason": "ttl"}}}
                answer = attacker.send(
                    "PATCH", "gatewaybackups", f"{name}/{subresource}", body=done, content_type=MERGE
                )
                answers[f"refused: {title} patches {subresource} of {name}"] = answer
        attack_as_writer(world, name)
    for attacker, title in ((world.pod, "pod"), (world.writer, "writer")):
        for plural in OUR_KINDS:
            answers[f"refused: {title} deletes all {plural}"] = attacker.send("DELETE", plural)
        answers[f"refused: {title} deletes the schedule"] = attacker.send("DELETE", "gatewaybackupschedules", "nightly")
        for resource, verb in (("secrets", "GET"), ("jobs", "GET"), ("cronjobs", "GET"), ("pods", "DELETE")):
            answers[f"refused: {title} {verb} {resource}"] = attacker.send(verb, resource)
    other_kinds: dict[str, dict[str, Any]] = {
        "gatewayrestores": {"latest": {}},
        "gatewaybackupschedules": {"schedule": "* * * * *", "retention": {"keepLast": 1}},
        "gatewaybackupimports": {},
    }
    for plural, spec in other_kinds.items():
        answers[f"refused: pod creates {plural}"] = world.pod.create(plural, backup("mine", **spec))
    attack_schedule_as_writer(world)
    # The pod of a real Job creates the object before its own command does, with other contents.
    job, pod = world.start_job("mine")
    claim = {"name": "mine", "uid": job["metadata"]["uid"]}
    forged = backup(
        job_backup_name("mine", claim["uid"]), group="team", job=claim, ttl="1s", verification={"maxShrinkPercent": 100}
    )
    answers["free: creates the backup of its own Job"] = world.pod.create("gatewaybackups", forged)
    kube.wait_phase("gwb", forged["metadata"]["name"], "Completed")
    report_exit(kube, pod, 0)


def attack_as_writer(world: World, name: str) -> None:
    """Each change of another user's backup that could lead to a deletion, and then all changes that are allowed."""
    pinned = bool(world.victims[name]["spec"].get("pinned"))
    for change in ({"ttl": "1s"}, {"deleteFile": True}, {"accepted": True}, *([{"pinned": False}] if pinned else [])):
        answer = world.writer.patch("gatewaybackups", name, {"spec": change})
        world.answers[f"refused: writer patches {name} {change}"] = answer
    metadata = {
        "labels": {SCHEDULE_LABEL: "other", RESTORE_LABEL: None, "mcpgateway.dev/adopted": "no", "a": "b"},
        "annotations": {"mcpgateway.dev/delete-file": "requested", "mcpgateway.dev/job-uid": None},
        "finalizers": ["mcpgateway.dev/finalizer"],
    }
    allowed = {"metadata": metadata, "spec": {"description": "x"}}
    world.answers[f"free: writer patches {name}"] = world.writer.patch("gatewaybackups", name, allowed)


def attack_schedule_as_writer(world: World) -> None:
    """Changes of the schedule, and schedules that claim the same backups."""
    plural = "gatewaybackupschedules"
    for change in (
        {"retention": {"keepLast": 1}},
        {"retention": {"includeAdopted": True}},
        {"backupTemplate": {"ttl": "1s"}},
        {"backupTemplate": {"verification": {"maxShrinkPercent": 100}}},
        {"schedule": "* * * * *"},
    ):
        answer = world.writer.patch(plural, "nightly", {"spec": change})
        world.answers[f"refused: writer patches the schedule {change}"] = answer
    approve = {"metadata": {"annotations": {"mcpgateway.dev/approve-deletions": "x"}}}
    world.answers["refused: writer approves"] = world.writer.patch(plural, "nightly", approve)
    for name in ("team", "old"):
        spec = {**GW, "schedule": "0 3 1 1 *", "suspend": True}
        greedy = {"metadata": {"name": name}, "spec": {**spec, "retention": {"keepLast": 1, "includeAdopted": True}}}
        world.answers[f"refused: writer creates the schedule {name}"] = world.writer.create(plural, greedy)
        answer = world.writer.create(plural, {"metadata": {"name": name}, "spec": spec})
        world.answers[f"free: writer creates the schedule {name}"] = answer


@pytest.fixture(scope="module")
def attacked(world: World) -> World:
    """The world after all attacks and several retention passes."""
    attack(world)
    world.let_the_operator_settle()
    return world


def oldest_scheduled(world: World) -> str:
    """The scheduled backup that the schedule's own policy deletes after one more run."""
    scheduled = [body for body in world.victims.values() if body["status"]["origin"] == "Schedule"]
    return str(min(scheduled, key=lambda body: body["status"]["snapshotTime"])["metadata"]["name"])


def test_requests_that_change_backups_of_others_are_refused(attacked: World) -> None:
    wrong = {
        title: str(answer)
        for title, answer in attacked.answers.items()
        if answer.allowed and title.startswith("refused")
    }
    assert wrong == {}


def test_attacks_that_the_api_server_allows_were_really_made(attacked: World) -> None:
    refused = {
        title: str(answer)
        for title, answer in attacked.answers.items()
        if not answer.allowed and title.startswith("free")
    }
    assert refused == {}


def test_no_object_or_status_of_others_has_changed(attacked: World) -> None:
    for name, before in attacked.victims.items():
        if name == oldest_scheduled(attacked):
            continue  # the real Job has replaced it, as the policy says
        after = attacked.kube.require("gwb", name)
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert {**after["spec"], "description": ""} == {**before["spec"], "description": ""}
        for key in KEPT_STATUS:
            assert after["status"].get(key) == before["status"].get(key), (name, key)
        conditions = {one["type"]: one["status"] for one in after["status"]["conditions"]}
        assert conditions.get("FilePresent") != "False", name
        assert "deletionTimestamp" not in after["metadata"]


def test_no_file_of_others_was_deleted_or_changed(attacked: World) -> None:
    replaced = attacked.gw.backups / attacked.victims[oldest_scheduled(attacked)]["status"]["path"]
    for path, before in attacked.digests.items():
        if path != replaced:
            assert path.exists(), path
            assert digest(path) == before, path


def test_forged_backups_have_no_verified_origin(attacked: World) -> None:
    origins = {
        body["metadata"]["name"]: body["status"].get("origin", "Manual")
        for body in attacked.kube.items("gwb")
        if body["metadata"]["name"] not in attacked.victims
    }
    assert {name for name, origin in origins.items() if origin in ("Schedule", "Restore")} <= {
        name for name in origins if name.startswith("mine-")
    }


def test_backup_of_a_real_job_has_the_rules_of_its_schedule(attacked: World) -> None:
    # Its ttl of one second would let each run of the schedule replace one good backup and then delete itself.
    (body,) = [body for body in attacked.kube.items("gwb") if body["metadata"]["name"].startswith("mine-")]
    assert body["status"]["origin"] == "Schedule"
    assert body["status"]["schedule"] == "nightly"
    assert "expiresAt" not in body["status"]
    assert (attacked.gw.backups / body["status"]["path"]).exists()


def test_attackers_cannot_stop_the_retention_of_a_schedule(attacked: World) -> None:
    # The set is complete with the newest three: no forged backup counts, and none holds the deletions.
    condition = attacked.kube.wait_condition("gwbs", "nightly", "RetentionApplied", "Applied")
    assert condition["status"] == "True"

    def left() -> set[str]:
        return {
            body["metadata"]["name"]
            for body in attacked.kube.items("gwb")
            if body["status"].get("origin") == "Schedule" and body["status"]["phase"] == "Completed"
        }

    wait_for("the newest backups alone", lambda: len(left()) == SCHEDULED)
    assert oldest_scheduled(attacked) not in left()


def test_sabotaged_backup_of_an_attacker_does_not_hide_the_shrink(attacked: World) -> None:
    # Row 7: a backup of the sabotaged config in the schedule's group, with a threshold that accepts everything.
    attacked.gw.write_config(users=1)
    forged = backup("hide", group="nightly", verification={"maxShrinkPercent": 100})
    assert attacked.pod.create("gatewaybackups", forged).allowed
    attacked.kube.wait_phase("gwb", "hide", "Completed")
    before = set(attacked.gw.backup_files())
    status = attacked.run_job("shrunk")
    assert {one["type"] for one in status["conditions"] if one["status"] == "True"} >= {"Completed", "Suspicious"}
    attacked.let_the_operator_settle()
    newest = max(
        (body for body in attacked.victims.values() if body["status"]["origin"] == "Schedule"),
        key=lambda body: body["status"]["snapshotTime"],
    )
    assert attacked.gw.backups / newest["status"]["path"] in before
    assert (attacked.gw.backups / newest["status"]["path"]).exists()
