"""The operator's chart contains the CRDs of crds/, and an uninstall keeps them."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.unit.charts.render import ROOT, Object, of_kind, render

SCRIPT = ROOT / "helm" / "sync-crds.py"


def test_copies_are_identical_byte_for_byte() -> None:
    result = subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_drift_is_reported_and_fixed(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("sync_crds", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    source, copies = tmp_path / "crds", tmp_path / "copies"
    source.mkdir()
    copies.mkdir()
    (source / "a.yaml").write_text("a: 1\n")
    (source / "b.yaml").write_text("b: 1\n")
    (copies / "b.yaml").write_text("b: 2\n")
    (copies / "c.yaml").write_text("c: 1\n")
    assert script.drift(source, copies) == [
        "a.yaml is not in the chart",
        "c.yaml is only in the chart",
        "b.yaml differs",
    ]
    script.copy(source, copies)
    assert script.drift(source, copies) == []


def undocumented(schema: Object, path: str) -> Iterator[str]:
    """Paths of the fields that have no description."""
    for name, field in schema.get("properties", {}).items():
        if not field.get("description"):
            yield f"{path}.{name}"
        yield from undocumented(field.get("items", field), f"{path}.{name}")


@pytest.mark.parametrize("path", sorted((ROOT / "crds").glob("*.yaml")), ids=lambda path: path.stem)
def test_each_field_and_column_has_a_description(path: Path) -> None:
    version = yaml.load(path.read_text(), yaml.CSafeLoader)["spec"]["versions"][0]
    fields = version["schema"]["openAPIV3Schema"]["properties"]
    assert [name for part in ("spec", "status") for name in undocumented(fields[part], part)] == []
    columns = [one["name"] for one in version["additionalPrinterColumns"] if not one.get("description")]
    assert columns == ["Age"]


def test_rendered_crds_equal_the_files_plus_the_keep_annotation() -> None:
    rendered = {item["metadata"]["name"]: item for item in of_kind(render("operator"), "CustomResourceDefinition")}
    files = [yaml.load(path.read_text(), yaml.CSafeLoader) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert rendered.keys() == {crd["metadata"]["name"] for crd in files}
    for crd in files:
        annotations = dict(crd["metadata"].get("annotations", {}))
        crd["metadata"]["annotations"] = annotations | {"helm.sh/resource-policy": "keep"}
        assert rendered[crd["metadata"]["name"]] == crd


def test_no_crds_when_crds_install_is_false() -> None:
    assert of_kind(render("operator", {"crds": {"install": False}}), "CustomResourceDefinition") == []
