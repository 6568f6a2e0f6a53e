"""The values of notifications: topics, severities, and one notification about one object."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from gateway_operator.domain.model.identifiers import GatewayRef, Ref


class Topic(StrEnum):
    """The subject of a notification. The names are part of the messages and of the chart's values."""

    BackupFailed = "BackupFailed"
    BackupSuspicious = "BackupSuspicious"
    RestoreFinished = "RestoreFinished"
    ApprovalRequired = "ApprovalRequired"
    DrillFailed = "DrillFailed"
    ObjectiveMissed = "ObjectiveMissed"
    DeletionsHeld = "DeletionsHeld"
    FilesMissing = "FilesMissing"
    ScheduleNotReady = "ScheduleNotReady"
    CertificateExpiring = "CertificateExpiring"
    GatewayUnhealthy = "GatewayUnhealthy"


class Severity(StrEnum):
    """How soon a person should look."""

    info = "info"
    warning = "warning"
    error = "error"


class State(StrEnum):
    """``occurred``: it happened once. ``firing``: it holds until a message with ``resolved``."""

    occurred = "occurred"
    firing = "firing"
    resolved = "resolved"


class Subject(NamedTuple):
    """The thing a notification is about: an object's uid, or a gateway that several schedules share."""

    topic: Topic
    name: str


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification about one object for one receiver, which the object's status does not record as sent."""

    ref: Ref
    gateway: GatewayRef
    schedule: str
    """Empty for an object without a schedule."""
    topic: Topic
    state: State
    severity: Severity
    reason: str
    message: str
    since: datetime
    """When it happened or began."""
    mark: str
    """The text that the status records after the delivery; empty removes the record."""
    previous_mark: str = ""
    not_before: datetime | None = None
    """It is sent only if it still holds then. None: at once."""
    expires: datetime | None = None
    """It is not sent after this time. None: it is sent for as long as it holds."""

    @property
    def subject(self) -> Subject:
        """Problems of a gateway have the gateway as subject: each of its schedules reports them.

        Each pod of a StatefulSet is a gateway of its own.
        """
        if self.topic in (Topic.GatewayUnhealthy, Topic.CertificateExpiring):
            one = self.gateway
            return Subject(self.topic, f"{self.ref.namespace}/{one.kind}/{one.name}/{one.ordinal}")
        return Subject(self.topic, self.ref.uid)

    @property
    def identifier(self) -> str:
        """The same text for each delivery of the same notification, so that a receiver can ignore a repetition."""
        text = "\n".join((*self.subject, self.state, self.mark or self.previous_mark, self.ref.uid))
        return hashlib.sha256(text.encode()).hexdigest()[:32]
