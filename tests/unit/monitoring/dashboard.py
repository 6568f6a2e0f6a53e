"""Reads the queries of the chart's Grafana dashboard, with its variables replaced as Grafana does it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.unit.monitoring.rules import ROOT

DASHBOARD_FILE = ROOT / "helm" / "operator" / "files" / "dashboard.json"
# The value `All` of a variable, and the interval that Grafana computes.
_VARIABLES = {"$namespace": ".*", "$gateway": ".*", "$__rate_interval": "1m"}


def dashboard() -> dict[str, Any]:
    """The dashboard as parsed JSON."""
    parsed: dict[str, Any] = json.loads(DASHBOARD_FILE.read_text())
    return parsed


def queries() -> Iterator[tuple[str, str]]:
    """Title of the panel and PromQL expression of each query."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            expression: str = target["expr"]
            for variable, value in _VARIABLES.items():
                expression = expression.replace(variable, value)
            yield panel["title"], expression
