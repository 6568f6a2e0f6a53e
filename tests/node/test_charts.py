"""The charts as people use them: real pods, real hooks, install, upgrade, uninstall and install again."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from typing import Any

import pytest
from tests.cluster import ClusterError
from tests.cluster.output import wait_until
from tests.node.conftest import RESTRICTED, InstalledGateway

pytestmark = pytest.mark.node

CONFIG = "/app/.enkrypt/docker/enkrypt_mcp_config.json"
SECRETS = ("my-gateway-admin", "my-gateway-admin-tls")
CLAIMS = ("my-gateway-config", "my-gateway-backups")
CONTAINERS = ("gateway", "admin", "management-api")


def backup(name: str, **spec: Any) -> str:
    """A GatewayBackup of the gateway."""
    return json.dumps(
        {
            "apiVersion": "mcpgateway.dev/v1alpha1",
            "kind": "GatewayBackup",
            "metadata": {"name": name},
            "spec": {"gatewayRef": {"name": "my-gateway"}, **spec},
        }
    )


def identities(installed: InstalledGateway, kind: str, names: tuple[str, ...]) -> dict[str, tuple[str, Any]]:
    """Uid and data of objects that must not change."""
    found = {name: installed.get(kind, name) for name in names}
    return {name: (item["metadata"]["uid"], item.get("data")) for name, item in found.items()}


def test_every_container_is_ready_and_none_was_restarted(installed_gateway: InstalledGateway) -> None:
    statuses = installed_gateway.pod()["status"]["containerStatuses"]
    assert {status["name"] for status in statuses} == set(CONTAINERS)
    assert all(status["ready"] and status["restartCount"] == 0 for status in statuses)


def test_all_run_as_one_user_on_a_root_that_is_read_only_without_a_token(installed_gateway: InstalledGateway) -> None:
    script = "id -u; id -g; touch /x 2>&1; ls /var/run/secrets/kubernetes.io 2>&1; touch /tmp/x && echo tmp"
    for container in CONTAINERS:
        uid, gid, root, token, tmp = installed_gateway.run(container, "sh", "-c", script).splitlines()
        assert (uid, gid, tmp) == ("10001", "10001", "tmp")
        assert "Read-only file system" in root
        assert "No such file" in token
    assert installed_gateway.run("admin", "stat", "-c", "%u %a", CONFIG).split() == ["10001", "600"]


def test_the_backups_are_out_of_the_gateways_reach(installed_gateway: InstalledGateway) -> None:
    assert installed_gateway.run("admin", "sh", "-c", "test -d /backups && echo there").strip() == "there"
    assert installed_gateway.run("gateway", "sh", "-c", "test -d /backups || echo absent").strip() == "absent"


def test_in_the_clear_there_is_only_health(installed_gateway: InstalledGateway) -> None:
    address = installed_gateway.pod()["status"]["podIP"]
    assert _get(http.client.HTTPConnection(address, 8001, timeout=10), "/health") == 200
    key = _key(installed_gateway)
    assert _get(http.client.HTTPConnection(address, 8001, timeout=10), "/api/v1/system/health", key) in (403, 404)


def test_with_tls_the_key_opens_and_the_ca_proves_the_name(installed_gateway: InstalledGateway) -> None:
    address = installed_gateway.pod()["status"]["podIP"]
    data = installed_gateway.get("secret", SECRETS[1])["data"]
    context = ssl.create_default_context(cadata=base64.b64decode(data["ca.crt"]).decode())
    connection = _Named(address, 8443, context, f"my-gateway.{installed_gateway.namespace}.svc")
    assert _get(connection, "/api/v1/system/health", _key(installed_gateway)) == 200
    stranger = _Named(address, 8443, context, "other-gateway.team-a.svc")
    with pytest.raises(ssl.SSLCertVerificationError):
        _get(stranger, "/health")


class _Named(http.client.HTTPSConnection):
    """Connects to an address and expects the certificate of a name."""

    def __init__(self, address: str, port: int, context: ssl.SSLContext, name: str) -> None:
        super().__init__(address, port, timeout=10)
        self._ssl, self._name = context, name

    def connect(self) -> None:
        """Connect, and check who answers."""
        http.client.HTTPConnection.connect(self)
        self.sock = self._ssl.wrap_socket(self.sock, server_hostname=self._name)


def _get(connection: http.client.HTTPConnection, path: str, key: str | None = None) -> int:
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
        return connection.getresponse().status
    finally:
        connection.close()


def _key(installed: InstalledGateway) -> str:
    return base64.b64decode(installed.get("secret", SECRETS[0])["data"]["admin-key"]).decode().strip()


def test_the_rights_that_the_charts_give_are_enough_for_a_backup(installed_gateway: InstalledGateway) -> None:
    installed_gateway.kubectl("apply", "-f", "-", input=backup("with-the-charts-rights"))
    installed_gateway.kubectl(
        "wait", "--for=condition=Completed", "gatewaybackup/with-the-charts-rights", "--timeout=60s"
    )


def test_an_upgrade_changes_no_secret_and_with_the_same_values_no_pod(installed_gateway: InstalledGateway) -> None:
    secrets, pod = identities(installed_gateway, "secret", SECRETS), installed_gateway.pod()["metadata"]["uid"]
    installed_gateway.install_gateway("--set", "managementApi.enabled=true")
    assert identities(installed_gateway, "secret", SECRETS) == secrets
    assert installed_gateway.pod()["metadata"]["uid"] == pod


def test_an_uninstall_keeps_config_backups_and_keys_and_an_install_finds_them(
    installed_gateway: InstalledGateway,
) -> None:
    claims = identities(installed_gateway, "pvc", CLAIMS)
    secrets = identities(installed_gateway, "secret", SECRETS)
    config = installed_gateway.run("admin", "sha256sum", CONFIG)
    files = installed_gateway.run("admin", "find", "/backups", "-name", "*.json*")
    installed_gateway.cluster.helm("uninstall", "my-gateway", "-n", installed_gateway.namespace, "--wait")
    try:
        assert identities(installed_gateway, "pvc", CLAIMS) == claims
        left = installed_gateway.kubectl("get", "job,serviceaccount,role,rolebinding,service,deployment", "-o", "name")
        assert "my-gateway" not in left
    finally:
        installed_gateway.install_gateway("--set", "managementApi.enabled=true")
    assert identities(installed_gateway, "pvc", CLAIMS) == claims
    assert identities(installed_gateway, "secret", SECRETS) == secrets
    assert installed_gateway.run("admin", "sha256sum", CONFIG) == config
    assert installed_gateway.run("admin", "find", "/backups", "-name", "*.json*") == files


@pytest.fixture
def seeded(installed_gateway: InstalledGateway, namespace: str) -> str:
    """A second gateway, of plain HTTP and with a first config of its own; nothing of it is kept."""
    live = json.loads(installed_gateway.run("admin", "cat", CONFIG))
    first = json.dumps({**live, "admin_apikey": "s" * 64})
    installed_gateway.cluster.kubectl("label", "namespace", namespace, *RESTRICTED)
    installed_gateway.kubectl(
        "create", "secret", "generic", "first", f"--from-literal=config.json={first}", namespace=namespace
    )
    installed_gateway.install_gateway(
        *("--set", "config.initialConfigSecret=first", "--set", "tls.enabled=false"),
        *("--set", "config.persistence.keepOnUninstall=false", "--set", "backups.persistence.keepOnUninstall=false"),
        release="seeded",
        namespace=namespace,
    )
    return namespace


def test_a_seed_is_used_once_and_claims_that_need_not_be_kept_are_not(
    installed_gateway: InstalledGateway, seeded: str
) -> None:
    def config() -> str:
        return installed_gateway.run("admin", "cat", CONFIG, release="seeded", namespace=seeded)

    assert json.loads(config())["admin_apikey"] == "s" * 64
    address = installed_gateway.pod("seeded", seeded)["status"]["podIP"]
    assert _get(http.client.HTTPConnection(address, 8001, timeout=10), "/api/v1/system/health", "s" * 64) == 200

    other = json.dumps({"data": {"config.json": base64.b64encode(b'{"admin_apikey": "other"}').decode()}})
    installed_gateway.kubectl("patch", "secret", "first", "-p", other, namespace=seeded)
    installed_gateway.kubectl("rollout", "restart", "deployment/seeded", namespace=seeded)
    installed_gateway.kubectl("rollout", "status", "deployment/seeded", "--timeout=60s", namespace=seeded)
    assert json.loads(config())["admin_apikey"] == "s" * 64

    installed_gateway.cluster.helm("uninstall", "seeded", "-n", seeded, "--wait")
    assert "seeded" not in installed_gateway.kubectl("get", "pvc", "-o", "name", namespace=seeded)


def test_an_uninstall_of_the_operator_leaves_objects_that_can_be_deleted(installed_gateway: InstalledGateway) -> None:
    # Only what still has something to do when it is deleted holds a finalizer: here, the deletion of the file.
    installed_gateway.kubectl("apply", "-f", "-", input=backup("outlives"))
    name = "gatewaybackup/outlives"
    installed_gateway.kubectl("patch", name, "--type=merge", "-p", '{"spec":{"deleteFile":true}}')

    def has_finalizer() -> bool:
        return bool(installed_gateway.get("gatewaybackup", "outlives")["metadata"].get("finalizers"))

    wait_until(has_finalizer, "the operator's finalizer", timeout=30, pause=0.2)
    cluster, namespace = installed_gateway.cluster, installed_gateway.operator_namespace
    cluster.helm("uninstall", installed_gateway.operator, "-n", namespace, "--wait")
    try:
        assert not has_finalizer()
        assert "gatewaybackups.mcpgateway.dev" in cluster.kubectl("get", "crds", "-o", "name")
        left = cluster.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name")
        assert "gateway-backup" not in left
        assert cluster.kubectl("-n", namespace, "get", "jobs,pods", "-o", "name").strip() == ""
        # At once, with nobody there to release it.
        installed_gateway.kubectl("delete", name, "--timeout=10s")
    finally:
        installed_gateway.install_operator()
    installed_gateway.kubectl("apply", "-f", "-", input=backup("after"))
    installed_gateway.kubectl("wait", "--for=condition=Completed", "gatewaybackup/after", "--timeout=60s")


def test_a_pod_that_is_not_restricted_would_not_have_run_here(installed_gateway: InstalledGateway) -> None:
    with pytest.raises(ClusterError, match="violates PodSecurity"):
        installed_gateway.kubectl("run", "careless", "--image=any:1")
