"""Waits until an object is finished, with a watch that is started again after any error, or until the timeout."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from gateway_operator.adapters.custom_resources import custom_resource_path
from gateway_operator.cli.session import FailedError, NotInTimeError, Session
from gateway_operator.domain.model import conditions
from gateway_operator.domain.model.resources import Json
from gateway_operator.ports import ClusterError, ForbiddenError, MissingError

_MAX_WATCH: Final = 60.0
"""Seconds after which a watch is replaced and the object is read again, in case the watch delivers no events."""
_PAUSE: Final = 1.0


class ObjectWaiter:
    """Follows one object and prints each change of its phase or message to stderr."""

    def __init__(self, session: Session, kind: str, name: str, seconds: float) -> None:
        self._session = session
        self._kind = kind
        self._name = name
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._uid = ""
        self._last_message = ""

    async def wait(self, *, may_be_missing: bool = False) -> Json:
        """Return the object when it is finished. ``may_be_missing``: it may be created later.

        NotInTimeError at the timeout; FailedError if the object is deleted.
        """
        while True:
            body = await self._read(may_be_missing)
            if body is not None and self._is_finished(body):
                return body
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise NotInTimeError(
                    f"timed out after {self._seconds:.0f} s waiting for {self._kind} {self._name} "
                    f"({self._last_message or 'not found'}). The operation continues. To wait again: kubectl wait "
                    f"--for=condition=Finished {self._kind.lower()}/{self._name} -n {self._session.namespace}"
                )
            finished = await self._watch(body, min(left, _MAX_WATCH)) if body is not None else None
            if finished is not None:
                return finished
            await asyncio.sleep(min(_PAUSE, max(0.0, left)))

    async def _read(self, may_be_missing: bool) -> Json | None:
        try:
            return await self._session.get(self._kind, self._name)
        except MissingError:
            if self._uid or not may_be_missing:
                raise FailedError(f"{self._kind} {self._name} was deleted before it was finished") from None
            return None
        except ForbiddenError:
            raise
        except ClusterError as error:
            # The operation in the cluster continues, so the command waits until the API server answers again.
            self._report(f"waiting for the Kubernetes API: {error}")
            return None

    async def _watch(self, body: Json, seconds: float) -> Json | None:
        query = {
            "fieldSelector": f"metadata.name={self._name}",
            "resourceVersion": str(body["metadata"]["resourceVersion"]),
        }
        path = custom_resource_path(self._kind, self._session.namespace)
        try:
            async with asyncio.timeout(seconds):
                async for event in self._session.cluster.watch(path, query, seconds):
                    if event.get("type") == "MODIFIED" and self._is_finished(event["object"]):
                        return dict(event["object"])
                    # DELETED, or ERROR because the resourceVersion is too old: read the object again.
                    if event.get("type") not in ("ADDED", "MODIFIED", "BOOKMARK"):
                        return None
        except (ClusterError, TimeoutError):
            # The user may lack permission to watch, or the connection broke. Reading the object repeatedly is enough.
            return None
        return None

    def _is_finished(self, body: Json) -> bool:
        uid = str(body["metadata"]["uid"])
        if self._uid and self._uid != uid:
            raise FailedError(f"{self._kind} {self._name} was deleted, and another object of this name was created")
        self._uid = uid
        status = body.get("status") or {}
        message = ", ".join(str(status[key]) for key in ("phase", "message") if status.get(key))
        self._report(message or "Pending")
        return bool(conditions.condition_status(status.get("conditions") or (), conditions.FINISHED))

    def _report(self, message: str) -> None:
        if message != self._last_message:
            self._session.stderr(f"{self._kind} {self._name}: {message}")
        self._last_message = message


async def wait_until_completed(
    session: Session, kind: str, name: str, seconds: float, *, may_be_missing: bool = False
) -> Json:
    """Wait until the object is finished. FailedError if its phase is not Completed."""
    body = await ObjectWaiter(session, kind, name, seconds).wait(may_be_missing=may_be_missing)
    status = body.get("status") or {}
    if status.get("phase") != "Completed":
        raise FailedError(f"{kind} {name} is {status.get('phase')} ({status.get('reason')}): {status.get('message')}")
    return body
