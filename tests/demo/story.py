"""The story: a real gateway is backed up, broken and restored. Each step promises something, and checks it."""

import json
from dataclasses import dataclass, field
from typing import Any

from tests.demo import backup_file
from tests.demo.cleanup import GATEWAY_NAMESPACE, LABEL, OPERATOR_NAMESPACE, OPERATOR_RELEASE
from tests.demo.dump import dump
from tests.demo.gateway_api import PROJECTS, GatewayApi, populate
from tests.demo.images import Images
from tests.demo.kube import Forward, Kube, StoryError
from tests.demo.mcp_client import Identity, wait_for_servers
from tests.demo.places import Place
from tests.demo.report import Report
from tests.demo.symptoms import Observer

GATEWAY = "my-gateway"
MANAGEMENT_PORT = 8003
CONFIG_FILE = "/app/.enkrypt/docker/enkrypt_mcp_config.json"
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
class Story:
    """What one step leaves for the next."""

    report: Report
    place: Place
    _kube: Kube | None = None
    _images: Images | None = None
    _observer: Observer | None = None
    _identities: list[Identity] = field(default_factory=list)

    @property
    def kube(self) -> Kube:
        """The cluster, once it is there."""
        if self._kube is None:
            raise StoryError("there is no cluster yet")
        return self._kube

    @property
    def observer(self) -> Observer:
        """Who looks at the gateway, once it is there."""
        if self._observer is None:
            raise StoryError("there is no gateway yet")
        return self._observer

    @property
    def user(self) -> Identity:
        """The user whose eyes the story is seen with: a member of the first project."""
        return self._identities[0]

    @property
    def servers(self) -> tuple[str, ...]:
        """What that user shall see."""
        return PROJECTS[0].servers

    def tell(self) -> None:
        """All steps."""
        steps = (
            ("Find or build the cluster's programs", self.place.prepare),
            ("Start the cluster", self._start),
            ("Build the images and give them to the node", self._load_images),
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

    def close(self) -> None:
        """Let go of what the story holds; the cluster stays."""
        if self._observer is not None:
            self._observer.close()

    def dump(self) -> str:
        """What a person needs to see why it failed."""
        return "" if self._kube is None else dump(self._kube)

    def _start(self) -> None:
        self._kube = self.place.start()

    def _load_images(self) -> None:
        self._images = self.place.load_images()

    def _install(self) -> None:
        images = self._images
        if images is None:
            raise StoryError("the images come first")
        for namespace in (OPERATOR_NAMESPACE, GATEWAY_NAMESPACE):
            self.kube.show("create", "namespace", namespace)
            labels = [f"{LABEL}=true", "pod-security.kubernetes.io/enforce=restricted"]
            self.kube.kubectl("label", "namespace", namespace, *labels)
        self.kube.show_helm(
            "install", OPERATOR_RELEASE, "helm/operator", "-n", OPERATOR_NAMESPACE, hidden=images.operator_values()
        )
        self.kube.show_helm(
            *("install", GATEWAY, "helm/gateway", "-n", GATEWAY_NAMESPACE, "--set", "managementApi.enabled=true"),
            hidden=images.gateway_values(),
        )
        self.report.note("(each with --set for the images just built)")
        for namespace, name in ((OPERATOR_NAMESPACE, OPERATOR_RELEASE), (GATEWAY_NAMESPACE, GATEWAY)):
            self.kube.show("-n", namespace, "rollout", "status", f"deployment/{name}", "--timeout=180s", timeout=190)
        self.kube.show("-n", GATEWAY_NAMESPACE, "get", "pods,pvc")
        self._observer = Observer(self.kube, GATEWAY_NAMESPACE, GATEWAY)

    def _populate(self) -> None:
        with self._management_api() as forward, self._api(forward.port) as api:
            self._identities = populate(api, self._join)
            holds = api.statistics()
        for project in PROJECTS:
            self.report.say(f"{project.name}: servers {', '.join(project.servers)}; users {', '.join(project.members)}")
        self.report.say(
            f"the gateway says that it has {holds['total_projects']} projects, {holds['total_users']} users"
        )
        self._client_works("an MCP client with the key of")
        self.observer.look("at first", self.user)

    def _back_up(self) -> None:
        self.kube.apply(BACKUP_MANIFEST)
        self.kube.wait_completed(GATEWAY_NAMESPACE, f"gatewaybackup/{BACKUP}", 120)
        self.kube.show("-n", GATEWAY_NAMESPACE, "get", "gatewaybackups")
        status = self._status("gatewaybackup", BACKUP)
        self.kube.show(*_in_admin(), "ls", "-l", f"/backups/{status['path'].rpartition('/')[0]}")
        stored = backup_file.show(self.kube, [*_in_admin(), "cat", f"/backups/{status['path']}"], status["path"])
        if stored.sha256 != status["sha256"]:
            raise StoryError(f"the file's digest is {stored.sha256}, status.sha256 says {status['sha256']}")
        self.report.say("its SHA-256 is the one in the backup's status")
        wanted = sorted(project.name for project in PROJECTS)
        if not set(wanted) <= set(stored.projects):
            raise StoryError(f"the file holds the projects {stored.projects}, not {wanted}")

    def _lose(self) -> None:
        self.report.say(
            f"Somebody deletes the project {self.user.project} and its keys, through the gateway's own API:"
        )
        with self._management_api() as forward, self._api(forward.port) as api:
            api.delete_project_with_keys(self.user.project)
        seen = self.observer.look("project deleted", self.user)
        self.report.table(*self.observer.table(self._first_name))
        if seen.listing.servers or seen.status != "healthy":
            raise StoryError(f"the deletion should lock the user out and leave a healthy config, but: {seen}")
        self.report.say("")
        self.report.say("Then a full disk, a kill -9, a bad script: half of the config file is gone.")
        size = int(self.kube.kubectl(*_in_gateway(), "stat", "-c", "%s", CONFIG_FILE))
        self.kube.show(*_in_gateway(), "truncate", f"--size={size // 2}", CONFIG_FILE)
        seen = self.observer.look("config truncated", self.user)
        self.report.table(*self.observer.table(self._first_name))
        if seen.listing.servers or not seen.status.startswith("unhealthy") or seen.health != 200:
            raise StoryError(f"a truncated config should be unhealthy, and /health still 200, but: {seen}")

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
        seen = self.observer.look("restored", self.user)
        self.report.table(*self.observer.table(self._first_name))
        if seen.status != "healthy" or seen.holds != self.observer.columns[0].holds:
            raise StoryError(f"after the restore the gateway should hold what it held at first, but: {seen}")

    def _look_around(self) -> None:
        self.kube.show("-n", GATEWAY_NAMESPACE, "get", "gatewaybackups,gatewayrestores")
        self.report.say("")
        self.report.say("The cluster stays up. To look around:")
        for line in [
            *self.place.commands(),
            self.kube.shown("-n", GATEWAY_NAMESPACE, "get", "gwb,gwr"),
            self.kube.shown("-n", GATEWAY_NAMESPACE, "describe", f"gwr/{RESTORE}"),
            self.kube.shown("-n", OPERATOR_NAMESPACE, "logs", f"deployment/{OPERATOR_RELEASE}"),
        ]:
            self.report.command(line)
        self.report.say("To take it down:")
        self.report.command(self.place.down_command())

    @property
    def _first_name(self) -> str:
        return self.user.email.partition("@")[0].capitalize()

    def _client_works(self, who: str) -> None:
        listing = wait_for_servers(self.observer.mcp_url, self.user, self.servers)
        self.report.say(f"{who} {self.user.email} asks the gateway for its servers: {listing}")
        if listing.servers != self.servers:
            raise StoryError(f"{self.user.email} should see {', '.join(self.servers)}, but got: {listing}")

    def _management_api(self) -> Forward:
        return self.kube.forward(GATEWAY_NAMESPACE, f"deployment/{GATEWAY}", MANAGEMENT_PORT)

    def _api(self, port: int) -> GatewayApi:
        config = json.loads(self.kube.kubectl(*_in_gateway(), "cat", CONFIG_FILE))
        return GatewayApi(f"http://127.0.0.1:{port}", config["admin_apikey"])

    def _join(self, project: str, email: str) -> None:
        """The gateway's API cannot add a member (500 in 2.2.4); its command line, in the pod, can."""
        command = ["python", "-m", "secure_mcp_gateway.cli", "project", "add-user", "--project-name", project]
        self.kube.kubectl(*_in_gateway(), *command, "--email", email)

    def _status(self, kind: str, name: str) -> dict[str, Any]:
        found = json.loads(self.kube.kubectl("-n", GATEWAY_NAMESPACE, "get", kind, name, "-o", "json"))
        status: dict[str, Any] = found["status"]
        return status


def _in_gateway() -> list[str]:
    return ["-n", GATEWAY_NAMESPACE, "exec", f"deployment/{GATEWAY}", "-c", "gateway", "--"]


def _in_admin() -> list[str]:
    return ["-n", GATEWAY_NAMESPACE, "exec", f"deployment/{GATEWAY}", "-c", "admin", "--"]
