"""values.schema.json refuses each invalid value with its path, and values.yaml documents each value of the schema."""

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from tests.unit.charts.render import CHARTS, PUBLIC_KEY, ROOT, VARIANTS, Object, every_variant, helm, template

REFUSED: list[tuple[str, Object, str]] = [
    ("operator", {"replicas": 0}, "replicas"),
    ("operator", {"leaderElection": {"leaseSeconds": 2}}, "leaseSeconds"),
    ("operator", {"image": {"tag": "latest"}}, "/image/tag"),
    ("operator", {"image": {"repository": "with:tag"}}, "/image/repository"),
    ("operator", {"image": {"digest": "sha256:short"}}, "/image/digest"),
    ("operator", {"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
    ("operator", {"crds": {"install": "yes"}}, "/crds/install"),
    ("operator", {"watchNamespaces": "team-a"}, "/watchNamespaces"),
    ("operator", {"watchNamespaces": ["Team_A"]}, "/watchNamespaces/0"),
    ("operator", {"watchNamespaces": ["a", "a"]}, "/watchNamespaces"),
    ("operator", {"resources": {"limit": {}}}, "limit"),
    ("operator", {"resources": {"limits": {"memory": "much"}}}, "/resources/limits/memory"),
    ("operator", {"fullnameOverride": ""}, "/fullnameOverride"),
    ("operator", {"extraEnv": [{"nam": "A"}]}, "/extraEnv/0"),
    ("operator", {"notifications": {"secretName": "No_Name"}}, "/notifications/secretName"),
    ("operator", {"notifications": {"slackUrl": "a URL in values ends up in a Secret of Helm"}}, "slackUrl"),
    ("operator", {"notifications": {"topics": ["Nonsense"]}}, "/notifications/topics/0"),
    ("operator", {"metrics": {"podMonitor": {"interval": "often"}}}, "/metrics/podMonitor/interval"),
    ("operator", {"metrics": {"prometheusRule": {"runbook": "x#y"}}}, "/metrics/prometheusRule/runbook"),
    ("operator", {"metrics": {"prometheusRule": {"disabled": ["Watchdog"]}}}, "/metrics/prometheusRule/disabled/0"),
    ("operator", {"metrics": {"prometheusRule": {"dashboardUrl": "x?y"}}}, "/metrics/prometheusRule/dashboardUrl"),
    ("gateway", {"gateway": {"image": {"tag": "latest"}}}, "/gateway/image/tag"),
    ("gateway", {"gateway": {"image": {"tag": ""}}}, "/gateway/image/tag"),
    ("gateway", {"admin": {"image": {"tag": "latest"}}}, "/admin/image/tag"),
    ("gateway", {"operator": {"image": {"tag": "latest"}}}, "/operator/image/tag"),
    ("gateway", {"gateway": {"configReload": "Maybe"}}, "/gateway/configReload"),
    ("gateway", {"gateway": {"replicas": 2}}, "replicas"),
    ("gateway", {"fullnameOverride": "x" * 47}, "/fullnameOverride"),
    ("gateway", {"fullnameOverride": "1st"}, "/fullnameOverride"),
    ("gateway", {"config": {"persistence": {"size": "big"}}}, "/config/persistence/size"),
    ("gateway", {"config": {"persistence": {"enabled": False}}}, "enabled"),
    ("gateway", {"backups": {"persistence": {"accessMode": "ReadOnlyMany"}}}, "/backups/persistence/accessMode"),
    ("gateway", {"managementApi": {"port": 8001}}, "/managementApi/port"),
    ("gateway", {"managementApi": {"command": []}}, "/managementApi/command"),
    ("gateway", {"adminKey": {"existingSecret": "No_Name"}}, "/adminKey/existingSecret"),
    ("gateway", {"adminKey": {"value": "a key in values ends up in a ConfigMap of Helm"}}, "value"),
    ("gateway", {"tls": {"enabled": "false"}}, "/tls/enabled"),
    ("gateway", {"operator": {"serviceAccount": {"namespace": ""}}}, "/operator/serviceAccount/namespace"),
    ("gateway", {"service": {"type": "LoadBalancer"}}, "type"),
    ("gateway", {"terminationGracePeriodSeconds": 0}, "/terminationGracePeriodSeconds"),
    ("gateway", {"encryption": {"policy": "maybe"}}, "/encryption/policy"),
    ("gateway", {"encryption": {"policy": "require"}}, "/encryption/recipients"),
    ("gateway", {"encryption": {"recipients": ["ssh-ed25519 AAAA"]}}, "/encryption/recipients/0"),
    ("gateway", {"encryption": {"recipients": [f"AGE-SECRET-KEY-1{'Q' * 58}"]}}, "/encryption/recipients/0"),
    ("gateway", {"encryption": {"identity": "a key in values ends up in a Secret of Helm"}}, "identity"),
    ("gateway", {"signing": {"policy": "never"}}, "/signing/policy"),
    ("gateway", {"signing": {"key": "a key in values ends up in a Secret of Helm"}}, "key"),
    ("gateway", {"signing": {"trustedKeys": {"a": "-----BEGIN PRIVATE KEY-----"}}}, "/signing/trustedKeys/a"),
    ("gateway", {"signing": {"trustedKeys": {"a\nb": PUBLIC_KEY}}}, "/signing/trustedKeys"),
    (
        "gateway",
        {"signing": {"trustedKeys": {"a": PUBLIC_KEY}, "existingTrustedKeysConfigMap": "b"}},
        "/signing/trustedKeys",
    ),
    ("gateway", {"signing": {"allowUnsignedOverride": "yes"}}, "/signing/allowUnsignedOverride"),
    ("gateway", {"restore": {"ageIdentitySecrets": ["No_Name"]}}, "/restore/ageIdentitySecrets/0"),
    ("gateway", {"metrics": {"serviceMonitor": {"interval": "often"}}}, "/metrics/serviceMonitor/interval"),
]


@pytest.mark.parametrize(("chart", "values", "named"), REFUSED, ids=[f"{c}-{json.dumps(v)}" for c, v, _ in REFUSED])
def test_schema_refuses_an_invalid_value_with_its_path(chart: str, values: Object, named: str) -> None:
    validator = jsonschema.Draft202012Validator(_schema(chart))
    assert not list(validator.iter_errors(_values(chart)))
    errors = list(validator.iter_errors(_merged(_values(chart), values)))
    messages = [f"/{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in _flat(errors)]
    assert any(named in message for message in messages), messages


@pytest.mark.parametrize("chart", CHARTS)
def test_helm_applies_the_schema(chart: str) -> None:
    # The cases above validate in this process, which is faster. One run of helm shows that it uses the schema.
    result = template(chart, {"image": {"tag": "latest"}, "nonsense": 1})
    assert result.returncode != 0
    assert "values don't meet the specifications of the schema" in result.stderr
    assert "nonsense" in result.stderr


def _merged(defaults: Object, values: Object) -> Object:
    """The defaults with values merged into them, as Helm does it."""
    merged = dict(defaults)
    for name, value in values.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merged(merged[name], value) if both else value
    return merged


def _flat(errors: list[Any]) -> list[Any]:
    """All errors with their nested causes."""
    return [part for error in errors for part in (error, *_flat(list(error.context)))]


@every_variant
def test_strict_lint_passes(variant: str) -> None:
    chart, values = VARIANTS[variant]
    result = helm("lint", "--strict", "--kube-version", "1.30.0", str(CHARTS[chart]), values=values)
    assert result.returncode == 0, result.stdout + result.stderr


def test_schema_allows_global_values_of_a_parent_chart() -> None:
    assert template("gateway", {"global": {"anything": 1}}).returncode == 0


def _values(chart: str) -> Object:
    values: Object = yaml.safe_load((CHARTS[chart] / "values.yaml").read_text())
    return values


def _schema(chart: str) -> Object:
    schema: Object = json.loads((CHARTS[chart] / "values.schema.json").read_text())
    return schema


def _resolve(schema: Object, root: Object) -> Object:
    merged = dict(schema)
    for part in [schema, *schema.get("allOf", [])]:
        if "$ref" in part:
            merged = {**root["$defs"][part["$ref"].rsplit("/", 1)[1]], **merged}
            merged["properties"] = {
                **root["$defs"][part["$ref"].rsplit("/", 1)[1]].get("properties", {}),
                **schema.get("properties", {}),
            }
    return merged


def _paths(schema: Object, root: Object, path: str = "") -> Iterator[str]:
    """Paths of all values in a schema. `resources` and lists are single values."""
    for name, part in schema.get("properties", {}).items():
        value_path = f"{path}.{name}".lstrip(".")
        resolved = _resolve(part, root)
        if resolved.get("properties") and name != "resources":
            yield from _paths(resolved, root, value_path)
        else:
            yield value_path


def _leaves(values: Object, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        value_path = f"{path}.{name}".lstrip(".")
        if isinstance(value, dict) and value and name != "resources":
            yield from _leaves(value, value_path)
        else:
            yield value_path, value


@pytest.mark.parametrize("chart", CHARTS)
def test_schema_and_values_have_the_same_paths(chart: str) -> None:
    schema = _schema(chart)
    in_schema = set(_paths(schema, schema)) - {"global"}
    assert in_schema == {path for path, _ in _leaves(_values(chart))}


@pytest.mark.parametrize("chart", CHARTS)
def test_each_value_has_a_comment(chart: str) -> None:
    lines = (CHARTS[chart] / "values.yaml").read_text().splitlines()
    names = {path.rsplit(".", 1)[-1] for path, _ in _leaves(_values(chart))}
    uncommented = [
        line.strip()
        for above, line in pairwise(lines)
        if line.strip().split(":")[0] in names and line.rstrip() != "" and not above.lstrip().startswith("#")
    ]
    assert uncommented == []


@pytest.mark.parametrize("chart", CHARTS)
def test_schema_refuses_unknown_properties_everywhere(chart: str) -> None:
    def check(part: Any, path: str) -> None:
        if isinstance(part, dict):
            # An allOf needs no additionalProperties: the definition that it refers to refuses unknown properties.
            if "properties" in part and part.get("type") == "object":
                assert part["additionalProperties"] is False, path
            for name, inner in part.items():
                check(inner, f"{path}/{name}")
        elif isinstance(part, list):
            for index, inner in enumerate(part):
                check(inner, f"{path}/{index}")

    check(_schema(chart), "")


def test_charts_page_is_up_to_date() -> None:
    result = subprocess.run(
        [sys.executable, str(ROOT / "helm" / "document-values.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
