"""The examples are valid for the CRDs' schemas. A cluster test also applies them to a real API server."""

from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from gateway_operator.cli.options.commands import parser
from tests.unit.charts.render import ROOT, Object

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def _schemas() -> dict[str, Object]:
    schemas = {}
    for path in (ROOT / "crds").glob("*.yaml"):
        crd = yaml.load(path.read_text(), yaml.CSafeLoader)
        schemas[crd["spec"]["names"]["kind"]] = _strict(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    return schemas


def _strict(schema: Any) -> Any:
    """The schema with strict field validation as in the API server: an unknown field is an error."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: _strict(part) for name, part in schema.items()}
    if isinstance(schema.get("properties"), dict):
        strict["additionalProperties"] = False
    return strict


def _documents(path: Path) -> list[Object]:
    return [document for document in yaml.load_all(path.read_text(), yaml.CSafeLoader) if document]


def test_basic_examples_exist() -> None:
    assert {"backup.yaml", "restore.yaml", "restore-latest.yaml"} <= {path.name for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_each_example_is_valid_and_begins_with_a_comment(path: Path) -> None:
    assert path.read_text().startswith("# ")
    documents = _documents(path)
    assert documents
    for document in documents:
        assert "namespace" not in document["metadata"], "an example must work in any namespace"
        if document["kind"] == "CronJob":
            _check_cron_job(document)
            continue
        assert document["apiVersion"] == "mcpgateway.dev/v1alpha1"
        jsonschema.validate(document, _schemas()[document["kind"]], cls=jsonschema.Draft202012Validator)
        assert document["spec"]["gatewayRef"]["name"] == "my-gateway"
    if any(document["kind"] == "GatewayRestore" for document in documents):
        sources = [
            {"backupName", "latest", "before", "path", "factoryReset"} & document["spec"].keys()
            for document in documents
        ]
        assert all(len(source) == 1 for source in sources)


def _check_cron_job(body: Object) -> None:
    """The Job is never retried, its pod meets the restricted Pod Security Standard, and its manifest is valid."""
    job = body["spec"]["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    assert job["backoffLimit"] == 0
    assert pod["restartPolicy"] == "Never"
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert not container["image"].endswith(":latest")
    if container["command"] == ["kubectl-gateway"]:
        arguments = parser().parse_args(container["args"])
        assert (arguments.gateway, arguments.from_job, arguments.wait) == ("my-gateway", True, True)
        return
    manifest = yaml.safe_load(container["args"][0].partition("<<END\n")[2].partition("\nEND\n")[0])
    assert manifest["apiVersion"] == "mcpgateway.dev/v1alpha1"
    assert "generateName" in manifest["metadata"]
    jsonschema.validate(manifest, _schemas()["GatewayBackup"], cls=jsonschema.Draft202012Validator)


def test_names_of_examples_are_unique() -> None:
    keys = [(item["kind"], item["metadata"]["name"]) for path in EXAMPLES for item in _documents(path)]
    assert len(keys) == len(set(keys))


def test_validation_refuses_an_unknown_field() -> None:
    invalid = {"apiVersion": "x", "kind": "GatewayBackup", "spec": {"gatewayRef": {"name": "my-gateway"}, "grup": "x"}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(invalid, _schemas()["GatewayBackup"], cls=jsonschema.Draft202012Validator)
