"""promtool runs each rule over a made-up day: the alert fires in time, once, through a change of the pod, and ends."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.monitoring.cases import CASES, Case, Counter, Gauge
from tests.unit.monitoring.rules import ROOT, RULES_FILE, Rule, minutes, promtool, rules

HEALTHY_MINUTES, PROBLEM_MINUTES, GAP_MINUTES = 60, 90, 2
STALE = "stale"


class Day:
    """The minutes of one test: healthy, a short problem, healthy, a long problem with a change of the pod, healthy."""

    def __init__(self, case: Case, rule: Rule) -> None:
        self.wait, self.keep = minutes(rule["for"]), minutes(rule["keep_firing_for"])
        self.blip = range(HEALTHY_MINUTES, HEALTHY_MINUTES + (self.wait - 1 if case.delay == 0 else 0))
        begin = self.blip.stop + HEALTHY_MINUTES
        self.problem = range(begin, begin + self.wait + case.delay + PROBLEM_MINUTES)
        # The first minute at which the alert fires, and the last minute at which it may fire.
        self.first = begin + self.wait + case.delay
        self.last = self.problem.stop + case.delay + self.keep + 1
        self.end = self.last + HEALTHY_MINUTES
        self.gap = range(self.first + 20, self.first + 20 + GAP_MINUTES)

    def has_problem(self, minute: int) -> bool:
        return minute in self.blip or minute in self.problem


def _values(series: Gauge | Counter, day: Day) -> list[float | None]:
    if isinstance(series, Gauge):
        return [series.problem if day.has_problem(minute) else series.healthy for minute in range(day.end)]
    values, total = [], 0.0
    for minute in range(day.end):
        total += series.per_minute if day.has_problem(minute) else 0
        values.append(total)
    return [*values]


def _input(name: str, labels: dict[str, str], values: Sequence[float | None]) -> dict[str, str]:
    text = ",".join(f'{label}="{value}"' for label, value in labels.items())
    words = [STALE if value is None else f"{value:.0f}" for value in values]
    return {"series": f"{name}{{{text}}}", "values": " ".join(words)}


def _input_series(case: Case, day: Day) -> list[dict[str, str]]:
    """Each series as pod a, and after the gap as pod b: a new leader, or a new pod of the gateway."""
    inputs = []
    for series in case.series:
        values = _values(series, day)
        if isinstance(series, Gauge) and series.problem is None:
            inputs.append(_input(series.name, {**series.labels, "pod": "a"}, values))
            continue
        parts: dict[str, Callable[[int], bool]] = {"a": lambda m: m < day.gap.start, "b": lambda m: m >= day.gap.stop}
        for pod, is_present in parts.items():
            own = [value if is_present(minute) else None for minute, value in enumerate(values)]
            inputs.append(_input(series.name, {**series.labels, "pod": pod}, own))
    return inputs


def _checks(case: Case, day: Day) -> list[dict[str, Any]]:
    own = {"alertname": case.alert, "severity": case.severity, "alertstate": "firing"}
    firing = "ALERTS{" + ",".join(f'{label}="{value}"' for label, value in own.items()) + "}"
    labels = {**own, **case.labels}
    text = ",".join(f'{label}="{value}"' for label, value in labels.items())
    early = day.first - 1 if case.delay == 0 else day.problem.start
    duration = day.problem.stop - 1 - day.first
    return [
        {"expr": f"count_over_time({firing}[{early}m])", "eval_time": f"{early}m", "exp_samples": []},
        {
            "expr": firing,
            "eval_time": f"{day.first}m",
            "exp_samples": [{"labels": f"ALERTS{{{text}}}", "value": 1}],
        },
        # One sample for each minute: the alert was firing all the time.
        {
            "expr": f"count_over_time({firing}[{duration}m])",
            "eval_time": f"{day.problem.stop - 1}m",
            "exp_samples": [{"labels": f"{{{text}}}", "value": duration + 1}],
        },
        {
            "expr": f"count_over_time({firing}[{day.end - 1 - day.last}m])",
            "eval_time": f"{day.end - 1}m",
            "exp_samples": [],
        },
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}-{case.severity}")
def test_alert_fires_in_time_without_flapping_and_resolves(case: Case, tmp_path: Path) -> None:
    rule = rules()[case.alert, case.severity]
    day = Day(case, rule)
    _assert_promtool_passes(rule, _input_series(case, day), _checks(case, day), tmp_path)


def _assert_promtool_passes(
    rule: Rule, series: list[dict[str, str]], checks: list[dict[str, Any]], folder: Path
) -> None:
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [rule]}]}))
    test = {"interval": "1m", "input_series": series, "promql_expr_test": checks}
    body = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}
    (folder / "test.yaml").write_text(yaml.safe_dump(body))
    result = promtool("test", "rules", "test.yaml", folder=folder)
    assert result.returncode == 0, result.stdout + result.stderr


def _firing(rule: Rule, minute: int, samples: int) -> dict[str, Any]:
    """A check of the number of firing alerts at a minute."""
    text = f'count(ALERTS{{alertname="{rule["alert"]}",alertstate="firing"}})'
    expected = [{"labels": "{}", "value": samples}] if samples else []
    return {"expr": text, "eval_time": f"{minute}m", "exp_samples": expected}


def test_first_error_is_noticed_although_its_series_begins_with_it(tmp_path: Path) -> None:
    rule = rules()["GatewayAdminInternalErrors", "warning"]
    labels = {"namespace": "a", "service": "gw", "pod": "gw-1", "code": "InternalError"}
    series = [
        _input("gateway_admin_requests_total", {**labels, "route": "/old"}, [4] * 200),
        _input("gateway_admin_requests_total", {**labels, "route": "/new"}, [None] * 90 + [1] * 110),
    ]
    checks = [_firing(rule, 89, 0), _firing(rule, 92, 1), _firing(rule, 199, 0)]
    _assert_promtool_passes(rule, series, checks, tmp_path)


def test_one_pod_of_several_that_is_not_ready_is_enough(tmp_path: Path) -> None:
    rule = rules()["GatewayAdminNotReady", "warning"]
    labels = {"namespace": "a", "service": "gw"}
    series = [
        _input("gateway_admin_ready", {**labels, "pod": "gw-0"}, [1] * 60),
        _input("gateway_admin_ready", {**labels, "pod": "gw-1"}, [1] * 30 + [0] * 30),
    ]
    _assert_promtool_passes(rule, series, [_firing(rule, 29, 0), _firing(rule, 50, 1)], tmp_path)


def test_each_rule_has_a_test_case() -> None:
    assert sorted((case.alert, case.severity) for case in CASES) == sorted(rules())


def test_promtool_accepts_the_rules_file(tmp_path: Path) -> None:
    result = promtool("check", "rules", str(RULES_FILE), folder=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("rule", rules().values(), ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_each_alert_has_a_section_in_the_runbook(rule: Rule) -> None:
    annotations = rule["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook_url"}
    assert annotations["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    assert re.search(rf"^### {rule['alert']}\n\S", runbook, re.MULTILINE), "no section in docs/runbook.md"


@pytest.mark.parametrize("rule", rules().values(), ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_texts_use_only_labels_that_the_expression_keeps(rule: Rule) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    grouped = re.search(r"by \(([^)]*)\)", rule["expr"])
    kept = set(re.findall(r"\w+", grouped[1])) if grouped else set()
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    assert used <= kept
    assert not kept & {"pod", "instance", "version"}, "the alert would start again after a change of the pod"


def test_the_page_lists_each_alert_with_its_severity_and_delay() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    listed = re.findall(r"^\| \[`(\w+)`\]\(runbook\.md#(\w+)\) \| (\w+) \| .* \| (\w+) \|$", page, re.MULTILINE)
    expected = [(name, name.lower(), severity, rule["for"]) for (name, severity), rule in rules().items()]
    assert listed == expected
