"""The demo scenario: back up a real gateway, damage it, and restore it. Each step prints its result and checks it."""

import json
from dataclasses import dataclass, field
from typing import Any

from tests.demo import backup_file
from tests.demo.cleanup import GATEWAY_NAMESPACE, LABEL, OPERATOR_NAMESPACE, OPERATOR_RELEASE
from tests.demo.clusters import DemoCluster
from tests.demo.diagnostics import collect_diagnostics
from tests.demo.gateway_api import PROJECTS
from tests.demo.gateway_pod import BACKUP_DIRECTORY, GatewayPod
from tests.demo.images import Images
from tests.demo.kube import DemoError, Kube
from tests.demo.mcp_client import Identity
from tests.demo.observers import Observer
from tests.demo.terminal_report import Report

GATEWAY = "my-gateway"
BACKUP = "before-the-accident"
RESTORE = "undo-the-accident"

BACKUP_MANIFEST = f"""\
apiVersion: mcpgateway.dev/v1alpha1
kind: GatewayBackup
metadata: {{name: {BACKUP}, namespace: {GATEWAY_NAMESPACE}}}
spec:
  gatewayRef: {{name: {GATEWAY}}}
"""
RESTORE_MANIFEST = f"""\
apiVersion: mcpgateway.dev/v1alpha1
kind: GatewayRestore
metadata: {{name: {RESTORE}, namespace: {GATEWAY_NAMESPACE}}}
spec:
  gatewayRef: {{name: {GATEWAY}}}
  backupName: {BACKUP}
"""


@dataclass
class Scenario:
    """The steps of the demo, with the state that one step passes to the next."""

    report: Report
    cluster: DemoCluster
    _kube: Kube | None = None
    _images: Images | None = None
    _observer: Observer | None = None
    _identities: list[Identity] = field(default_factory=list)

    @property
    def kube(self) -> Kube:
        """The cluster; DemoError before the step that starts it."""
        if self._kube is None:
            raise DemoError("the cluster has not been started")
        return self._kube

    @property
    def observer(self) -> Observer:
        """The observer of the gateway; DemoError before the step that installs the gateway."""
        if self._observer is None:
            raise DemoError("the gateway has not been installed")
        return self._observer

    @property
    def _gateway(self) -> GatewayPod:
        return GatewayPod(self.kube, GATEWAY_NAMESPACE, GATEWAY)

    @property
    def user(self) -> Identity:
        """The user whose MCP client the demo runs: a member of the first project."""
        return self._identities[0]

    @property
    def servers(self) -> tuple[str, ...]:
        """The servers that this user should be able to list."""
        return PROJECTS[0].servers

    def run(self) -> None:
        """Run all steps in order."""
        steps = (
            (self.cluster.prepare_title, self.cluster.prepare),
            (self.cluster.start_title, self._start),
            (self.cluster.images_title, self._load_images),
            ("Install the operator and a real gateway with the admin API", self._install),
            ("Create projects, users and keys through the gateway's own API", self._populate),
            ("Back up the gateway", self._back_up),
            ("Delete a project and its keys, then damage the whole config", self._damage),
            ("Restore the backup", self._restore),
            ("Inspect the result", self._inspect),
        )
        for title, step in steps:
            with self.report.step(title):
                step()

    @property
    def has_cluster(self) -> bool:
        """Whether the cluster has been started."""
        return self._kube is not None

    def close(self) -> None:
        """End the port-forwards. The cluster keeps running."""
        if self._observer is not None:
            self._observer.close()

    def diagnostics(self) -> str:
        """Objects, events and logs for the analysis of a failure."""
        return collect_diagnostics(self.kube)

    def _start(self) -> None:
        self._kube = self.cluster.start()

    def _load_images(self) -> None:
        self._images = self.cluster.load_images()

    def _install(self) -> None:
        images = self._images
        if images is None:
            raise DemoError("the images have not been loaded")
        for namespace in (OPERATOR_NAMESPACE, GATEWAY_NAMESPACE):
            self.report.command(self.kube.command_line("create", "namespace", namespace))
            self.report.output(self.kube.kubectl("create", "-f", "-", input=_namespace(namespace)))
        self.report.note("(both have labels: for the restricted Pod Security Standard, and as objects of the demo)")
        self.kube.show_helm(
            "install", OPERATOR_RELEASE, "helm/operator", "-n", OPERATOR_NAMESPACE, hidden=images.operator_values()
        )
        self.kube.show_helm(
            *("install", GATEWAY, "helm/gateway", "-n", GATEWAY_NAMESPACE, "--set", "managementApi.enabled=true"),
            hidden=images.gateway_values(),
        )
        self.report.note("(each also with --set for the images)")
        for namespace, name in ((OPERATOR_NAMESPACE, OPERATOR_RELEASE), (GATEWAY_NAMESPACE, GATEWAY)):
            self.kube.show("-n", namespace, "rollout", "status", f"deployment/{name}", "--timeout=120s", timeout=130)
        self.kube.show("-n", GATEWAY_NAMESPACE, "get", "pods,pvc")
        self._observer = Observer(self.kube, GATEWAY_NAMESPACE, GATEWAY)

    def _populate(self) -> None:
        self._identities = self._gateway.populate(PROJECTS)
        with self._gateway.management_api() as api:
            counts = api.statistics()
        for project in PROJECTS:
            self.report.say(f"{project.name}: servers {', '.join(project.servers)}; users {', '.join(project.members)}")
        self.report.say(f"the gateway reports {counts['total_projects']} projects and {counts['total_users']} users")
        self._check_client("an MCP client with the key of")
        self.observer.observe("at first", self.user)

    def _back_up(self) -> None:
        self.kube.apply(BACKUP_MANIFEST)
        self.kube.wait_completed(GATEWAY_NAMESPACE, f"gatewaybackup/{BACKUP}", 120)
        self.kube.show("-n", GATEWAY_NAMESPACE, "get", "gatewaybackups")
        status = self._status("gatewaybackup", BACKUP)
        file = f"{BACKUP_DIRECTORY}/{status['path']}"
        self.kube.show(*self._gateway.exec_arguments("admin", "ls", "-l", file.rpartition("/")[0]))
        stored = backup_file.show(self.kube, self._gateway.exec_arguments("admin", "cat", file))
        if stored.sha256 != status["sha256"]:
            raise DemoError(f"the file's digest is {stored.sha256}, but status.sha256 is {status['sha256']}")
        self.report.say("its SHA-256 equals status.sha256 of the backup")
        expected = sorted(project.name for project in PROJECTS)
        if not set(expected) <= set(stored.projects):
            raise DemoError(f"the file contains the projects {stored.projects}, not {expected}")

    def _damage(self) -> None:
        self.report.say(f"A user deletes the project {self.user.project} and its keys through the gateway's own API:")
        with self._gateway.management_api() as api:
            api.delete_project_with_keys(self.user.project)
        state = self.observer.observe("project deleted", self.user)
        self.report.table(*self.observer.table(self._first_name))
        if state.listing.servers or state.status != "healthy":
            raise DemoError(f"expected: no servers for the user and a healthy config; actual: {state}")
        self.report.say("")
        self.report.say("Then half of the config file is lost, as after a full disk or a killed process:")
        self._gateway.truncate(show=True)
        state = self.observer.observe("config truncated", self.user)
        self.report.table(*self.observer.table(self._first_name))
        if state.listing.servers or not state.status.startswith("unhealthy") or state.health != 200:
            raise DemoError(f"expected: an unhealthy config, and 200 from /health; actual: {state}")

    def _restore(self) -> None:
        self.kube.apply(RESTORE_MANIFEST)
        self.kube.wait_completed(GATEWAY_NAMESPACE, f"gatewayrestore/{RESTORE}", 240)
        status = self._status("gatewayrestore", RESTORE)
        self.report.say("its steps, from status.steps:")
        self.report.table(
            ("step", "from", "to", ""),
            [
                (
                    step["name"],
                    *(step.get(key, "")[11:19] for key in ("startTime", "completionTime")),
                    step.get("message", ""),
                )
                for step in status.get("steps", [])
            ],
        )
        self._check_client("the same MCP client with the same key of")
        state = self.observer.observe("restored", self.user)
        self.report.table(*self.observer.table(self._first_name))
        if state.status != "healthy" or state.contents != self.observer.columns[0].contents:
            raise DemoError(f"expected: a healthy config with the same contents as at first; actual: {state}")

    def _inspect(self) -> None:
        self.kube.show("-n", GATEWAY_NAMESPACE, "get", "gatewaybackups,gatewayrestores")
        self.report.say("")
        self.report.say("The cluster keeps running. To inspect it:")
        for line in [
            *self.cluster.commands(),
            self.kube.command_line("-n", GATEWAY_NAMESPACE, "get", "gwb,gwr"),
            self.kube.command_line("-n", GATEWAY_NAMESPACE, "describe", f"gwr/{RESTORE}"),
            self.kube.command_line("-n", OPERATOR_NAMESPACE, "logs", f"deployment/{OPERATOR_RELEASE}"),
        ]:
            self.report.command(line)
        self.report.say("To remove the demo:")
        self.report.command(self.cluster.down_command())

    @property
    def _first_name(self) -> str:
        return self.user.email.partition("@")[0].capitalize()

    def _check_client(self, who: str) -> None:
        listing = self.observer.wait_for_servers(self.user, self.servers)
        self.report.say(f"{who} {self.user.email} lists its servers: {listing}")
        if listing.servers != self.servers:
            raise DemoError(f"{self.user.email} should list {', '.join(self.servers)}, but got: {listing}")

    def _status(self, kind: str, name: str) -> dict[str, Any]:
        body = json.loads(self.kube.kubectl("-n", GATEWAY_NAMESPACE, "get", kind, name, "-o", "json"))
        status: dict[str, Any] = body["status"]
        return status


def _namespace(name: str) -> str:
    """The manifest of a namespace with the demo's label.

    The label is set on creation: the next run refuses a namespace without it, even if this run is killed.
    """
    labels = {LABEL: "true", "pod-security.kubernetes.io/enforce": "restricted"}
    return json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
