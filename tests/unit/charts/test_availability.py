"""The operator's pods for high availability: the Lease and its Role, the disruption budget, and where pods run."""

import pytest

from tests.unit.charts.render import Object, container, of_kind, one, render

NAME = "gateway-backup-operator"


def _pod_spec(values: Object | None = None) -> Object:
    spec: Object = one(render("operator", values), "Deployment")["spec"]["template"]["spec"]
    return spec


def test_two_pods_of_which_the_holder_of_the_lease_acts() -> None:
    objects = render("operator")
    spec = one(objects, "Deployment")["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    arguments = container(objects, "operator")["args"]
    assert arguments[:4] == ["run", "--leader-elect", f"--lease-name={NAME}", "--lease-seconds=15"]
    lease = one(objects, "Lease")
    assert (lease["metadata"]["name"], lease["metadata"]["namespace"]) == (NAME, "team-a")
    # An upgrade must not overwrite the holder.
    assert "spec" not in lease


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_election_is_on_for_any_number_of_pods(replicas: int) -> None:
    """During an update there is one pod more, also with a single replica."""
    objects = render("operator", {"replicas": replicas, "leaderElection": {"leaseSeconds": 30}})
    assert one(objects, "Deployment")["spec"]["replicas"] == replicas
    assert {"--leader-elect", "--lease-seconds=30"} <= set(container(objects, "operator")["args"])


@pytest.mark.parametrize("watched", [[], ["team-b"]])
def test_operator_may_read_and_patch_its_own_lease_only(watched: list[str]) -> None:
    objects = render("operator", {"watchNamespaces": watched, "fullnameOverride": "other"})
    role = one(objects, "Role", "other-leader")
    assert role["metadata"]["namespace"] == "team-a"
    assert role["rules"] == [
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": ["other"],
            "verbs": ["get", "patch"],
        }
    ]
    binding = one(objects, "RoleBinding", "other-leader")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "other", "namespace": "team-a"}]
    assert one(objects, "Lease")["metadata"]["name"] == "other"
    assert "--lease-name=other" in container(objects, "operator")["args"]
    others = [*of_kind(objects, "ClusterRole"), *of_kind(objects, "Role")]
    assert [one["metadata"]["name"] for one in others if "leases" in str(one)] == ["other-leader"]


def test_disruption_budget_selects_the_pods_and_never_blocks_a_drain() -> None:
    objects = render("operator")
    budget = one(objects, "PodDisruptionBudget")["spec"]
    deployment = one(objects, "Deployment")["spec"]
    assert budget["selector"] == deployment["selector"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    without = render("operator", {"podDisruptionBudget": {"enabled": False}})
    assert of_kind(without, "PodDisruptionBudget") == []


def test_pods_prefer_different_nodes_and_zones_and_need_none() -> None:
    spec, labels = _pod_spec(), one(render("operator"), "Deployment")["spec"]["selector"]
    (term,) = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["podAffinityTerm"] == {"topologyKey": "kubernetes.io/hostname", "labelSelector": labels}
    (spread,) = spec["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("topology.kubernetes.io/zone", "ScheduleAnyway")
    assert spread["labelSelector"] == labels
    own: Object = {
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [{"topologyKey": "rack"}],
        "priorityClassName": "system-cluster-critical",
    }
    assert own.items() <= _pod_spec(own).items()
