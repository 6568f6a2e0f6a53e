"""The commands that the demo runs on a kind or minikube cluster, recorded by scripts in place of the programs."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest

from tests.cluster.paths import ClusterError
from tests.demo import images, local_cluster
from tests.demo.clusters import ExistingCluster
from tests.demo.images import MissingImagesError
from tests.demo.kube import DemoError
from tests.demo.local_cluster import LocalCluster
from tests.demo.terminal_report import Report

SCRIPT = """\
#!/bin/sh
echo "${0##*/} $*" >> "$CALLS"
case "${0##*/} $1" in
  "docker save" | "podman save") echo image > "$3" ;;
  "kind load") [ -s "$3" ] || { echo "no archive $3" >&2; exit 1; } ;;
  "minikube -p") [ -s "$5" ] || { echo "no archive $5" >&2; exit 1; } ;;
esac
"""
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts recording scripts with the given names on the PATH; returns the file with their calls."""
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    for name in ("IMAGE_ADMIN", "IMAGE_OPERATOR", "IMAGE_GATEWAY"):
        monkeypatch.delenv(name, raising=False)

    def programs(*names: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in names:
            (folder / name).write_text(SCRIPT)
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        return tmp_path / "calls"

    return programs


def _cluster(context: str) -> ExistingCluster:
    return ExistingCluster(Report(StringIO()), context)


@pytest.mark.parametrize(
    ("context", "cluster"),
    [
        ("kind-kind", LocalCluster("kind", "kind")),
        ("kind-my-dev", LocalCluster("kind", "my-dev")),
        ("minikube", LocalCluster("minikube", "minikube")),
        ("minikube-two", LocalCluster("minikube", "minikube-two")),
        ("kindly", None),
        ("production", None),
    ],
)
def test_context_name_selects_the_program_that_loads_images(context: str, cluster: LocalCluster | None) -> None:
    assert local_cluster.of_context(context) == cluster


@pytest.mark.parametrize("builder", ["docker", "podman"])
@pytest.mark.parametrize("context", ["kind-dev", "minikube"])
def test_each_image_is_built_saved_and_loaded(context: str, builder: str, install: Install) -> None:
    program = "kind" if context == "kind-dev" else "minikube"
    calls = install("kubectl", "helm", builder, program)
    demo = _cluster(context)
    demo.prepare()
    assert demo.load_images() == images.LOCAL
    lines = calls.read_text().splitlines()
    for source in images.SOURCES:
        assert f"{builder} build -t {source.tag} -f {source.dockerfile} {source.context}" in lines
        (saved,) = [line for line in lines if line.startswith(f"{builder} save") and line.endswith(source.tag)]
        archive = saved.split()[3]
        loaded = {
            "kind": f"kind load image-archive {archive} --name dev",
            "minikube": f"minikube -p minikube image load {archive}",
        }[program]
        assert lines.index(loaded) > lines.index(saved)
        assert not Path(archive).exists()


def test_images_of_environment_variables_are_not_built(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = install("kubectl", "helm")
    for name in ("ADMIN", "OPERATOR", "GATEWAY"):
        monkeypatch.setenv(f"IMAGE_{name}", f"registry.example/{name.lower()}:1")
    demo = _cluster("kind-dev")
    demo.prepare()
    assert demo.load_images().admin == "registry.example/admin:1"
    assert not calls.exists()


@pytest.mark.parametrize(
    ("programs", "missing"), [(("docker",), "kind is not on the PATH"), (("kind",), "neither docker nor podman")]
)
def test_missing_program_is_reported_before_any_build(
    programs: tuple[str, ...], missing: str, install: Install
) -> None:
    install("kubectl", "helm", *programs)
    with pytest.raises(DemoError, match=missing):
        _cluster("kind-dev").prepare()


def test_other_clusters_need_image_environment_variables(install: Install) -> None:
    install("kubectl", "helm", "docker", "kind")
    with pytest.raises(MissingImagesError, match="IMAGE_ADMIN, IMAGE_OPERATOR, IMAGE_GATEWAY"):
        _cluster("production").prepare()


def test_failed_build_reports_the_output_of_the_program(install: Install) -> None:
    install("kubectl", "helm", "docker", "kind")
    docker = Path(os.environ["PATH"]) / "docker"
    docker.write_text("#!/bin/sh\necho 'cannot connect to the daemon' >&2\nexit 1\n")
    demo = _cluster("kind-dev")
    demo.prepare()
    with pytest.raises(ClusterError, match="cannot connect to the daemon"):
        demo.load_images()
