"""The Prometheus metrics: answers, latencies, and the state of the config and of the backup volume.

They are served without a key. Labels are therefore only route templates, methods, statuses and error codes, never text
from a request or a config.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from gateway_api import __version__
from gateway_api.contract import SystemHealthData

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS: Final = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """The metrics of one server, in a registry of its own, so that tests can run several servers in one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        registry = self._registry
        self._requests = Counter(
            "gateway_admin_requests", "HTTP answers sent.", ("route", "method", "status", "code"), registry=registry
        )
        self._seconds = Histogram(
            "gateway_admin_request_seconds",
            "Time to answer, in seconds.",
            ("route",),
            buckets=BUCKETS,
            registry=registry,
        )
        self._succeeded = Gauge(
            "gateway_admin_last_success_timestamp_seconds",
            "Unix time at which the operation last succeeded, from the audit log on the volume. A restart keeps it.",
            ("operation",),
            registry=registry,
        )
        self._info = Gauge("gateway_admin_info", "The running version.", ("version",), registry=registry)
        self._info.labels(__version__).set(1)
        self._ready = Gauge("gateway_admin_ready", "1 if a backup can be taken now.", registry=registry)
        self._valid = Gauge("gateway_admin_config_valid", "1 if the live config is valid.", registry=registry)
        self._issues = Gauge("gateway_admin_config_issues", "Issues of the live config.", registry=registry)
        self._pending = Gauge(
            "gateway_admin_restore_pending", "1 if a restore is neither committed nor rolled back.", registry=registry
        )
        self._free = Gauge("gateway_admin_volume_free_bytes", "Free bytes on the backup volume.", registry=registry)
        self._total = Gauge("gateway_admin_volume_total_bytes", "Size of the backup volume.", registry=registry)
        self._certificate_end = Gauge(
            "gateway_admin_certificate_end_timestamp_seconds",
            "Unix time at which the TLS certificate ends; 0 without one.",
            registry=registry,
        )

    def observe_response(self, route: str | None, method: str, status: int, code: str | None, seconds: float) -> None:
        """Counts an answer. ``route`` is the template of the path; None if no route matches."""
        label = route or "none"
        self._requests.labels(label, method, str(status), code or "").inc()
        self._seconds.labels(label).observe(seconds)

    def render(self, health: SystemHealthData, succeeded: Mapping[str, datetime], *, ready: bool) -> bytes:
        """The text of all metrics, after an update from the arguments. ``succeeded`` has a time by operation."""
        for operation, time in succeeded.items():
            self._succeeded.labels(operation).set(time.timestamp())
        self._ready.set(ready)
        self._valid.set(health.config_valid)
        self._issues.set(len(health.issues))
        self._pending.set(health.pending_restore is not None)
        self._free.set(0 if health.volume is None else health.volume.free_bytes)
        self._total.set(0 if health.volume is None else health.volume.total_bytes)
        self._certificate_end.set(0 if health.certificate_end is None else health.certificate_end.timestamp())
        return generate_latest(self._registry)
