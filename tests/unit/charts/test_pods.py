"""Rules for all pods: the restricted Pod Security Standard, resources, tokens, probes, mounts and claims."""

import pytest

from tests.unit.charts.render import (
    Object,
    container,
    containers,
    every_variant,
    of_kind,
    one,
    pod_specs,
    render,
    render_variant,
)


@every_variant
def test_pods_meet_the_restricted_pod_security_standard(variant: str) -> None:
    for name, spec in pod_specs(render_variant(variant)):
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (10001, 10001, 10001), name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & spec.keys(), name
        for volume in spec["volumes"]:
            assert (volume.keys() - {"name"}) <= {"emptyDir", "persistentVolumeClaim", "secret", "configMap"}, name
        for item in containers(spec):
            assert item["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, (name, item["name"])
            assert all("hostPort" not in port for port in item.get("ports", []))


@every_variant
def test_containers_have_requests_a_memory_limit_and_no_cpu_limit(variant: str) -> None:
    for name, spec in pod_specs(render_variant(variant)):
        for item in containers(spec):
            resources = item["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys(), (name, item["name"])
            assert resources["limits"].keys() == {"memory"}, (name, item["name"])
            assert any(mount["mountPath"] == "/tmp" for mount in item["volumeMounts"])


@every_variant
def test_only_pods_of_the_operator_image_mount_a_token(variant: str) -> None:
    objects = render_variant(variant)
    for name, spec in pod_specs(objects):
        commands = {item.get("command", [None])[0] for item in spec["containers"]}
        assert spec["automountServiceAccountToken"] is (commands <= {"gateway-operator", "kubectl-gateway"}), name
        assert spec["enableServiceLinks"] is False, name
    for account in of_kind(objects, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


@every_variant
def test_no_single_file_is_mounted(variant: str) -> None:
    # A rename over a mounted file fails with EBUSY, and a Secret mounted by subPath is never updated.
    for _, spec in pod_specs(render_variant(variant)):
        for item in containers(spec):
            assert all("subPath" not in mount for mount in item["volumeMounts"])


def test_operator_probes_use_healthz() -> None:
    operator = container(render("operator"), "operator")
    for probe in ("livenessProbe", "readinessProbe"):
        assert operator[probe]["httpGet"] == {"path": "/healthz", "port": "liveness"}
    assert operator["ports"] == [
        {"name": "liveness", "containerPort": 8080},
        {"name": "metrics", "containerPort": 8081},
    ]
    assert operator["resources"] == {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "384Mi"}}


def test_admin_api_probes_use_health_and_never_ready() -> None:
    admin = container(render("gateway"), "admin")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert admin[probe]["httpGet"] == {"path": "/health", "port": "admin"}


def test_gateway_probes_connect_to_the_mcp_port() -> None:
    gateway = container(render("gateway"), "gateway")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert gateway[probe]["tcpSocket"] == {"port": "mcp"}


@pytest.mark.parametrize(("seconds", "failures"), [(10, 5), (11, 6), (180, 90)])
def test_startup_timeout_sets_the_failure_threshold(seconds: int, failures: int) -> None:
    gateway = container(render("gateway", {"gateway": {"startupTimeoutSeconds": seconds}}), "gateway")
    probe = gateway["startupProbe"]
    assert (probe["periodSeconds"], probe["failureThreshold"]) == (2, failures)


def test_management_api_has_no_readiness_probe() -> None:
    management = container(render("gateway", {"managementApi": {"enabled": True}}), "management-api")
    assert "readinessProbe" not in management
    assert management["image"] == container(render("gateway"), "gateway")["image"]


def _mounts(item: Object) -> dict[str, str]:
    return {mount["mountPath"]: mount["name"] for mount in item["volumeMounts"]}


def test_each_container_mounts_only_the_volumes_it_needs() -> None:
    objects = render("gateway", {"managementApi": {"enabled": True}, "config": {"initialConfigSecret": "first"}})
    config = {"/app/.enkrypt/docker": "config"}
    assert _mounts(container(objects, "gateway")) == {**config, "/tmp": "tmp-gateway"}
    assert _mounts(container(objects, "management-api")) == {**config, "/tmp": "tmp-management"}
    assert _mounts(container(objects, "seed")) == {**config, "/seed": "seed", "/tmp": "tmp-admin"}
    assert _mounts(container(objects, "admin")) == {
        **config,
        "/backups": "backups",
        "/etc/gateway-admin/key": "admin-key",
        "/etc/gateway-admin/tls": "admin-tls",
        "/etc/gateway-admin/signing": "signing-key",
        "/tmp": "tmp-admin",
    }


def test_environment_variables_of_gateway_and_admin_api() -> None:
    objects = render("gateway")
    environment = {item["name"]: item["value"] for item in container(objects, "admin")["env"]}
    assert environment == {
        "GATEWAY_CONFIG_FILE": "/app/.enkrypt/docker/enkrypt_mcp_config.json",
        "GATEWAY_BACKUP_DIR": "/backups",
        "GATEWAY_ADMIN_KEY_FILE": "/etc/gateway-admin/key/admin-key",
        "GATEWAY_API_HOST": "::",
        "GATEWAY_API_PORT": "8001",
        "GATEWAY_TLS_CERT_FILE": "/etc/gateway-admin/tls/tls.crt",
        "GATEWAY_TLS_KEY_FILE": "/etc/gateway-admin/tls/tls.key",
        "GATEWAY_TLS_PORT": "8443",
        "GATEWAY_VERSION": "2.2.4",
        "GATEWAY_SIGNING_KEY_FILE": "/etc/gateway-admin/signing/signing-key.pem",
        "GATEWAY_SIGNATURE_POLICY": "require",
        "GATEWAY_ALLOW_UNSIGNED_OVERRIDE": "false",
    }
    plain = {item["name"] for item in container(render("gateway", {"tls": {"enabled": False}}), "admin")["env"]}
    assert plain == {name for name in environment if "TLS" not in name}
    gateway = {item["name"]: item["value"] for item in container(objects, "gateway")["env"]}
    assert gateway["HOST_ENKRYPT_HOME"] == "/app/.enkrypt"
    assert gateway["SKIP_DEPENDENCY_INSTALL"] == "true"


def test_no_key_is_in_the_environment() -> None:
    # `kubectl describe` shows the environment, child processes inherit it, and core dumps contain it.
    for chart in ("operator", "gateway"):
        for _, spec in pod_specs(render(chart)):
            for item in containers(spec):
                assert all("valueFrom" not in variable for variable in item.get("env", []))
                assert "envFrom" not in item


def test_seed_container_reads_the_initial_config_secret_if_set() -> None:
    config = "/app/.enkrypt/docker/enkrypt_mcp_config.json"
    assert container(render("gateway"), "seed")["args"] == ["seed", "--config", config]
    seeded = render("gateway", {"config": {"initialConfigSecret": "first"}})
    assert container(seeded, "seed")["args"] == ["seed", "--config", config, "--from", "/seed/config.json"]
    spec = one(seeded, "Deployment")["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert volumes["seed"]["secret"]["secretName"] == "first"


def test_gateway_deployment_never_runs_two_pods() -> None:
    spec = one(render("gateway"), "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_claims_are_kept_on_uninstall_by_default() -> None:
    claims = {item["metadata"]["name"]: item for item in of_kind(render("gateway"), "PersistentVolumeClaim")}
    assert claims.keys() == {"my-gateway-config", "my-gateway-backups"}
    for claim in claims.values():
        assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
        assert "storageClassName" not in claim["spec"]
    claims = {
        item["metadata"]["name"]: item for item in of_kind(render_variant("gateway, all"), "PersistentVolumeClaim")
    }
    config, backups = claims["my-gateway-config"], claims["my-gateway-backups"]
    assert config["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep", "a": "b"}
    assert config["spec"]["storageClassName"] == "fast"
    assert "annotations" not in backups["metadata"]
    assert backups["spec"]["storageClassName"] == ""


def test_existing_claims_replace_those_of_the_chart() -> None:
    objects = render_variant("gateway, own claims")
    assert of_kind(objects, "PersistentVolumeClaim") == []
    volumes = one(objects, "Deployment")["spec"]["template"]["spec"]["volumes"]
    assert {
        volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume
    } == {
        "c",
        "b",
    }


def test_service_is_cluster_ip_with_named_ports() -> None:
    service = one(render("gateway"), "Service")["spec"]
    assert service["type"] == "ClusterIP"
    ports = {port["name"]: (port["port"], port["targetPort"]) for port in service["ports"]}
    assert ports == {"mcp": (8000, "mcp"), "admin": (8001, "admin"), "admin-tls": (8443, "admin-tls")}
    plain = one(render("gateway", {"tls": {"enabled": False}}), "Service")["spec"]
    assert [port["name"] for port in plain["ports"]] == ["mcp", "admin"]


def test_workload_annotations_name_the_secrets_and_config_reload() -> None:
    def annotations(values: Object) -> Object:
        result: Object = one(render("gateway", values), "Deployment")["metadata"]["annotations"]
        return result

    prefix = "mcpgateway.dev"
    assert annotations({}) == {
        f"{prefix}/admin-key-secret": "my-gateway-admin",
        f"{prefix}/admin-ca-secret": "my-gateway-admin",
        f"{prefix}/config-reload": "Watch",
    }
    assert f"{prefix}/admin-ca-secret" not in annotations({"tls": {"enabled": False}})
    assert annotations({"gateway": {"configReload": "Restart"}})[f"{prefix}/config-reload"] == "Restart"
    own = annotations({"adminKey": {"existingSecret": "mine"}, "tls": {"existingSecret": "cert", "caSecret": "ca"}})
    assert (own[f"{prefix}/admin-key-secret"], own[f"{prefix}/admin-ca-secret"]) == ("mine", "ca")


@pytest.mark.parametrize(
    ("values", "secret"),
    [
        ({}, "my-gateway-admin"),
        ({"tls": {"existingSecret": "cert"}}, "cert"),
        ({"adminKey": {"existingSecret": "mine"}}, "my-gateway-admin-tls"),
        ({"adminKey": {"existingSecret": "mine"}, "tls": {"existingSecret": "cert"}}, "cert"),
        ({"tls": {"existingSecret": "cert", "caSecret": "ca"}}, "ca"),
    ],
)
def test_ca_secret_annotation(values: Object, secret: str) -> None:
    annotations = one(render("gateway", values), "Deployment")["metadata"]["annotations"]
    assert annotations["mcpgateway.dev/admin-ca-secret"] == secret
