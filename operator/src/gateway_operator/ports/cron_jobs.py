"""The interface to the CronJobs of schedules. `cluster` documents the errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway_operator.domain.model.resources import Json


class CronJobs(Protocol):
    """CronJobs, and the ServiceAccount that their pods need. Every call may raise ClusterError."""

    async def read(self, namespace: str, name: str) -> Json | None: ...

    async def create(self, namespace: str, body: Json) -> Json:
        """Create a CronJob. ConflictError if the name is taken, InvalidError if the API server rejects it."""
        ...

    async def patch(self, namespace: str, name: str, patch: Json) -> Json:
        """Merge on top of the version that the patch names. ConflictError if there is a newer version."""
        ...

    async def delete(self, namespace: str, name: str, uid: str, resource_version: str) -> None:
        """Delete a CronJob with its Jobs, if it still has this uid and version.

        ConflictError if it has another one, MissingError if it does not exist.
        """
        ...

    async def jobs(self, namespace: str, schedule: str) -> Sequence[Json]:
        """The Jobs with the label of a schedule."""
        ...

    async def pods_of_job(self, namespace: str, uid: str) -> Sequence[Json]: ...

    async def events_about(self, namespace: str, uid: str) -> Sequence[Json]:
        """The events about the object with this uid."""
        ...

    async def has_account(self, namespace: str, name: str) -> bool:
        """Whether a ServiceAccount of this name exists."""
        ...
