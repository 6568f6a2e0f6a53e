"""The dashboard follows Grafana's own schema, from the Go types that Grafana generates of it."""

from __future__ import annotations

import copy
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.golang import find_go
from tests.cluster.output import run, to_stderr
from tests.unit.monitoring.dashboard import dashboard

MODULE = "github.com/grafana/grafana-foundation-sdk/go"
SOURCE = Path(__file__).parent / "grafana_schema"
Check = Callable[[dict[str, Any]], str]


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """A function that returns what the schema does not allow in a dashboard; empty if all is right."""
    program = tmp_path_factory.mktemp("grafana") / "grafana_schema"
    go, environment = str(find_go(to_stderr)), {**os.environ, "GOWORK": "off"}
    build = [go, "build", "-buildvcs=false", "-mod=readonly", "-o", str(program), "."]
    run(build, cwd=SOURCE, env=environment, timeout=600)
    module = run([go, "list", "-m", "-f", "{{.Dir}}", MODULE], cwd=SOURCE, env=environment).stdout.strip()

    def check(body: dict[str, Any]) -> str:
        command = [str(program), module]
        done = subprocess.run(command, input=json.dumps(body), capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode == 0) == (done.stderr == "")
        return done.stderr

    return check


def test_dashboard_follows_the_schema_of_grafana(problems: Check) -> None:
    assert problems(dashboard()) == ""


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schemaVersion",), "39"),
        (("unknown",), 1),
        (("annotations", "list", 0, "query"), "up"),
        (("templating", "list", 1, "type"), "label"),
        (("panels", 1, "type"), "singlestat"),
        (("panels", 1, "options", "colorMode"), "blinking"),
        (("panels", 1, "targets", 0, "expression"), "up"),
        (("panels", 1, "fieldConfig", "defaults", "thresholds", "mode"), "relative"),
    ],
    ids=lambda part: ".".join(str(one) for one in part) if isinstance(part, tuple) else None,
)
def test_schema_refuses_a_wrong_dashboard(problems: Check, path: tuple[str | int, ...], value: object) -> None:
    body = copy.deepcopy(dashboard())
    parent: Any = body
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = value
    assert str(path[-1]) in problems(body)
