"""Renders the charts with the real helm program, and selects objects from the result.

`VARIANTS` are sets of values that together enable every part of both charts. Tests of general rules run once per
variant. Renders are cached, because each `helm template` takes a large part of a second.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import binaries
from tests.cluster.paths import ClusterError

Object = dict[str, Any]

ROOT = Path(__file__).resolve().parents[3]
CHARTS = {"operator": ROOT / "helm" / "operator", "gateway": ROOT / "helm" / "gateway"}
NAMESPACE = "team-a"


@cache
def helm_program() -> Path:
    """Path of helm. Without helm the test is skipped; in CI helm is built."""
    if programs := binaries.find(["helm"]):
        return programs["helm"]
    if os.environ.get("CI") != "true":
        pytest.skip("helm is missing: install Helm 3.14 or newer, or run `make cluster-build`")
    try:
        return binaries.ensure(["helm"])["helm"]
    except ClusterError as error:
        pytest.fail(f"helm is missing and cannot be built: {error}", pytrace=False)


def helm(*arguments: str, values: Object | None = None, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm in `folder`, with `values` on its standard input."""
    # The developer's own helm plugins and clusters must not influence the result.
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "KUBECONFIG": "/nonexistent"}
    return subprocess.run(
        [str(helm_program()), *arguments, *(("--values", "-") if values else ())],
        input=json.dumps(values) if values else None,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
        cwd=folder,
    )


def rendered(chart: str, values: Object | None = None) -> str:
    """The rendered text of a chart, from the same cache as `render`."""
    return _rendered(chart, json.dumps(values or {}, sort_keys=True), "my-gateway", NAMESPACE)


def template(
    chart: str,
    values: Object | None = None,
    release: str = "my-gateway",
    namespace: str = NAMESPACE,
    *,
    upgrade: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run `helm template` for a chart, without the cache. An upgrade has all objects of an install and more."""
    arguments = ["template", release, str(CHARTS[chart]), "--namespace", namespace, *["--is-upgrade"] * upgrade]
    # A helm that was built without the release's linker flags assumes Kubernetes 1.20, which the charts refuse.
    return helm(*arguments, "--kube-version", "1.30.0", values=values)


@cache
def _rendered(chart: str, values: str, release: str, namespace: str) -> str:
    result = template(chart, json.loads(values), release, namespace)
    assert result.returncode == 0, result.stderr
    return result.stdout


def render(
    chart: str, values: Object | None = None, release: str = "my-gateway", namespace: str = NAMESPACE
) -> list[Object]:
    """The objects that a chart creates, including hooks."""
    text = _rendered(chart, json.dumps(values or {}, sort_keys=True), release, namespace)
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    """The objects with this kind."""
    return [item for item in objects if item["kind"] == kind]


def one(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """The only object of a kind, or the one with this name."""
    matches = [item for item in of_kind(objects, kind) if name is None or item["metadata"]["name"] == name]
    assert len(matches) == 1, [item["metadata"]["name"] for item in of_kind(objects, kind)]
    return matches[0]


def is_hook(item: Object) -> bool:
    """Whether the object is a Helm hook."""
    return "helm.sh/hook" in (item["metadata"].get("annotations") or {})


def pod_specs(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """The pod spec of each workload, Job and CronJob, with its kind and name for failure messages."""
    for item in objects:
        if item["kind"] in ("Deployment", "Job", "CronJob"):
            spec = item["spec"]["jobTemplate"]["spec"] if item["kind"] == "CronJob" else item["spec"]
            yield f"{item['kind']}/{item['metadata']['name']}", spec["template"]["spec"]


def containers(spec: Object) -> list[Object]:
    """All containers of a pod, init containers first."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def container(objects: list[Object], name: str) -> Object:
    """The only container with this name in all pods."""
    matches = [item for _, spec in pod_specs(objects) for item in containers(spec) if item["name"] == name]
    assert len(matches) == 1
    return matches[0]


# Recipients in the format of age-keygen, and a public key in the format of openssl. The private keys were not kept.
RECIPIENTS = [
    "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
    "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg",
]
PUBLIC_KEY = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
PUBLIC_PEM = f"-----BEGIN PUBLIC KEY-----\n{PUBLIC_KEY}\n-----END PUBLIC KEY-----\n"

# Sets of values that together enable every part of the charts.
VARIANTS: dict[str, tuple[str, Object]] = {
    "operator": ("operator", {}),
    "operator, Role-only": ("operator", {"watchNamespaces": ["team-a", "team-b"]}),
    "operator, bare": (
        "operator",
        {
            "crds": {"install": False},
            "rbac": {"userRoles": False},
            "uninstall": {"removeFinalizers": False},
            "admissionPolicies": {"enabled": False},
        },
    ),
    "operator, all": (
        "operator",
        {
            "image": {"repository": "host.example:5000/x/op", "tag": "1.2.3", "digest": f"sha256:{'a' * 64}"},
            "imagePullSecrets": [{"name": "pull"}],
            "serviceAccount": {"annotations": {"a": "b"}},
            "networkPolicy": {
                "enabled": True,
                "metricsFrom": [{"podSelector": {}}],
                "apiServerAddresses": ["10.0.0.1/32"],
                "extraIngress": [{}],
                "extraEgress": [{}],
            },
            "extraEnv": [{"name": "A", "value": "b"}],
            "podAnnotations": {"a": "b"},
            "podLabels": {"c": "d"},
            "nodeSelector": {"e": "f"},
            "tolerations": [{"key": "k", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "high",
            "metrics": {
                "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
                "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
                "dashboard": {
                    "enabled": True,
                    "labels": {"team": "backup"},
                    "annotations": {"grafana_folder": "Backups"},
                },
            },
            "notifications": {"secretName": "receivers", "topics": ["BackupFailed"], "clusterName": "east"},
        },
    ),
    "gateway": ("gateway", {}),
    "gateway, plain HTTP": ("gateway", {"tls": {"enabled": False}}),
    "gateway, own Secrets": (
        "gateway",
        {
            "adminKey": {"existingSecret": "mine"},
            "tls": {"existingSecret": "cert", "caSecret": "ca"},
            "signing": {"existingSecret": "pen", "existingTrustedKeysConfigMap": "friends", "policy": "warn"},
        },
    ),
    "gateway, all": (
        "gateway",
        {
            "imagePullSecrets": [{"name": "pull"}],
            "gateway": {"command": ["run"], "version": "9.9+x", "extraEnv": [{"name": "A", "value": "b"}]},
            "admin": {"extraEnv": [{"name": "A", "value": "b"}]},
            "config": {
                "initialConfigSecret": "first",
                "persistence": {"annotations": {"a": "b"}, "storageClassName": "fast"},
            },
            "backups": {
                "beforeUpgrade": {"enabled": True},
                "persistence": {"keepOnUninstall": False, "storageClassName": "-"},
            },
            "managementApi": {"enabled": True},
            "networkPolicy": {
                "enabled": True,
                "mcpFrom": [{"podSelector": {}}],
                "extraIngress": [{}],
                "apiServerAddresses": ["10.0.0.1/32"],
                "egress": {"restricted": True, "rules": [{}]},
            },
            "encryption": {"policy": "require", "recipients": RECIPIENTS},
            "signing": {"trustedKeys": {"other": PUBLIC_KEY, "a third": PUBLIC_PEM}, "allowUnsignedOverride": True},
            "restore": {"ageIdentitySecrets": ["restore-key"]},
            "metrics": {
                "scrapeAnnotations": True,
                "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
                "allowedFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
            },
            "service": {"annotations": {"a": "b"}},
            "podAnnotations": {"a": "b"},
            "podLabels": {"c": "d"},
            "nodeSelector": {"e": "f"},
            "tolerations": [{"key": "k", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "high",
        },
    ),
    "gateway, own claims": (
        "gateway",
        {
            "config": {"persistence": {"existingClaim": "c"}},
            "backups": {"persistence": {"existingClaim": "b"}},
            "operator": {"rbac": {"create": False}},
        },
    ),
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def render_variant(variant: str) -> list[Object]:
    """The rendered objects of one variant."""
    return render(*VARIANTS[variant])
