"""The drill pod has the gateway's containers, and nothing by which it could reach or be taken for the gateway."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_operator.domain.drill.pod import build_pod, build_policy, gateway_image, live_targets, obstacle
from tests.unit.gateway_operator.drill.workloads import RESTORE, admin, gateway, plan, pod_spec, workload


def names(containers: list[dict[str, Any]]) -> list[str]:
    return [one["name"] for one in containers]


def volumes(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: {key: value for key, value in one.items() if key != "name"} for one in pod["spec"]["volumes"]}


def test_gateway_starts_only_after_the_check_the_seed_and_the_restore() -> None:
    pod = build_pod(plan())
    spec = pod["spec"]
    assert names(spec["initContainers"]) == ["drill-isolation", "seed", "admin", "drill-prepare"]
    assert names(spec["containers"]) == ["gateway"]
    isolation, seed, sidecar, prepare = spec["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert "restartPolicy" not in seed
    assert isolation["image"] == prepare["image"] == "admin:1"
    assert (isolation["command"], isolation["args"]) == (
        ["gateway-admin"],
        ["drill", "isolation", "--target=10.0.0.1:8000"],
    )
    assert "volumeMounts" not in isolation
    assert prepare["args"][:2] == ["drill", "prepare"]
    assert "--config=/app/.enkrypt/docker/config.json" in prepare["args"]
    assert prepare["volumeMounts"] == sidecar["volumeMounts"]
    assert prepare["env"] == sidecar["env"]


def test_pod_is_bounded_owned_and_without_a_token() -> None:
    pod = build_pod(plan())
    meta, spec = pod["metadata"], pod["spec"]
    assert meta["name"] == "weekly-drill-12345678"
    assert meta["labels"] == {"mcpgateway.dev/drill": "weekly", "mcpgateway.dev/drill-kind": "Deployment"}
    (owner,) = meta["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("GatewayRestore", RESTORE.uid, True)
    assert spec["automountServiceAccountToken"] is False
    assert (spec["restartPolicy"], spec["activeDeadlineSeconds"]) == ("Never", 600)
    assert all({"cpu", "memory"} <= set(one["resources"]["limits"]) for one in all_containers(pod))
    assert volumes(pod) == {
        "config": {"emptyDir": {"sizeLimit": "1Gi"}},
        "backups": {"emptyDir": {"sizeLimit": "1Gi"}},
        "admin-key": {"secret": {"secretName": "gw-admin"}},
    }


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        ({"persistentVolumeClaim": {"claimName": "c"}}, {"emptyDir": {"sizeLimit": "1Gi"}}),
        ({"ephemeral": {"volumeClaimTemplate": {}}}, {"emptyDir": {"sizeLimit": "1Gi"}}),
        ({"hostPath": {"path": "/"}}, {"emptyDir": {"sizeLimit": "1Gi"}}),
        ({"nfs": {"server": "s", "path": "/"}}, {"emptyDir": {"sizeLimit": "1Gi"}}),
        ({"csi": {"driver": "secrets-store.csi.k8s.io"}}, {"emptyDir": {"sizeLimit": "1Gi"}}),
        ({"aFieldOfTheFuture": {}}, {"emptyDir": {"sizeLimit": "1Gi"}}),
        ({"emptyDir": {}}, {"emptyDir": {"sizeLimit": "1Gi"}}),
        (
            {"emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
            {"emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
        ),
        ({"configMap": {"name": "keys"}}, {"configMap": {"name": "keys"}}),
        ({"downwardAPI": {"items": []}}, {"downwardAPI": {"items": []}}),
        (
            {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"secret": {"name": "s"}}]}},
            {"projected": {"sources": [{"secret": {"name": "s"}}]}},
        ),
        ({"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}, {"emptyDir": {"sizeLimit": "1Gi"}}),
        ({"projected": {"sources": [{"podCertificate": {}}]}}, {"emptyDir": {"sizeLimit": "1Gi"}}),
    ],
)
def test_only_secrets_and_config_maps_survive_among_the_volumes(
    volume: dict[str, Any], expected: dict[str, Any]
) -> None:
    pod = build_pod(plan(workload(pod_spec(volumes=[{"name": "v", **volume}]))))
    assert volumes(pod) == {"v": expected}


def test_claim_templates_of_a_stateful_set_become_empty_volumes() -> None:
    spec = pod_spec(volumes=[{"name": "config", "hostPath": {"path": "/"}}])
    templates = [{"metadata": {"name": "config"}}, {"metadata": {"name": "backups"}}]
    pod = build_pod(plan(workload(spec, volumeClaimTemplates=templates)))
    assert volumes(pod) == {name: {"emptyDir": {"sizeLimit": "1Gi"}} for name in ("config", "backups")}
    assert pod["metadata"]["annotations"]["mcpgateway.dev/drill-of"] == "gw"


@pytest.mark.parametrize(
    ("resources", "limits"),
    [
        ({}, {"cpu": "1", "memory": "1Gi"}),
        ({"limits": {"cpu": "2", "memory": "4Gi"}}, {"cpu": "2", "memory": "4Gi"}),
        ({"requests": {"memory": "64Mi", "cpu": "100m"}}, {"cpu": "1", "memory": "1Gi"}),
        ({"requests": {"memory": "3Gi", "cpu": "1500m"}}, {"cpu": "1500m", "memory": "3Gi"}),
        ({"claims": [{"name": "gpu"}]}, {"cpu": "1", "memory": "1Gi"}),
    ],
)
def test_every_container_has_limits_not_below_its_requests(resources: dict[str, Any], limits: dict[str, str]) -> None:
    pod = build_pod(plan(workload(pod_spec(containers=[gateway(resources=resources), admin()]))))
    (container,) = pod["spec"]["containers"]
    assert container["resources"]["limits"] == limits
    assert "claims" not in container["resources"]


@pytest.mark.parametrize(
    ("containers", "text"),
    [
        ([gateway()], "no container with a port named admin-tls or admin"),
        ([admin()], "no container beside the admin API"),
        ([gateway(), admin()], ""),
        ([gateway(), admin(ports=[{"name": "admin", "containerPort": 80}])], ""),
    ],
)
def test_template_without_gateway_or_admin_port_is_refused(containers: list[dict[str, Any]], text: str) -> None:
    problem = obstacle(workload(pod_spec(containers=containers)))
    assert text in problem
    assert bool(problem) == bool(text)


def test_admin_api_that_is_a_sidecar_already_stays_in_its_place() -> None:
    init = [admin(restartPolicy="Always"), {"name": "seed", "image": "admin:1"}]
    pod = build_pod(plan(workload(pod_spec(containers=[gateway()], initContainers=init))))
    assert names(pod["spec"]["initContainers"]) == ["drill-isolation", "admin", "seed", "drill-prepare"]
    assert names(pod["spec"]["containers"]) == ["gateway"]


@pytest.mark.parametrize("arguments", [["serve", "--backups", "/data"], ["serve", "--backups=/data"]])
def test_backup_directory_given_as_a_flag_is_passed_on(arguments: list[str]) -> None:
    pod = build_pod(plan(workload(pod_spec(containers=[gateway(), admin(args=arguments, env=None)]))))
    assert pod["spec"]["initContainers"][-1]["args"][-1] == "--backups=/data"


def test_owner_of_the_gateway_can_accept_missing_isolation() -> None:
    accepting = workload(annotations={"mcpgateway.dev/drill-isolation": "Optional"})
    assert build_pod(plan(accepting))["spec"]["initContainers"][0]["args"][-1] == "--accept"
    other = workload(annotations={"mcpgateway.dev/drill-isolation": "optional"})
    assert "--accept" not in build_pod(plan(other))["spec"]["initContainers"][0]["args"]


def test_image_shown_in_the_status_is_that_of_the_gateway() -> None:
    assert gateway_image(workload()) == "gateway:2"
    assert gateway_image(workload(pod_spec(containers=[gateway(name="proxy", image="p"), admin()]))) == "p"


def test_policy_denies_egress_and_lets_only_the_operator_in() -> None:
    policy = build_policy(plan())
    spec = policy["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in spec
    assert spec["podSelector"]["matchLabels"].items() <= build_pod(plan())["metadata"]["labels"].items()
    (rule,) = spec["ingress"]
    assert rule["ports"] == [{"port": 8443, "protocol": "TCP"}]
    (peer,) = rule["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "ops"}
    assert policy["metadata"]["ownerReferences"] == build_pod(plan())["metadata"]["ownerReferences"]
    assert "from" not in build_policy(plan(operator=""))["spec"]["ingress"][0]


@pytest.mark.parametrize(
    ("address", "expected"),
    [("10.0.0.7", ["10.0.0.7:8000", "10.0.0.7:8001", "10.0.0.7:8443"]), ("fd00::7", ["[fd00::7]:8000"]), (None, [])],
)
def test_live_pod_is_tried_at_all_its_ports(address: str | None, expected: list[str]) -> None:
    targets = live_targets({"spec": pod_spec(), "status": {"podIP": address}})
    assert targets[: len(expected)] == expected
    assert bool(targets) == bool(address)


# The property: whatever a template contains, none of these survives.

DANGEROUS_FIELDS: dict[str, Any] = {
    "hostNetwork": True, "hostPID": True, "hostIPC": True, "nodeName": "n", "serviceAccountName": "admin",
    "serviceAccount": "admin", "automountServiceAccountToken": True, "hostname": "gw-0", "subdomain": "gw",
    "resourceClaims": [{"name": "gpu"}], "schedulingGates": [{"name": "g"}], "readinessGates": [{"conditionType": "c"}],
    "priorityClassName": "critical", "setHostnameAsFQDN": True, "activeDeadlineSeconds": 9**9, "restartPolicy": "x",
    "topologySpreadConstraints": [{"topologyKey": "zone"}], "ephemeralContainers": [{"name": "e"}],
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["api"]}], "aFieldOfTheFuture": True,
    "affinity": {"podAffinity": {"x": 1}, "podAntiAffinity": {"x": 1}, "nodeAffinity": {"keep": 1}},
}  # fmt: skip
DANGEROUS_CONTAINER: dict[str, Any] = {
    "lifecycle": {"postStart": {"httpGet": {"path": "/register"}}},
    "volumeDevices": [{"name": "disk", "devicePath": "/dev/x"}],
    "ports": [{"name": "mcp", "containerPort": 8000, "hostPort": 8000, "hostIP": "0.0.0.0"}],
    "volumeMounts": [{"name": "config", "mountPath": "/c", "mountPropagation": "Bidirectional"}],
    "securityContext": {"privileged": True, "runAsNonRoot": True},
    "resources": {"claims": [{"name": "gpu"}]},
    "aFieldOfTheFuture": True,
}
VOLUMES: list[dict[str, Any]] = [
    {"persistentVolumeClaim": {"claimName": "c"}}, {"hostPath": {"path": "/"}}, {"csi": {"driver": "d"}},
    {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"configMap": {"name": "c"}}]}},
    {"emptyDir": {}}, {"secret": {"secretName": "s"}}, {"ephemeral": {}}, {"image": {"reference": "x"}}, {"iscsi": {}},
]  # fmt: skip


def all_containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]


def keys(value: Any) -> Iterator[str]:
    """All field names in a value, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


@given(
    fields=st.sets(st.sampled_from(sorted(DANGEROUS_FIELDS))),
    container_fields=st.sets(st.sampled_from(sorted(DANGEROUS_CONTAINER))),
    kinds=st.lists(st.sampled_from(VOLUMES), max_size=5),
    claims=st.sets(st.sampled_from(["config", "backups", "v0", "v1"])),
    labels=st.dictionaries(st.sampled_from(["app", "tier", "mcpgateway.dev/gateway"]), st.sampled_from("ab")),
)
def test_nothing_that_reaches_out_survives(
    fields: set[str], container_fields: set[str], kinds: list[dict[str, Any]], claims: set[str], labels: dict[str, str]
) -> None:
    extra = {name: DANGEROUS_CONTAINER[name] for name in container_fields}
    containers = [gateway(**copy.deepcopy(extra)), admin()]
    spec = pod_spec(
        containers=containers,
        initContainers=[{"name": "seed", "image": "i", **copy.deepcopy(extra)}],
        volumes=[{"name": f"v{number}", **copy.deepcopy(kind)} for number, kind in enumerate(kinds)],
        **{name: copy.deepcopy(DANGEROUS_FIELDS[name]) for name in fields},
    )
    source = workload(spec, volumeClaimTemplates=[{"metadata": {"name": name}} for name in sorted(claims)])
    source.spec["template"]["metadata"]["labels"] = labels
    before = copy.deepcopy(source.body)

    pod = build_pod(plan(source))

    assert source.body == before
    assert pod["metadata"]["labels"].keys() == {"mcpgateway.dev/drill", "mcpgateway.dev/drill-kind"}
    allowed = {"emptyDir", "secret", "configMap", "downwardAPI", "projected"}
    assert all(set(one) <= allowed and len(one) == 1 for one in volumes(pod).values())
    assert all("sizeLimit" in one["emptyDir"] for one in volumes(pod).values() if "emptyDir" in one)
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert (pod["spec"]["restartPolicy"], pod["spec"]["activeDeadlineSeconds"]) == ("Never", 600)
    forbidden = {
        "hostNetwork", "hostPID", "hostIPC", "nodeName", "serviceAccountName", "serviceAccount", "hostname",
        "subdomain", "resourceClaims", "schedulingGates", "readinessGates", "priorityClassName", "hostAliases",
        "topologySpreadConstraints", "ephemeralContainers", "podAffinity", "podAntiAffinity", "aFieldOfTheFuture",
        "lifecycle", "volumeDevices", "hostPort", "hostIP", "mountPropagation", "privileged", "claims",
        "persistentVolumeClaim", "hostPath", "csi", "serviceAccountToken", "ephemeral", "image.reference",
    }  # fmt: skip
    assert not forbidden & set(keys(pod["spec"]))
    mounted = {mount["name"] for one in all_containers(pod) for mount in one.get("volumeMounts", ())}
    assert {name for name in mounted if name.startswith("v")} <= set(volumes(pod))
