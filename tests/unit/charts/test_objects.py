"""What must hold for everything that the charts make, whatever the values."""

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

CLUSTER_SCOPED = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}


@every_variant
def test_two_renders_are_the_same(variant: str) -> None:
    # A GitOps tool renders at each sync: what is random in a template would be rotated each time.
    chart, values = VARIANTS[variant]
    assert template(chart, values).stdout == rendered(chart, values)


@pytest.mark.parametrize("chart", CHARTS)
def test_no_template_asks_the_cluster_or_chance(chart: str) -> None:
    for path in (CHARTS[chart] / "templates").iterdir():
        calls = re.findall(
            r"\b(lookup|rand\w+|gen[A-Z]\w+|uuidv4|now|htpasswd|derivePassword|bcrypt)\b", _code(path.read_text())
        )
        assert calls == [], path.name


def _code(text: str) -> str:
    """The actions of a template, without comments."""
    actions: list[str] = re.findall(r"\{\{-?(?!-?\s*/\*)(.*?)\}\}", text, re.DOTALL)
    return "\n".join(actions)


@every_variant
def test_no_secret_is_ever_rendered(variant: str) -> None:
    assert of_kind(render_variant(variant), "Secret") == []


@every_variant
def test_every_object_says_where_it_lies_and_whose_it_is(variant: str) -> None:
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
def test_no_two_objects_have_one_name(variant: str) -> None:
    keys = [
        (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in render_variant(variant)
    ]
    assert len(keys) == len(set(keys))


@every_variant
def test_images_are_named_exactly(variant: str) -> None:
    for name, spec in pod_specs(render_variant(variant)):
        for item in containers(spec):
            tag = item["image"].partition("@")[0].rpartition(":")[2]
            assert re.fullmatch(r"(?!latest$)[\w.-]+", tag), (name, item["image"])


def test_default_images_name_no_registry() -> None:
    for chart in CHARTS:
        for _, spec in pod_specs(render(chart)):
            assert all("/" not in item["image"] for item in containers(spec))


def test_an_image_is_put_together_from_registry_tag_and_digest() -> None:
    operator = one(render_variant("operator, all"), "Deployment")
    image = operator["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == f"host.example:5000/x/op:1.2.3@sha256:{'a' * 64}"


@every_variant
def test_what_selects_pods_selects_no_pod_of_a_hook(variant: str) -> None:
    # A hook's pod behind the Service would be sent requests; one that counts as the Deployment's confuses everybody.
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
def test_hooks_end_and_are_cleaned_away(variant: str) -> None:
    hooks = [item for item in render_variant(variant) if is_hook(item)]
    for item in hooks:
        annotations = item["metadata"]["annotations"]
        assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
        if item["kind"] == "Job":
            assert item["spec"]["activeDeadlineSeconds"] <= 300
            assert item["spec"]["backoffLimit"] <= 3
            assert item["spec"]["ttlSecondsAfterFinished"] == 3600, "one that failed stays a while, to be looked at"
            assert item["spec"]["template"]["spec"]["restartPolicy"] == "Never"
            assert int(annotations["helm.sh/hook-weight"]) == 0
        else:
            assert int(annotations["helm.sh/hook-weight"]) < 0, "rights must be there before the Job that needs them"


@pytest.mark.parametrize(
    ("release", "wanted"),
    [
        ("my-gateway", "my-gateway"),
        ("a.b", "a-b"),
        ("x" * 46, "x" * 46),
        ("x" * 53, None),
        ("y" * 36 + "-" + "z" * 16, None),
    ],
)
def test_the_gateway_has_the_release_name(release: str, wanted: str | None) -> None:
    objects = render("gateway", release=release)
    name = one(objects, "Deployment")["metadata"]["name"]
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,44}[a-z0-9])?", name)
    assert wanted is None or name == wanted
    for item in objects:
        assert len(item["metadata"]["name"]) <= 63
        for value in _labels(item).values():
            assert len(str(value)) <= 63


def _labels(item: Object) -> dict[str, str]:
    labels: dict[str, str] = item["metadata"].get("labels", {})
    return labels


def test_two_long_releases_never_share_a_name() -> None:
    names = {one(render("gateway", release="x" * 50 + tail), "Deployment")["metadata"]["name"] for tail in "ab"}
    assert len(names) == 2


@pytest.mark.parametrize(
    ("chart", "release", "wanted"),
    [
        (
            "operator",
            "op",
            ["kind: GatewayBackup", "rollout status deployment/gateway-backup-operator", "helm install"],
        ),
        ("gateway", "my-gateway", ["kind: GatewayBackup", "kind: GatewayRestore", "--for=condition=Finished"]),
    ],
)
def test_notes_say_what_to_do_next_in_commands_to_paste(
    chart: str, release: str, wanted: list[str], tmp_path: Path
) -> None:
    notes = _notes(chart, release, tmp_path / "chart")
    assert all(text in notes for text in wanted), notes
    # Each manifest in the notes is one that the API server would take.
    for manifest in re.findall(r"<<END\n(.*?)\n +END", notes, re.DOTALL):
        loaded = yaml.safe_load(manifest)
        assert loaded["apiVersion"] == "mcpgateway.dev/v1alpha1"
        assert loaded["spec"]["gatewayRef"]["name"] == "my-gateway"


def test_notes_of_a_gateway_with_encrypted_backups_say_what_a_restore_needs(tmp_path: Path) -> None:
    encrypted = ["--set", f"encryption.recipients={{{'age1' + 'q' * 58}}}"]
    notes = _notes("gateway", "my-gateway", tmp_path / "without", *encrypted)
    assert "no restore can open one" in notes
    assert "identitySecretRef" not in notes
    notes = _notes("gateway", "my-gateway", tmp_path / "with", *encrypted, "--set", "restore.identitySecrets={key}")
    assert "latest: {}, identitySecretRef: {name: key}}" in notes
    assert "label secret key mcpgateway.dev/gateway=my-gateway" in notes


def _notes(chart: str, release: str, copy: Path, *more: str) -> str:
    # `helm template` leaves the notes out, `helm install` wants a cluster: a copy of the chart has them as a template.
    shutil.copytree(CHARTS[chart], copy)
    (copy / "templates" / "NOTES.txt").rename(copy / "notes.txt")
    wrapper = 'kind: Notes\ntext: {{ tpl (.Files.Get "notes.txt") . | toJson }}\n'
    (copy / "templates" / "notes.yaml").write_text(wrapper)
    arguments = ["--namespace", NAMESPACE, "--kube-version", "1.30.0", "--show-only", "templates/notes.yaml"]
    done = helm("template", release, str(copy), *arguments, *more)
    assert done.returncode == 0, done.stderr
    notes: str = yaml.safe_load(done.stdout)["text"]
    return notes


def test_the_chart_says_from_which_kubernetes_it_works() -> None:
    for chart in CHARTS.values():
        assert yaml.safe_load((chart / "Chart.yaml").read_text())["kubeVersion"] == ">=1.30.0-0"
