"""What a monitor scrapes: counts of answers, how long they took, and how config and volume are. No key is needed, so
nothing here is a caller's word or a name from the config: labels are route templates, methods, statuses and codes.
"""

from __future__ import annotations

import time
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from gateway_api import __version__
from gateway_api.contract import SystemHealthData

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS: Final = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """The metrics of one server. Updates are cheap and never fail; one registry for each, so tests may have several."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        registry = self._registry
        self._requests = Counter(
            "gateway_admin_requests", "Answers sent.", ("route", "method", "status", "code"), registry=registry
        )
        self._seconds = Histogram(
            "gateway_admin_request_seconds", "Time to answer.", ("route",), buckets=BUCKETS, registry=registry
        )
        self._succeeded = Gauge(
            "gateway_admin_last_success_timestamp_seconds",
            "When a change last succeeded here since the start.",
            ("route", "method"),
            registry=registry,
        )
        self._info = Gauge("gateway_admin_info", "The version that serves.", ("version",), registry=registry)
        self._info.labels(__version__).set(1)
        self._ready = Gauge("gateway_admin_ready", "Whether a backup could be taken now.", registry=registry)
        self._valid = Gauge("gateway_admin_config_valid", "Whether the live config is one.", registry=registry)
        self._issues = Gauge("gateway_admin_config_issues", "Dangling references and the like.", registry=registry)
        self._pending = Gauge(
            "gateway_admin_restore_pending", "Whether a restore waits for its commit or rollback.", registry=registry
        )
        self._free = Gauge("gateway_admin_volume_free_bytes", "Free on the backup volume.", registry=registry)
        self._total = Gauge("gateway_admin_volume_total_bytes", "Size of the backup volume.", registry=registry)

    def answered(self, route: str | None, method: str, status: int, code: str | None, seconds: float) -> None:
        """Counts an answer. ``route`` is the template of the path, None when there is no such path."""
        named = route or "none"
        self._requests.labels(named, method, str(status), code or "").inc()
        self._seconds.labels(named).observe(seconds)
        if method not in ("GET", "HEAD") and status == 200:
            self._succeeded.labels(named, method).set(time.time())

    def render(self, health: SystemHealthData, *, ready: bool) -> bytes:
        """The page, with the server's condition as it is now."""
        self._ready.set(ready)
        self._valid.set(health.config_valid)
        self._issues.set(len(health.issues))
        self._pending.set(health.pending_restore is not None)
        self._free.set(0 if health.volume is None else health.volume.free_bytes)
        self._total.set(0 if health.volume is None else health.volume.total_bytes)
        return generate_latest(self._registry)
