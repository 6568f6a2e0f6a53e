"""The bodies of webhook requests: Slack's format and a generic JSON document.

No body contains a secret. Statuses have none; the patterns below are a second protection.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.identifiers import GatewayRef
from gateway_operator.domain.notifications.notification import Notification, Severity, State

VERSION: Final = "1"
_MAX_MESSAGE: Final = 500
"""Characters of one message. The object's status has all of it."""
_HIDDEN: Final = "[hidden]"
_SECRETS: Final = (
    re.compile(r"AGE-SECRET-KEY-[0-9A-Za-z-]+", re.IGNORECASE),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"(?<=Bearer )\S+", re.IGNORECASE),
    re.compile(r"(?<=://)[^/\s@]+(?=@)"),
    re.compile(r"(?<=hooks\.slack\.com/)\S+"),
)
_ICONS: Final = {Severity.info: ":information_source:", Severity.warning: ":warning:", Severity.error: ":red_circle:"}
_RESOLVED_ICON: Final = ":white_check_mark:"


def hide_secrets(text: str) -> str:
    """The text without anything that has the form of a key, a token or a password in a URL."""
    for pattern in _SECRETS:
        text = pattern.sub(_HIDDEN, text)
    return text


def slack_body(notifications: Sequence[Notification], cluster: str) -> dict[str, Any]:
    """The body for an incoming webhook of Slack or of a compatible service, with one line for each notification."""
    return {"text": "\n".join(_slack_line(one, cluster) for one in notifications)}


def json_body(notifications: Sequence[Notification], cluster: str) -> dict[str, Any]:
    """The generic document. ``cluster`` is empty if the operator has no name for its cluster."""
    return {"version": VERSION, "cluster": cluster, "notifications": [_json_entry(one) for one in notifications]}


def _message(item: Notification) -> str:
    text = " ".join(hide_secrets(item.message).split())
    return text if len(text) <= _MAX_MESSAGE else f"{text[: _MAX_MESSAGE - 1]}…"


def _slack_line(item: Notification, cluster: str) -> str:
    icon = _RESOLVED_ICON if item.state is State.resolved else _ICONS[item.severity]
    title = f"{item.topic} resolved" if item.state is State.resolved else str(item.topic)
    where = f"{item.ref.kind} {item.ref.namespace}/{item.ref.name}, gateway {_gateway_name(item.gateway)}"
    location = f"{where}, cluster {cluster}" if cluster else where
    reason = f" ({item.reason})" if item.reason and item.reason != item.topic else ""
    return f"{icon} *{title}*{reason}: {_escape(location)}: {_escape(_message(item))}"


def _escape(text: str) -> str:
    """Slack reads ``<!channel>`` and links between angle brackets, so all three control characters are escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _json_entry(item: Notification) -> dict[str, str]:
    return {
        "id": item.identifier,
        "topic": str(item.topic),
        "state": str(item.state),
        "severity": str(item.severity),
        "kind": item.ref.kind,
        "namespace": item.ref.namespace,
        "name": item.ref.name,
        "gateway": _gateway_name(item.gateway),
        "schedule": item.schedule,
        "reason": item.reason,
        "message": _message(item),
        "time": timestamps.text(item.since),
    }


def _gateway_name(gateway: GatewayRef) -> str:
    """The gateway in a message, such as ``Deployment/my-gateway``, or ``StatefulSet/my-gateway-1`` for a second pod."""
    return f"{gateway.kind}/{gateway.label}"
