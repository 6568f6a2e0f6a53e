"""The Prometheus metrics: answers, latencies, and the state of the config and of the backup volume.

They are served without a key. Labels are therefore only route templates, methods, statuses, error codes and operations,
never text from a request or a config. The page docs/metrics.md has a table of ``METRICS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from gateway_api import __version__
from gateway_api.contract import SystemHealthData

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS: Final = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60)


class AdminMetric(NamedTuple):
    """One metric. ``name`` is the name of its series, for a counter with the suffix ``_total``."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


_REQUESTS: Final = AdminMetric(
    "gateway_admin_requests_total", "counter", ("route", "method", "status", "code"), "HTTP answers sent."
)
_SECONDS: Final = AdminMetric("gateway_admin_request_seconds", "histogram", ("route",), "Time to answer, in seconds.")
_SUCCEEDED: Final = AdminMetric(
    "gateway_admin_last_success_timestamp_seconds",
    "gauge",
    ("operation",),
    "Unix time at which the operation last succeeded, from the audit log on the volume. A restart keeps it.",
)
_INFO: Final = AdminMetric("gateway_admin_info", "gauge", ("version",), "The version of the admin API; always 1.")
_READY: Final = AdminMetric("gateway_admin_ready", "gauge", (), "1 if a backup can be taken now.")
_VALID: Final = AdminMetric("gateway_admin_config_valid", "gauge", (), "1 if the live config is valid.")
_ISSUES: Final = AdminMetric("gateway_admin_config_issues", "gauge", (), "Issues of the live config.")
_PENDING: Final = AdminMetric(
    "gateway_admin_restore_pending", "gauge", (), "1 if a restore is neither committed nor rolled back."
)
_FREE: Final = AdminMetric("gateway_admin_volume_free_bytes", "gauge", (), "Free bytes on the backup volume.")
_TOTAL: Final = AdminMetric("gateway_admin_volume_total_bytes", "gauge", (), "Size of the backup volume in bytes.")
_CERTIFICATE_END: Final = AdminMetric(
    "gateway_admin_certificate_end_timestamp_seconds",
    "gauge",
    (),
    "Unix time at which the TLS certificate ends; 0 without one.",
)
METRICS: Final = (
    _REQUESTS, _SECONDS, _SUCCEEDED, _INFO, _READY, _VALID, _ISSUES, _PENDING, _FREE, _TOTAL, _CERTIFICATE_END,
)  # fmt: skip


class Metrics:
    """The metrics of one server, in a registry of its own, so that tests can run several servers in one process."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            _REQUESTS.name.removesuffix("_total"), _REQUESTS.help, _REQUESTS.labels, registry=registry
        )
        self._seconds = Histogram(_SECONDS.name, _SECONDS.help, _SECONDS.labels, buckets=BUCKETS, registry=registry)
        self._gauges = {
            one.name: Gauge(one.name, one.help, one.labels, registry=registry) for one in METRICS if one.type == "gauge"
        }
        self._gauges[_INFO.name].labels(__version__).set(1)

    def observe_response(self, route: str | None, method: str, status: int, code: str | None, seconds: float) -> None:
        """Counts an answer. ``route`` is the template of the path; None if no route matches."""
        label = route or "none"
        self._requests.labels(label, method, str(status), code or "").inc()
        self._seconds.labels(label).observe(seconds)

    def render(self, health: SystemHealthData, succeeded: Mapping[str, datetime], *, ready: bool) -> bytes:
        """The text of all metrics, after an update from the arguments. ``succeeded`` has a time by operation."""
        for operation, time in succeeded.items():
            self._gauges[_SUCCEEDED.name].labels(operation).set(time.timestamp())
        values = {
            _READY: ready,
            _VALID: health.config_valid,
            _ISSUES: len(health.issues),
            _PENDING: health.pending_restore is not None,
            _FREE: 0 if health.volume is None else health.volume.free_bytes,
            _TOTAL: 0 if health.volume is None else health.volume.total_bytes,
            _CERTIFICATE_END: 0 if health.certificate_end is None else health.certificate_end.timestamp(),
        }
        for metric, value in values.items():
            self._gauges[metric.name].set(value)
        return generate_latest(self._registry)
