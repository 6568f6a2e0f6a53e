"""Reads the chart's alert rules and runs promtool on them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
RULES_FILE = ROOT / "helm" / "operator" / "files" / "alerts.yaml"

Rule = dict[str, Any]


def rules() -> dict[tuple[str, str], Rule]:
    """All alert rules by name and severity."""
    groups = yaml.load(RULES_FILE.read_text(), yaml.CSafeLoader)["groups"]
    return {(rule["alert"], rule["labels"]["severity"]): rule for group in groups for rule in group["rules"]}


def minutes(duration: str) -> int:
    """A Prometheus duration such as `15m` or `1h` in minutes."""
    match = re.fullmatch(r"(\d+)([mh])", duration)
    assert match is not None, duration
    return int(match[1]) * {"m": 1, "h": 60}[match[2]]


def promtool(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs promtool in ``folder``. Without the program the test is skipped."""
    if shutil.which("promtool") is None:
        pytest.skip("needs the program promtool: install the package prometheus")
    return subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
