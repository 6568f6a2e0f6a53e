#!/usr/bin/env python3
"""Writes the `required` lists of each chart's values.schema.json from its values.yaml.

`helm upgrade --reuse-values` drops the defaults of values that the old chart did not have. The schema then names the
missing value, where a template would fail with a nil pointer. A value whose schema allows null may be missing.
`--check` writes nothing and exits 1 if a list is out of date; a unit test runs it.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

HELM = Path(__file__).resolve().parent
CHARTS = ("operator", "gateway")


def resolve(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference names, or the schema itself."""
    if "$ref" not in schema:
        return schema
    target: dict[str, Any] = root["$defs"][schema["$ref"].rpartition("/")[2]]
    return target


def may_be_missing(schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether the schema allows null."""
    schema = resolve(schema, root)
    kinds = schema.get("type")
    if "null" in (kinds if isinstance(kinds, list) else [kinds]):
        return True
    return None in schema.get("enum", ()) or any(may_be_missing(one, root) for one in schema.get("anyOf", ()))


def require(schema: dict[str, Any], values: dict[str, Any], root: dict[str, Any]) -> None:
    """Set the list of one object and of all objects in it. Definitions that several values share keep theirs."""
    properties = schema.get("properties", {})
    required = [name for name in values if name in properties and not may_be_missing(properties[name], root)]
    if required:
        others = {key: value for key, value in schema.items() if key not in ("required", "properties")}
        schema.clear()
        schema.update({**others, "required": required, "properties": properties})
    for name, value in values.items():
        below = properties.get(name, {})
        has_fields = isinstance(value, dict) and "properties" in below and "allOf" not in below
        if has_fields and not may_be_missing(below, root):
            require(below, value, root)


def main() -> int:
    """The command line. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for chart in CHARTS:
        path = HELM / chart / "values.schema.json"
        text = path.read_text(encoding="utf-8")
        schema = json.loads(text)
        require(schema, yaml.safe_load((HELM / chart / "values.yaml").read_text(encoding="utf-8")), schema)
        new = json.dumps(schema, indent=2) + "\n"
        if check and new != text:
            sys.stderr.write(f"{path.name} of the chart {chart} is out of date: run helm/require-values.py\n")
            return 1
        path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
