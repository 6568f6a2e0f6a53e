"""The charts on a node with real pods and hooks: install, upgrade, uninstall, reinstall and security settings."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import subprocess
from typing import Any

import pytest
from tests.api.support.requirements import require_programs
from tests.cluster import ClusterError
from tests.cluster.output import wait_until
from tests.node.conftest import InstalledGateway
from tests.operator.support.namespaces import enforce_restricted_standard

pytestmark = pytest.mark.node

CONFIG = "/app/.enkrypt/docker/enkrypt_mcp_config.json"
SECRETS = ("my-gateway-admin", "my-gateway-admin-tls")
CLAIMS = ("my-gateway-config", "my-gateway-backups")
CONTAINERS = ("gateway", "admin", "management-api")


def backup(name: str, **spec: Any) -> str:
    """A GatewayBackup of the installed gateway, as JSON."""
    return json.dumps(
        {
            "apiVersion": "mcpgateway.dev/v1alpha1",
            "kind": "GatewayBackup",
            "metadata": {"name": name},
            "spec": {"gatewayRef": {"name": "my-gateway"}, **spec},
        }
    )


def uids_and_data(installed: InstalledGateway, kind: str, names: tuple[str, ...]) -> dict[str, tuple[str, Any]]:
    """The uid and the data of each object by name, for comparison after a change."""
    objects = {name: installed.get(kind, name) for name in names}
    return {name: (item["metadata"]["uid"], item.get("data")) for name, item in objects.items()}


def test_all_containers_are_ready_without_restarts(installed_gateway: InstalledGateway) -> None:
    statuses = installed_gateway.pod()["status"]["containerStatuses"]
    assert {status["name"] for status in statuses} == set(CONTAINERS)
    assert all(status["ready"] and status["restartCount"] == 0 for status in statuses)


def test_containers_run_unprivileged_with_read_only_root_and_no_token(installed_gateway: InstalledGateway) -> None:
    script = "id -u; id -g; touch /x 2>&1; ls /var/run/secrets/kubernetes.io 2>&1; touch /tmp/x && echo tmp"
    for container in CONTAINERS:
        uid, gid, root, token, tmp = installed_gateway.run(container, "sh", "-c", script).splitlines()
        assert (uid, gid, tmp) == ("10001", "10001", "tmp")
        assert "Read-only file system" in root
        assert "No such file" in token
    assert installed_gateway.run("admin", "stat", "-c", "%u %a", CONFIG).split() == ["10001", "600"]


def test_gateway_container_cannot_reach_the_backups(installed_gateway: InstalledGateway) -> None:
    assert installed_gateway.run("admin", "sh", "-c", "test -d /backups && echo there").strip() == "there"
    assert installed_gateway.run("gateway", "sh", "-c", "test -d /backups || echo absent").strip() == "absent"


def test_only_the_admin_container_has_the_signing_key(installed_gateway: InstalledGateway) -> None:
    require_programs("openssl")
    script = "test -e /etc/gateway-admin/signing/signing-key.pem && echo yes || echo no"
    has = {one: installed_gateway.run(one, "sh", "-c", script).strip() for one in CONTAINERS}
    assert has == {"admin": "yes", "gateway": "no", "management-api": "no"}
    script = "find /backups /app/.enkrypt/docker -name '*.pem'"
    assert installed_gateway.run("admin", "sh", "-c", script) == ""
    published = installed_gateway.get("configmap", "my-gateway-signing")["data"]
    secret = installed_gateway.get("secret", "my-gateway-signing")["data"]["signing-key.pem"]
    command = ["openssl", "pkey", "-pubout"]
    public = subprocess.run(command, input=base64.b64decode(secret), capture_output=True, check=True).stdout
    assert published["public-key.pem"].split() == public.decode().split()


def test_plain_http_serves_only_health(installed_gateway: InstalledGateway) -> None:
    address = installed_gateway.pod()["status"]["podIP"]
    assert _get(http.client.HTTPConnection(address, 8001, timeout=10), "/health") == 200
    key = _key(installed_gateway)
    assert _get(http.client.HTTPConnection(address, 8001, timeout=10), "/api/v1/system/health", key) in (403, 404)


def test_tls_certificate_is_valid_only_for_the_gateways_name(installed_gateway: InstalledGateway) -> None:
    address = installed_gateway.pod()["status"]["podIP"]
    data = installed_gateway.get("secret", SECRETS[1])["data"]
    context = ssl.create_default_context(cadata=base64.b64decode(data["ca.crt"]).decode())
    connection = _ConnectionToAddress(address, 8443, context, f"my-gateway.{installed_gateway.namespace}.svc")
    assert _get(connection, "/api/v1/system/health", _key(installed_gateway)) == 200
    other_name = _ConnectionToAddress(address, 8443, context, "other-gateway.team-a.svc")
    with pytest.raises(ssl.SSLCertVerificationError):
        _get(other_name, "/health")


class _ConnectionToAddress(http.client.HTTPSConnection):
    """HTTPS to an IP address that expects a certificate with the given name."""

    def __init__(self, address: str, port: int, context: ssl.SSLContext, name: str) -> None:
        super().__init__(address, port, timeout=10)
        self._tls_context, self._server_name = context, name

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls_context.wrap_socket(self.sock, server_hostname=self._server_name)


def _get(connection: http.client.HTTPConnection, path: str, key: str | None = None) -> int:
    """Send one GET request and close the connection. Returns the HTTP status."""
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
        return connection.getresponse().status
    finally:
        connection.close()


def _key(installed: InstalledGateway) -> str:
    return base64.b64decode(installed.get("secret", SECRETS[0])["data"]["admin-key"]).decode().strip()


def test_permissions_of_the_charts_suffice_for_a_backup(installed_gateway: InstalledGateway) -> None:
    installed_gateway.kubectl("apply", "-f", "-", input=backup("with-the-charts-permissions"))
    installed_gateway.kubectl(
        "wait", "--for=condition=Completed", "gatewaybackup/with-the-charts-permissions", "--timeout=60s"
    )


def test_upgrade_with_the_same_values_changes_no_secret_and_no_pod(installed_gateway: InstalledGateway) -> None:
    secrets, pod = uids_and_data(installed_gateway, "secret", SECRETS), installed_gateway.pod()["metadata"]["uid"]
    installed_gateway.install_gateway("--set", "managementApi.enabled=true")
    assert uids_and_data(installed_gateway, "secret", SECRETS) == secrets
    assert installed_gateway.pod()["metadata"]["uid"] == pod


def test_reinstall_finds_config_backups_and_keys(
    installed_gateway: InstalledGateway,
) -> None:
    claims = uids_and_data(installed_gateway, "pvc", CLAIMS)
    secrets = uids_and_data(installed_gateway, "secret", SECRETS)
    config = installed_gateway.run("admin", "sha256sum", CONFIG)
    files = installed_gateway.run("admin", "find", "/backups", "-name", "*.json*")
    installed_gateway.cluster.helm("uninstall", "my-gateway", "-n", installed_gateway.namespace, "--wait")
    try:
        assert uids_and_data(installed_gateway, "pvc", CLAIMS) == claims
        left = installed_gateway.kubectl("get", "job,serviceaccount,role,rolebinding,service,deployment", "-o", "name")
        assert "my-gateway" not in left
    finally:
        installed_gateway.install_gateway("--set", "managementApi.enabled=true")
    assert uids_and_data(installed_gateway, "pvc", CLAIMS) == claims
    assert uids_and_data(installed_gateway, "secret", SECRETS) == secrets
    assert installed_gateway.run("admin", "sha256sum", CONFIG) == config
    assert installed_gateway.run("admin", "find", "/backups", "-name", "*.json*") == files


@pytest.fixture
def seeded(installed_gateway: InstalledGateway, namespace: str) -> str:
    """The namespace of a second gateway, with plain HTTP and a seeded config. Its claims are not kept."""
    live = json.loads(installed_gateway.run("admin", "cat", CONFIG))
    first = json.dumps({**live, "admin_apikey": "s" * 64})
    enforce_restricted_standard(installed_gateway.cluster, namespace)
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


def test_seed_is_used_once_and_claims_are_deleted_if_configured(
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


def test_operator_uninstall_releases_finalizers(installed_gateway: InstalledGateway) -> None:
    # Only a backup with deleteFile has a finalizer.
    installed_gateway.kubectl("apply", "-f", "-", input=backup("outlives"))
    name = "gatewaybackup/outlives"
    installed_gateway.kubectl("patch", name, "--type=merge", "-p", '{"spec":{"deleteFile":true}}')

    def has_finalizer() -> bool:
        return bool(installed_gateway.get("gatewaybackup", "outlives")["metadata"].get("finalizers"))

    wait_until(has_finalizer, "the operator's finalizer", timeout=60, pause=0.2)
    cluster, namespace = installed_gateway.cluster, installed_gateway.operator_namespace
    cluster.helm("uninstall", installed_gateway.operator, "-n", namespace, "--wait")
    try:
        assert not has_finalizer()
        assert "gatewaybackups.mcpgateway.dev" in cluster.kubectl("get", "crds", "-o", "name")
        left = cluster.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name")
        assert "gateway-backup" not in left
        assert cluster.kubectl("-n", namespace, "get", "jobs,pods", "-o", "name").strip() == ""
        # Without an operator nothing would remove a finalizer: the deletion must not wait for one.
        installed_gateway.kubectl("delete", name, "--timeout=60s")
    finally:
        installed_gateway.install_operator()
    installed_gateway.kubectl("apply", "-f", "-", input=backup("after"))
    installed_gateway.kubectl("wait", "--for=condition=Completed", "gatewaybackup/after", "--timeout=60s")


def test_namespace_rejects_pods_that_are_not_restricted(installed_gateway: InstalledGateway) -> None:
    with pytest.raises(ClusterError, match="violates PodSecurity"):
        installed_gateway.kubectl("run", "careless", "--image=any:1")
