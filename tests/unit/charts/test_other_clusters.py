"""The charts on clusters with other rules: taints, quotas, assigned uids, sidecars, `kubectl apply`, reused values."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from tests.unit.charts.render import CHARTS, ROOT, Object, helm, of_kind, one, pod_specs, render, template

HOOKS = {
    "resources": {"requests": {"cpu": "5m", "memory": "96Mi"}, "limits": {"cpu": "1", "memory": "192Mi"}},
    "podAnnotations": {"sidecar.istio.io/inject": "false"},
    "podLabels": {"team": "a"},
    "nodeSelector": {"pool": "jobs"},
    "tolerations": [{"key": "jobs", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "low",
}


def _job_templates(objects: list[Object]) -> list[Object]:
    cron_jobs = [item["spec"]["jobTemplate"] for item in of_kind(objects, "CronJob")]
    return [item["spec"]["template"] for item in [*of_kind(objects, "Job"), *cron_jobs]]


@pytest.mark.parametrize("chart", CHARTS)
def test_hook_pods_take_their_own_scheduling_and_resources(chart: str) -> None:
    values: Object = {"hooks": HOOKS, "nodeSelector": {"pool": "main"}}
    if chart == "gateway":
        values["backups"] = {"beforeUpgrade": {"enabled": True}}
    templates = _job_templates(render(chart, values))
    assert len(templates) == (3 if chart == "gateway" else 1)
    for pod in templates:
        assert pod["metadata"]["annotations"] == HOOKS["podAnnotations"]
        assert pod["metadata"]["labels"]["team"] == "a"
        spec = pod["spec"]
        assert [one["resources"] for one in spec["containers"]] == [HOOKS["resources"]]
        for field in ("nodeSelector", "tolerations", "affinity", "priorityClassName"):
            assert spec[field] == HOOKS[field]


@pytest.mark.parametrize("chart", CHARTS)
def test_hook_pods_are_scheduled_like_the_main_pod_by_default(chart: str) -> None:
    main = {"nodeSelector": {"pool": "main"}, "tolerations": [{"operator": "Exists"}], "priorityClassName": "high"}
    for pod in _job_templates(render(chart, main)):
        for field, value in main.items():
            assert pod["spec"][field] == value


def _schedule(**values: Any) -> Object:
    schedule = one(render("gateway", {**values, "schedule": {"enabled": True, **values.get("schedule", {})}}),
                   "GatewayBackupSchedule")  # fmt: skip
    spec: Object = schedule["spec"]
    return spec


def test_pods_of_the_schedule_are_scheduled_like_the_main_pod_by_default() -> None:
    assert "jobTemplate" not in _schedule()
    main = {field: HOOKS[field] for field in ("nodeSelector", "tolerations", "affinity", "priorityClassName")}
    assert _schedule(**main)["jobTemplate"] == main
    own = {"resources": HOOKS["resources"], "tolerations": [], "nodeSelector": {"pool": "jobs"}}
    expected = {**main, **own}
    assert _schedule(**main, schedule={"jobTemplate": own})["jobTemplate"] == expected


@pytest.mark.parametrize("chart", CHARTS)
def test_cluster_assigns_the_uid_if_the_values_name_none(chart: str) -> None:
    for name, spec in pod_specs(render(chart, {"podSecurityContext": None})):
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(spec["securityContext"]), name
        assert spec["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize("release", ["1gw", "9", "0-a"])
def test_release_name_that_no_service_may_have_is_refused(release: str) -> None:
    refused = template("gateway", release=release)
    assert refused.returncode != 0
    assert "must begin with a letter" in refused.stderr
    assert "fullnameOverride" in refused.stderr
    assert template("gateway", {"fullnameOverride": "gw"}, release=release).returncode == 0


def test_changed_hook_job_has_another_name() -> None:
    """A Job cannot be changed, and `kubectl apply` deletes none."""
    names = {
        one(render("gateway", values), "Job")["metadata"]["name"]
        for values in ({}, {"operator": {"image": {"tag": "2.0.0"}}}, {"hooks": {"podLabels": {"a": "b"}}})
    }
    assert len(names) == 3


def test_required_lists_follow_the_values() -> None:
    command = [sys.executable, str(ROOT / "helm" / "require-values.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def _required_paths(values: dict[str, Any], schema: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for path in _paths(values):
        reduced = deepcopy(values)
        parent = reduced
        for name in path[:-1]:
            parent = parent[name]
        del parent[path[-1]]
        if not jsonschema.Draft202012Validator(schema).is_valid(reduced):
            yield path


def _paths(values: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in values.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from _paths(value, (*above, name))


@pytest.mark.parametrize("chart", CHARTS)
def test_values_of_an_older_chart_are_refused_or_render(chart: str) -> None:
    """`helm upgrade --reuse-values` drops the defaults of new values: the schema names the missing one."""
    values = yaml.safe_load((CHARTS[chart] / "values.yaml").read_text())
    schema = json.loads((CHARTS[chart] / "values.schema.json").read_text())
    required = set(_required_paths(values, schema))
    optional = [path for path in _paths(values) if not any(path[: len(one)] == one for one in required)]
    # All optional values at once: each render is a large part of a second.
    overrides: dict[str, Any] = {}
    for path in optional:
        at = overrides
        for name in path[:-1]:
            if at.get(name, {}) is None:
                break
            at = at.setdefault(name, {})
        else:
            at[path[-1]] = None
    without = template(chart, overrides)
    assert without.returncode == 0, without.stderr
    for missing in ("hooks", "image" if chart == "operator" else "admin"):
        refused = template(chart, {missing: None})
        assert f"missing property '{missing}'" in refused.stderr
        assert "nil pointer" not in refused.stderr


def test_renewal_needs_no_more_than_its_own_secrets() -> None:
    objects = render("gateway")
    name = "my-gateway-renew"
    assert one(objects, "Role", name)["rules"] == [
        {
            "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "patch"],
            "resourceNames": ["my-gateway-admin-tls", "my-gateway-admin"],
        }
    ]  # fmt: skip
    spec = one(objects, "CronJob", name)["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == name
    assert not any("signing" in word for word in pod["containers"][0]["args"])


@pytest.mark.parametrize(
    "tls", [{"enabled": False}, {"existingSecret": "from-cert-manager"}, {"renewalSchedule": ""}], ids=str
)
def test_no_renewal_of_a_certificate_that_is_not_ours(tls: Object) -> None:
    assert of_kind(render("gateway", {"tls": tls}), "CronJob") == []


def test_lint_accepts_both_charts() -> None:
    for chart, folder in CHARTS.items():
        done = helm("lint", str(folder), "--strict", "--kube-version", "1.30.0")
        assert done.returncode == 0, (chart, done.stdout)
