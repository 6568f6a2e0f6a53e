"""The interfaces of notifications: the receivers of messages, and the counter of results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from gateway_operator.domain.notifications.delivery import DeliveryResult

SLACK: Final = "slack"
WEBHOOK: Final = "webhook"
RECEIVERS: Final = (SLACK, WEBHOOK)


class Webhooks(Protocol):
    """The receivers of notifications. A receiver is one of ``RECEIVERS``."""

    def is_configured(self, receiver: str) -> bool:
        """Whether there is a URL for it now."""
        ...

    async def send(self, receiver: str, body: Mapping[str, Any]) -> DeliveryResult:
        """Send one request. Never raises: each error is a result without URL or token."""
        ...


class NotificationCounts(Protocol):
    """Counts notifications by result: ``sent``, ``failed`` or ``dropped``."""

    def count(self, result: str) -> None:
        """Count one notification, or one failed request."""
        ...
