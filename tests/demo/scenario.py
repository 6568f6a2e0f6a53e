"""The story: a real gateway is backed up, broken and restored. Each step promises something, and checks it."""

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
from tests.demo.kube import Kube, DemoError
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
    """What one step leaves for the next."""

    report: Report
    cluster: DemoCluster
    _kube: Kube | None = None
    _images: Images | None = None
    _observer: Observer | None = None
    _identities: list[Identity] = field(default_factory=list)

    @property
    def kube(self) -> Kube:
        """The cluster, once it is there."""
        if self._kube is None:
            raise DemoError("there is no cluster yet")
        return self._kube

    @property
    def observer(self) -> Observer:
        """Who looks at the gateway, once it is there."""
        if self._observer is None:
            raise DemoError("there is no gateway yet")
        return self._observer

    @property
    def _gateway(self) -> GatewayPod:
        return GatewayPod(self.kube, GATEWAY_NAMESPACE, GATEWAY)

    @property
    def user(self) -> Identity:
        """The user whose eyes the story is seen with: a member of the first project."""
        return self._identities[0]

    @property
    def servers(self) -> tuple[str, ...]:
        """What that user shall see."""
        return PROJECTS[0].servers

    def run(self) -> None:
        """All steps."""
        steps = (
            (self.cluster.prepare_title, self.cluster.prepare),
            (self.cluster.start_title, self._start),
            (self.cluster.images_title, self._load_images),
            ("Install the operator, and a real gateway with the admin API beside it", self._install),
            ("Give the gateway projects, users and keys through its own API", self._populate),
            ("Back it up", self._back_up),
            ("Lose a project and its keys, then the whole config", self._lose),
            ("Restore it", self._restore),
            ("Look around", self._look_around),
        )
        for title, step in steps:
            with self.report.step(title):
                step()

    @property
    def has_cluster(self) -> bool:
        """Whether there is anything to look at when a step has failed."""
        return self._kube is not None

    def close(self) -> None:
        """Let go of what the story holds; the cluster stays."""
        if self._observer is not None:
            self._observer.close()

    def diagnostics(self) -> str:
        """What a person needs to see why it failed."""
        return collect_diagnostics(self.kube)

    def _start(self) -> None:
        self._kube = self.cluster.start()

    def _load_images(self) -> None:
        self._images = self.cluster.load_images()

    def _install(self) -> None:
        images = self._images
        if images is None:
            raise DemoError("the images come first")
        for namespace in (OPERATOR_NAMESPACE, GATEWAY_NAMESPACE):
            self.report.command(self.kube.command_line("create", "namespace", namespace))
            self.report.output(self.kube.kubectl("create", "-f", "-", input=_namespace(namespace)))
        self.report.note("(both labelled: they enforce restricted pod security, and the demo made them)")
        self.kube.show_helm(
            "install", OPERATOR_RELEASE, "helm/operator", "-n", OPERATOR_NAMESPACE, hidden=images.operator_values()
        )
        self.kube.show_helm(
            *("install", GATEWAY, "helm/gateway", "-n", GATEWAY_NAMESPACE, "--set", "managementApi.enabled=true"),
            hidden=images.gateway_values(),
        )
        self.report.note("(each with --set for the images)")
        for namespace, name in ((OPERATOR_NAMESPACE, OPERATOR_RELEASE), (GATEWAY_NAMESPACE, GATEWAY)):
            self.kube.show("-n", namespace, "rollout", "status", f"deployment/{name}", "--timeout=120s", timeout=130)
        self.kube.show("-n", GATEWAY_NAMESPACE, "get", "pods,pvc")
        self._observer = Observer(self.kube, GATEWAY_NAMESPACE, GATEWAY)

    def _populate(self) -> None:
        self._identities = self._gateway.populate(PROJECTS)
        with self._gateway.management_api() as api:
            holds = api.statistics()
        for project in PROJECTS:
            self.report.say(f"{project.name}: servers {', '.join(project.servers)}; users {', '.join(project.members)}")
        self.report.say(
            f"the gateway says that it has {holds['total_projects']} projects, {holds['total_users']} users"
        )
        self._client_works("an MCP client with the key of")
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
            raise DemoError(f"the file's digest is {stored.sha256}, status.sha256 says {status['sha256']}")
        self.report.say("its SHA-256 is the one in the backup's status")
        wanted = sorted(project.name for project in PROJECTS)
        if not set(wanted) <= set(stored.projects):
            raise DemoError(f"the file holds the projects {stored.projects}, not {wanted}")

    def _lose(self) -> None:
        self.report.say(
            f"Somebody deletes the project {self.user.project} and its keys, through the gateway's own API:"
        )
        with self._gateway.management_api() as api:
            api.delete_project_with_keys(self.user.project)
        seen = self.observer.observe("project deleted", self.user)
        self.report.table(*self.observer.table(self._first_name))
        if seen.listing.servers or seen.status != "healthy":
            raise DemoError(f"the deletion should lock the user out and leave a healthy config, but: {seen}")
        self.report.say("")
        self.report.say("Then a full disk, a kill -9, a bad script: half of the config file is gone.")
        self._gateway.truncate(show=True)
        seen = self.observer.observe("config truncated", self.user)
        self.report.table(*self.observer.table(self._first_name))
        if seen.listing.servers or not seen.status.startswith("unhealthy") or seen.health != 200:
            raise DemoError(f"a truncated config should be unhealthy, and /health still 200, but: {seen}")

    def _restore(self) -> None:
        self.kube.apply(RESTORE_MANIFEST)
        self.kube.wait_completed(GATEWAY_NAMESPACE, f"gatewayrestore/{RESTORE}", 240)
        status = self._status("gatewayrestore", RESTORE)
        self.report.say("what it did, from its status.steps:")
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
        self._client_works("the same MCP client with the same key of")
        seen = self.observer.observe("restored", self.user)
        self.report.table(*self.observer.table(self._first_name))
        if seen.status != "healthy" or seen.contents != self.observer.columns[0].contents:
            raise DemoError(f"after the restore the gateway should hold what it held at first, but: {seen}")

    def _look_around(self) -> None:
        self.kube.show("-n", GATEWAY_NAMESPACE, "get", "gatewaybackups,gatewayrestores")
        self.report.say("")
        self.report.say("The cluster stays up. To look around:")
        for line in [
            *self.cluster.commands(),
            self.kube.command_line("-n", GATEWAY_NAMESPACE, "get", "gwb,gwr"),
            self.kube.command_line("-n", GATEWAY_NAMESPACE, "describe", f"gwr/{RESTORE}"),
            self.kube.command_line("-n", OPERATOR_NAMESPACE, "logs", f"deployment/{OPERATOR_RELEASE}"),
        ]:
            self.report.command(line)
        self.report.say("To take it down:")
        self.report.command(self.cluster.down_command())

    @property
    def _first_name(self) -> str:
        return self.user.email.partition("@")[0].capitalize()

    def _client_works(self, who: str) -> None:
        listing = self.observer.wait_for_servers(self.user, self.servers)
        self.report.say(f"{who} {self.user.email} asks the gateway for its servers: {listing}")
        if listing.servers != self.servers:
            raise DemoError(f"{self.user.email} should see {', '.join(self.servers)}, but got: {listing}")

    def _status(self, kind: str, name: str) -> dict[str, Any]:
        found = json.loads(self.kube.kubectl("-n", GATEWAY_NAMESPACE, "get", kind, name, "-o", "json"))
        status: dict[str, Any] = found["status"]
        return status


def _namespace(name: str) -> str:
    """A namespace with its labels from the first moment: a run that is killed must not leave one that seems foreign."""
    labels = {LABEL: "true", "pod-security.kubernetes.io/enforce": "restricted"}
    return json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
