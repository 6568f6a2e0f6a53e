"""The API server validates the charts' monitoring objects against the real CRDs of the Prometheus operator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster import Cluster, ClusterError
from tests.operator.monitoring.prometheus_operator_crds import KINDS, crd_files

pytestmark = pytest.mark.cluster

CHARTS = Path(__file__).resolve().parents[3] / "helm"
ENABLED = {
    "operator": ["metrics.podMonitor.enabled=true", "metrics.prometheusRule.enabled=true"],
    "gateway": ["metrics.serviceMonitor.enabled=true"],
}
GROUP = "monitoring.coreos.com"


@pytest.fixture(scope="module")
def monitoring_crds(control_plane: Cluster) -> Iterator[Cluster]:
    """A control plane with the CRDs. They are deleted after this module, because other tests list all CRDs."""
    files = [word for path in crd_files() for word in ("-f", str(path))]
    control_plane.kubectl("apply", "--server-side", *files)
    names = [f"crd/{kind}.{GROUP}" for kind in KINDS]
    control_plane.kubectl("wait", "--for=condition=Established", *names, "--timeout=60s")
    yield control_plane
    control_plane.kubectl("delete", *names)


def _rendered(cluster: Cluster, chart: str) -> list[dict[str, object]]:
    values = [word for value in ENABLED[chart] for word in ("--set", value)]
    text = cluster.helm("template", "one", str(CHARTS / chart), "-n", "default", "--kube-version", "1.34.0", *values)
    return [body for body in yaml.load_all(text, yaml.CSafeLoader) if body and body["apiVersion"].startswith(GROUP)]


def test_charts_render_objects_that_the_prometheus_operator_accepts(monitoring_crds: Cluster) -> None:
    objects = [body for chart in ENABLED for body in _rendered(monitoring_crds, chart)]
    assert sorted(str(body["kind"]) for body in objects) == ["PodMonitor", "PrometheusRule", "ServiceMonitor"]
    monitoring_crds.kubectl(
        *("apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f", "-"),
        input=yaml.safe_dump_all(objects),
    )
    # The validation is effective: an unknown field is refused.
    objects[0]["spec"] = {**dict(objects[0]["spec"]), "unknown": 1}  # type: ignore[call-overload]
    with pytest.raises(ClusterError, match="unknown"):
        monitoring_crds.kubectl(
            "apply", "--dry-run=server", "--validate=strict", "-f", "-", input=yaml.safe_dump_all(objects[:1])
        )
