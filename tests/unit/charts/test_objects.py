"""Rules for all objects that the charts create, with any values."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.unit.charts.render import (
    CHARTS,
    NAMESPACE,
    VARIANTS,
    Object,
    containers,
    every_variant,
    helm,
    is_hook,
    of_kind,
    one,
    pod_specs,
    render,
    render_variant,
    rendered,
    template,
)

CLUSTER_SCOPED = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}


@every_variant
def test_renders_are_deterministic(variant: str) -> None:
    # A GitOps tool renders at each sync: a random value in a template would change each time.
    chart, values = VARIANTS[variant]
    assert template(chart, values).stdout == rendered(chart, values)


@pytest.mark.parametrize("chart", CHARTS)
def test_templates_use_no_cluster_lookup_time_or_randomness(chart: str) -> None:
    for path in (CHARTS[chart] / "templates").rglob("*.*"):
        calls = re.findall(
            r"\b(lookup|rand\w+|gen[A-Z]\w+|uuidv4|now|htpasswd|derivePassword|bcrypt)\b", _code(path.read_text())
        )
        assert calls == [], path.name


def _code(text: str) -> str:
    """The actions of a template, without comments."""
    actions: list[str] = re.findall(r"\{\{-?(?!-?\s*/\*)(.*?)\}\}", text, re.DOTALL)
    return "\n".join(actions)


@every_variant
def test_no_secret_is_rendered(variant: str) -> None:
    assert of_kind(render_variant(variant), "Secret") == []


@every_variant
def test_each_object_has_a_namespace_and_standard_labels(variant: str) -> None:
    for item in render_variant(variant):
        metadata = item["metadata"]
        if item["kind"] in CLUSTER_SCOPED:
            assert "namespace" not in metadata
        else:
            assert metadata["namespace"] in (NAMESPACE, *VARIANTS[variant][1].get("watchNamespaces", []))
        if item["kind"] != "CustomResourceDefinition":
            assert metadata["labels"]["app.kubernetes.io/managed-by"] == "Helm"
            assert metadata["labels"]["app.kubernetes.io/part-of"] == "gateway-backup-operator"


@every_variant
def test_names_of_objects_are_unique(variant: str) -> None:
    keys = [
        (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in render_variant(variant)
    ]
    assert len(keys) == len(set(keys))


@every_variant
def test_no_image_has_the_tag_latest(variant: str) -> None:
    for name, spec in pod_specs(render_variant(variant)):
        for item in containers(spec):
            tag = item["image"].partition("@")[0].rpartition(":")[2]
            assert re.fullmatch(r"(?!latest$)[\w.-]+", tag), (name, item["image"])


def test_default_images_have_no_registry() -> None:
    for chart in CHARTS:
        for _, spec in pod_specs(render(chart)):
            assert all("/" not in item["image"] for item in containers(spec))


def test_image_reference_contains_registry_tag_and_digest() -> None:
    operator = one(render_variant("operator, all"), "Deployment")
    image = operator["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == f"host.example:5000/x/op:1.2.3@sha256:{'a' * 64}"


@every_variant
def test_selectors_never_match_pods_of_hooks(variant: str) -> None:
    # The Service would send requests to a hook's pod, and the Deployment would count it as its own.
    objects = render_variant(variant)
    selectors = [item["spec"]["selector"]["matchLabels"] for item in of_kind(objects, "Deployment")]
    selectors += [item["spec"]["selector"] for item in of_kind(objects, "Service")]
    for job in of_kind(objects, "Job"):
        labels = job["spec"]["template"]["metadata"]["labels"]
        assert not any(selector.items() <= labels.items() for selector in selectors)
    for deployment in of_kind(objects, "Deployment"):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert all(selector.items() <= labels.items() for selector in selectors)


@every_variant
def test_hooks_have_a_deadline_and_are_deleted_after_success(variant: str) -> None:
    hooks = [item for item in render_variant(variant) if is_hook(item)]
    for item in hooks:
        annotations = item["metadata"]["annotations"]
        assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
        if item["kind"] == "Job":
            assert item["spec"]["activeDeadlineSeconds"] <= 300
            assert item["spec"]["backoffLimit"] <= 3
            assert item["spec"]["ttlSecondsAfterFinished"] == 3600, "a failed Job is kept for inspection"
            assert item["spec"]["template"]["spec"]["restartPolicy"] == "Never"
            # The backup before an upgrade comes before all other hooks, and uses an account that exists already.
            is_backup = "-upgrade-" in item["metadata"]["name"]
            assert int(annotations["helm.sh/hook-weight"]) == (-20 if is_backup else 0)
        else:
            assert int(annotations["helm.sh/hook-weight"]) == -10, (
                "permissions must exist before the Job that needs them"
            )


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("my-gateway", "my-gateway"),
        ("a.b", "a-b"),
        ("x" * 46, "x" * 46),
        ("x" * 53, None),
        ("y" * 36 + "-" + "z" * 16, None),
    ],
)
def test_gateway_objects_have_the_release_name(release: str, expected: str | None) -> None:
    objects = render("gateway", release=release)
    name = one(objects, "Deployment")["metadata"]["name"]
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,44}[a-z0-9])?", name)
    assert expected is None or name == expected
    for item in objects:
        assert len(item["metadata"]["name"]) <= 63
        for value in _labels(item).values():
            assert len(str(value)) <= 63


def _labels(item: Object) -> dict[str, str]:
    labels: dict[str, str] = item["metadata"].get("labels", {})
    return labels


def test_long_release_names_stay_different_when_shortened() -> None:
    names = {one(render("gateway", release="x" * 50 + tail), "Deployment")["metadata"]["name"] for tail in "ab"}
    assert len(names) == 2


@pytest.mark.parametrize(
    ("chart", "release", "expected"),
    [
        (
            "operator",
            "op",
            ["kind: GatewayBackup", "rollout status deployment/gateway-backup-operator", "helm install"],
        ),
        ("gateway", "my-gateway", ["kind: GatewayBackup", "kind: GatewayRestore", "--for=condition=Finished"]),
    ],
)
def test_notes_contain_the_next_commands_with_valid_manifests(
    chart: str, release: str, expected: list[str], tmp_path: Path
) -> None:
    notes = _notes(chart, release, tmp_path / "chart")
    assert all(text in notes for text in expected), notes
    for manifest in re.findall(r"<<END\n(.*?)\n +END", notes, re.DOTALL):
        loaded = yaml.safe_load(manifest)
        assert loaded["apiVersion"] == "mcpgateway.dev/v1alpha1"
        assert loaded["spec"]["gatewayRef"]["name"] == "my-gateway"


def test_notes_warn_of_readable_backups_and_of_a_deleted_namespace(tmp_path: Path) -> None:
    notes = _notes("gateway", "my-gateway", tmp_path / "chart")
    assert "Backups are not encrypted" in notes
    assert "stay only if the reclaim policy is Retain" in notes
    assert "persistentVolumeReclaimPolicy" in notes


def test_notes_explain_the_age_identity_when_backups_are_encrypted(tmp_path: Path) -> None:
    encrypted = ["--set", f"encryption.recipients={{{'age1' + 'q' * 58}}}"]
    notes = _notes("gateway", "my-gateway", tmp_path / "without", *encrypted)
    assert "no restore can decrypt them" in notes
    assert "identitySecretRef" not in notes
    notes = _notes("gateway", "my-gateway", tmp_path / "with", *encrypted, "--set", "restore.ageIdentitySecrets={key}")
    assert "latest: {}, identitySecretRef: {name: key}}" in notes
    assert "label secret key mcpgateway.dev/gateway=my-gateway" in notes


def _notes(chart: str, release: str, copy: Path, *more: str) -> str:
    # `helm template` omits the notes, and `helm install` needs a cluster: a copy of the chart has them as a template.
    shutil.copytree(CHARTS[chart], copy)
    (copy / "templates" / "NOTES.txt").rename(copy / "notes.txt")
    wrapper = 'kind: Notes\ntext: {{ tpl (.Files.Get "notes.txt") . | toJson }}\n'
    (copy / "templates" / "notes.yaml").write_text(wrapper)
    arguments = ["--namespace", NAMESPACE, "--kube-version", "1.30.0", "--show-only", "templates/notes.yaml"]
    result = helm("template", release, str(copy), *arguments, *more)
    assert result.returncode == 0, result.stderr
    notes: str = yaml.safe_load(result.stdout)["text"]
    return notes


def test_charts_declare_the_minimum_kubernetes_version() -> None:
    for chart in CHARTS.values():
        assert yaml.safe_load((chart / "Chart.yaml").read_text())["kubeVersion"] == ">=1.30.0-0"
