"""Values: a wrong one is refused with its name, every one is documented, and the schema knows them all."""

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
    ("operator", {"replicas": 2}, "replicas"),
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
    ("gateway", {"restore": {"identitySecrets": ["No_Name"]}}, "/restore/identitySecrets/0"),
    ("gateway", {"metrics": {"serviceMonitor": {"interval": "often"}}}, "/metrics/serviceMonitor/interval"),
]


@pytest.mark.parametrize(("chart", "values", "named"), REFUSED, ids=[f"{c}-{json.dumps(v)}" for c, v, _ in REFUSED])
def test_a_wrong_value_is_refused_and_named(chart: str, values: Object, named: str) -> None:
    validator = jsonschema.Draft202012Validator(_schema(chart))
    assert not list(validator.iter_errors(_values(chart)))
    errors = list(validator.iter_errors(_merged(_values(chart), values)))
    said = [f"/{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in _flat(errors)]
    assert any(named in line for line in said), said


@pytest.mark.parametrize("chart", CHARTS)
def test_helm_refuses_what_the_schema_refuses(chart: str) -> None:
    # The cases above ask the schema in this process; that helm obeys it is asked once.
    done = template(chart, {"image": {"tag": "latest"}, "nonsense": 1})
    assert done.returncode != 0
    assert "values don't meet the specifications of the schema" in done.stderr
    assert "nonsense" in done.stderr


def _merged(defaults: Object, values: Object) -> Object:
    """Values as helm puts them over the defaults."""
    merged = dict(defaults)
    for name, value in values.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merged(merged[name], value) if both else value
    return merged


def _flat(errors: list[Any]) -> list[Any]:
    """Errors, and those that they consist of."""
    return [part for error in errors for part in (error, *_flat(list(error.context)))]


@every_variant
def test_lint_has_nothing_to_say(variant: str) -> None:
    chart, values = VARIANTS[variant]
    done = helm("lint", "--strict", "--kube-version", "1.30.0", str(CHARTS[chart]), values=values)
    assert done.returncode == 0, done.stdout + done.stderr


def test_as_a_part_of_another_chart_helm_may_add_its_global_values() -> None:
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
    """The values that a schema knows, down to what a person sets as a whole."""
    for name, part in schema.get("properties", {}).items():
        here = f"{path}.{name}".lstrip(".")
        whole = _resolve(part, root)
        if whole.get("properties") and name != "resources":
            yield from _paths(whole, root, here)
        else:
            yield here


def _leaves(values: Object, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        here = f"{path}.{name}".lstrip(".")
        if isinstance(value, dict) and value and name != "resources":
            yield from _leaves(value, here)
        else:
            yield here, value


@pytest.mark.parametrize("chart", CHARTS)
def test_schema_and_values_name_the_same_things(chart: str) -> None:
    schema = _schema(chart)
    known = set(_paths(schema, schema)) - {"global"}
    assert known == {path for path, _ in _leaves(_values(chart))}


@pytest.mark.parametrize("chart", CHARTS)
def test_every_value_has_a_comment_of_its_own(chart: str) -> None:
    lines = (CHARTS[chart] / "values.yaml").read_text().splitlines()
    names = {path.rsplit(".", 1)[-1] for path, _ in _leaves(_values(chart))}
    bare = [
        line.strip()
        for above, line in pairwise(lines)
        if line.strip().split(":")[0] in names and line.rstrip() != "" and not above.lstrip().startswith("#")
    ]
    assert bare == []


@pytest.mark.parametrize("chart", CHARTS)
def test_no_object_of_the_schema_takes_what_it_does_not_know(chart: str) -> None:
    def check(part: Any, path: str) -> None:
        if isinstance(part, dict):
            # An allOf is open because the part it refers to is closed.
            if "properties" in part and part.get("type") == "object":
                assert part["additionalProperties"] is False, path
            for name, inner in part.items():
                check(inner, f"{path}/{name}")
        elif isinstance(part, list):
            for index, inner in enumerate(part):
                check(inner, f"{path}/{index}")

    check(_schema(chart), "")


def test_the_page_about_the_charts_lists_the_values_as_they_are() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "helm" / "document-values.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
