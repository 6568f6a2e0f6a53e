"""The collected series of the gauges: for each metric a value by its labels, so that no series exists twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway_api.contract import ErrorCode
from gateway_operator.domain.metrics.definitions import MetricDefinition
from gateway_operator.domain.model.identifiers import NamespacedGateway
from gateway_operator.domain.model.reasons import Reason

LabelValues = tuple[str, ...]
_REASONS: Final = frozenset({str(one) for one in Reason} | {str(one) for one in ErrorCode})


class GaugeSeries:
    """Values by metric and labels. Where two gateways have the same labels, the lower value counts."""

    def __init__(self) -> None:
        self._values: dict[MetricDefinition, dict[LabelValues, float]] = {}

    def set(self, metric: MetricDefinition, labels: LabelValues, value: float | bool | None) -> None:
        """Set a value; None sets nothing."""
        if value is None:
            return
        values = self._values.setdefault(metric, {})
        values[labels] = min(float(value), values.get(labels, float(value)))

    def raise_to(self, metric: MetricDefinition, labels: LabelValues, value: float) -> None:
        """Set a value if it is higher than the present one, or if there is none."""
        values = self._values.setdefault(metric, {})
        values[labels] = max(value, values.get(labels, value))

    def add(self, metric: MetricDefinition, labels: LabelValues, number: int = 1) -> None:
        """Add to a number of objects."""
        values = self._values.setdefault(metric, {})
        values[labels] = values.get(labels, 0.0) + number

    @property
    def values(self) -> Mapping[MetricDefinition, Mapping[LabelValues, float]]:
        """The values by metric and labels."""
        return self._values


def gateway_labels(gateway: NamespacedGateway) -> tuple[str, str]:
    """The values of the labels ``namespace`` and ``gateway``."""
    return gateway.namespace, gateway.gateway.label


def reason_label(reason: str) -> str:
    """A reason of the operator or an error code of the admin API. Any other text is ``Other``."""
    return reason if reason in _REASONS else "Other"
