"""Grounds on which a request comes a second time: after it was done, and after a kill in its midst.

The second time every call is struck as well: a replay must not do the thing twice because the disk hid the first, and a
recovery that is itself cut short must be taken up again. And grounds on which a worker does every reading.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.api.fault_injection.run_scenario import Round
from tests.api.fault_injection.scenarios import KEY, Ground, age, prepare
from tests.api.fault_injection.syscalls import KILL, Blow, Point
from tests.api.support.fork_server import Nursery, copy

AGAIN: Final = "+again"
HALF: Final = "+half"
WORKER: Final = "+worker"
REPEATED: Final = ("backup", "replace", "delete", "restore", "upload", "rollback", "sealed")
CUT_SHORT: Final = ("backup", "replace", "delete", "restore", "cure", "upload", "commit", "rollback")
BY_WORKERS: Final = ("backup", "sealed", "restore")
NAMES: Final = (
    *(name + AGAIN for name in REPEATED),
    *(name + HALF for name in CUT_SHORT),
    *(name + WORKER for name in BY_WORKERS),
)


def prepare_all(nursery: Nursery, folder: Path) -> dict[str, Ground]:
    """The grounds of all first tries, and of these."""
    grounds = prepare(nursery, folder)
    for name in REPEATED:
        grounds[name + AGAIN] = _done(nursery, grounds[name], folder / f"{name}-again")
    for name in CUT_SHORT:
        grounds[name + HALF] = _half(nursery, name, grounds[name], folder / f"{name}-half")
    for name in BY_WORKERS:
        settings = {**grounds[name].settings, "worker_above_bytes": 0}
        grounds[name + WORKER] = replace(grounds[name], settings=settings)
    age(folder)
    return grounds


def _done(nursery: Nursery, ground: Ground, folder: Path) -> Ground:
    config, backups = copy(ground.folder, folder)
    with nursery.server(config, backups, KEY, **ground.settings) as client:
        answer = ground.send(client)
        assert answer.status_code == 200, answer.text
    return replace(ground, folder=folder, original=ground.before)


def _half(nursery: Nursery, name: str, ground: Ground, folder: Path) -> Ground:
    """Killed at the last rename or link: as much as possible has been begun."""
    begun = Round(name, ground, nursery, folder)
    folder.mkdir()
    last = [point for point in begun.points_of_fresh() if _names(point)][-1]
    begun.leave(Blow(last, KILL))
    return replace(ground, folder=folder / "pair", original=ground.before)


def _names(point: Point) -> bool:
    return point.call.startswith(("rename", "link"))
