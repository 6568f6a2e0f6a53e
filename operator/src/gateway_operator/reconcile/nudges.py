"""Looking again at what may have changed: soon, once for many reasons, and never twice at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from gateway_operator.domain.objects import NamespacedName
from gateway_operator.reconcile.writing import Log

_PAUSE: Final = 0.5


class Nudges:
    """Whatever happens to an object's surroundings within half a second is one reason to look at it."""

    def __init__(self, act: Callable[[NamespacedName], Awaitable[None]], log: Log, pause: float = _PAUSE) -> None:
        self._act = act
        self._log = log
        self._pause = pause
        self._known: set[NamespacedName] = set()
        self._again: set[NamespacedName] = set()
        self._tasks: dict[NamespacedName, asyncio.Task[None]] = {}

    def know(self, key: NamespacedName) -> None:
        """There is such an object: from now on it can be nudged."""
        self._known.add(key)

    def forget(self, key: NamespacedName) -> None:
        """It is gone."""
        self._known.discard(key)

    def nudge(self, key: NamespacedName) -> None:
        """Look at it soon. Nothing happens for an object that there is not."""
        if key not in self._known:
            return
        if key in self._tasks:
            self._again.add(key)
            return
        self._tasks[key] = asyncio.create_task(self._run(key), name=f"look at {key.namespace}/{key.name}")

    def nudge_all(self) -> None:
        """Look at all of them: what no event tells of."""
        for key in list(self._known):
            self.nudge(key)

    async def stop(self) -> None:
        """End what is running."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, key: NamespacedName) -> None:
        try:
            await asyncio.sleep(self._pause)
            self._again.discard(key)
            await self._act(key)
        except Exception as error:  # one object's trouble must not end the looking; the next sweep tries again
            self._log.warning("%s/%s could not be looked at: %s", *key, error)
        finally:
            del self._tasks[key]
            if key in self._again:
                self._again.discard(key)
                self.nudge(key)
