"""The monitoring objects of the operator's chart: the rules unchanged, links to the runbook, and the dashboard."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from gateway_operator.domain.metrics.definitions import OBJECT_METRICS, OPERATOR_METRICS
from tests.unit.charts.render import containers, of_kind, one, render, render_variant
from tests.unit.monitoring.dashboard import dashboard, queries
from tests.unit.monitoring.rules import ROOT, RULES_FILE, promtool, rules

RUNBOOK = "https://git.example/backups/docs/runbook.md"


def test_prometheus_rule_contains_the_rules_and_links_to_the_runbook() -> None:
    values = {"metrics": {"prometheusRule": {"enabled": True, "runbook": RUNBOOK}}}
    groups = one(render("operator", values), "PrometheusRule")["spec"]["groups"]
    assert groups == yaml.safe_load(RULES_FILE.read_text().replace("docs/runbook.md", RUNBOOK))["groups"]


def test_each_alert_links_to_the_dashboard_of_its_gateway(tmp_path: Path) -> None:
    address = "https://grafana.example/d/gateway-backups"
    values = {"metrics": {"prometheusRule": {"enabled": True, "dashboardUrl": address}}}
    groups = one(render("operator", values), "PrometheusRule")["spec"]["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        rule["annotations"] = {"dashboard_url": rule["annotations"]["dashboard_url"]}
    gateway, operator = {"namespace": "prod", "gateway": "gw"}, {"namespace": "ops", "job": "operator"}
    cases = {
        "GatewayBackupGatewayUnhealthy": (gateway, f"{address}?var-namespace=prod&var-gateway=gw"),
        "GatewayBackupOperatorNoLeader": (operator, address),
    }
    checks = [
        {
            "alertname": alert,
            "eval_time": "15m",
            "exp_alerts": [
                {"exp_labels": {"severity": "critical", **labels}, "exp_annotations": {"dashboard_url": link}}
            ],
        }
        for alert, (labels, link) in cases.items()
    ]
    series = [
        {"series": 'gateway_backup_gateway_healthy{namespace="prod",gateway="gw"}', "values": "0x20"},
        {"series": 'gateway_backup_operator_leader{namespace="ops",job="operator"}', "values": "0x20"},
    ]
    test = {"interval": "1m", "input_series": series, "alert_rule_test": checks}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [test]}))
    result = promtool("test", "rules", "test.yaml", folder=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_disabled_alert_is_left_out_and_the_others_stay() -> None:
    def names(disabled: list[str]) -> set[str]:
        values = {"metrics": {"prometheusRule": {"enabled": True, "disabled": disabled}}}
        groups = one(render("operator", values), "PrometheusRule")["spec"]["groups"]
        return {rule["alert"] for group in groups for rule in group["rules"]}

    assert names([]) - names(["GatewayBackupVolumeFillingUp"]) == {"GatewayBackupVolumeFillingUp"}


def test_pod_monitor_selects_the_operator_and_keeps_its_namespaces() -> None:
    objects = render_variant("operator, all")
    monitor = one(objects, "PodMonitor")
    template = one(objects, "Deployment")["spec"]["template"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in [port["name"] for item in containers(template["spec"]) for port in item["ports"]]
    # The series have a label `namespace` of their own.
    assert endpoint["honorLabels"] is True


def test_service_monitor_selects_the_port_that_needs_no_key() -> None:
    objects = render_variant("gateway, all")
    monitor, service = one(objects, "ServiceMonitor"), one(objects, "Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    assert ports[endpoint["port"]] == 8001


def test_dashboard_is_in_a_config_map_with_the_label_of_the_sidecar() -> None:
    config = one(of_kind(render_variant("operator, all"), "ConfigMap"), "ConfigMap")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    (text,) = config["data"].values()
    assert json.loads(text) == dashboard()


@pytest.mark.parametrize("kind", ["PodMonitor", "PrometheusRule", "ConfigMap"])
def test_no_monitoring_object_without_a_value_that_enables_it(kind: str) -> None:
    # A cluster without the Prometheus operator does not know these kinds.
    assert of_kind(render("operator"), kind) == []


def test_alerts_and_panels_read_only_metrics_that_exist() -> None:
    series = {definition.name for definition in (*OPERATOR_METRICS, *OBJECT_METRICS)}
    # The admin API defines its metrics in the constructor of its registry.
    source = (ROOT / "api" / "src" / "gateway_api" / "metrics.py").read_text()
    series |= set(re.findall(r'"(gateway_admin_\w+)"', source))
    expressions = [rule["expr"] for rule in rules().values()] + [expr for _, expr in queries()]
    used = {name for expr in expressions for name in re.findall(r"\bgateway_\w+", expr)}
    assert used - {name + suffix for name in series for suffix in ("", "_total", "_bucket")} == set()


def test_panels_have_unique_ids_and_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (position["x"] + x, position["y"] + y)
        for panel in panels
        for position in [panel["gridPos"]]
        for x in range(position["w"])
        for y in range(position["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_no_summary_is_green_without_an_operator() -> None:
    """A fallback to 0 needs the series of a leader that has read the objects."""
    fallbacks = [expr for _, expr in queries() if re.search(r"\bor\b (0|vector)", expr)]
    assert len(fallbacks) > 5
    assert all(expr.endswith("or 0 * max(gateway_backup_operator_objects_read == 1)") for expr in fallbacks)


def test_each_panel_query_is_valid_and_keeps_no_unknown_variable(tmp_path: Path) -> None:
    records = [{"record": f"panel:{number}", "expr": expr} for number, (_, expr) in enumerate(queries())]
    assert [title for title, expr in queries() if re.search(r"\$\w", expr)] == []
    # promtool checks expressions only in rules.
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}))
    result = promtool("check", "rules", "panels.yaml", folder=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
