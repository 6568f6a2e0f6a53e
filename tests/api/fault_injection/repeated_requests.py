"""Scenarios in which the request under test was sent before, and scenarios in which a worker parses the config.

A repeated request is sent after it succeeded (`+repeated`) or after a kill in the middle of it (`+interrupted`). A
replay must not run the operation twice because a disk error hid the first result. An interrupted recovery must be
resumed by the next start. In `+worker` scenarios a separate process parses every config.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.api.fault_injection.run_scenario import ScenarioRunner
from tests.api.fault_injection.scenarios import KEY, Scenario, backdate_configs, prepare_scenarios
from tests.api.fault_injection.syscalls import KILL, Fault, InjectionPoint
from tests.api.support.fork_server import ForkServer, copy

AFTER_SUCCESS: Final = "+repeated"
AFTER_KILL: Final = "+interrupted"
WORKER: Final = "+worker"
REPEATED: Final = ("backup", "replace", "delete", "restore", "upload", "rollback", "encrypted")
INTERRUPTED: Final = (
    *("backup", "replace", "delete", "restore", "restore_over_invalid", "upload", "commit", "rollback"),
    *("restore_unsaved", "commit_unsaved", "rollback_changed", "save_previous"),
)
PARSED_IN_WORKER: Final = ("backup", "encrypted", "restore")
NAMES: Final = (
    *(name + AFTER_SUCCESS for name in REPEATED),
    *(name + AFTER_KILL for name in INTERRUPTED),
    *(name + WORKER for name in PARSED_IN_WORKER),
)


def prepare_all_scenarios(fork_server: ForkServer, folder: Path) -> dict[str, Scenario]:
    """The scenarios of first requests, of repeated requests and of workers, by name."""
    scenarios = prepare_scenarios(fork_server, folder)
    for name in REPEATED:
        scenarios[name + AFTER_SUCCESS] = _prepare_repeated(fork_server, scenarios[name], folder / f"{name}-repeated")
    for name in INTERRUPTED:
        target = folder / f"{name}-interrupted"
        scenarios[name + AFTER_KILL] = _prepare_interrupted(fork_server, name, scenarios[name], target)
    for name in PARSED_IN_WORKER:
        settings = {**scenarios[name].settings, "worker_above_bytes": 0}
        scenarios[name + WORKER] = replace(scenarios[name], settings=settings)
    backdate_configs(folder)
    return scenarios


def _prepare_repeated(fork_server: ForkServer, scenario: Scenario, folder: Path) -> Scenario:
    config, backups = copy(scenario.folder, folder)
    with fork_server.server(config, backups, KEY, **scenario.settings) as client:
        answer = scenario.send(client)
        assert answer.status_code == 200, answer.text
    return replace(scenario, folder=folder, original=scenario.original_config)


def _prepare_interrupted(fork_server: ForkServer, name: str, scenario: Scenario, folder: Path) -> Scenario:
    """Kills the server at the last rename or link of the request, where most of the operation has been written."""
    runner = ScenarioRunner(name, scenario, fork_server, folder)
    folder.mkdir()
    last = [point for point in runner.points_of_new_server() if _publishes_name(point)][-1]
    runner.kill_and_keep(Fault(last, KILL))
    return replace(scenario, folder=folder / "directories", original=scenario.original_config)


def _publishes_name(point: InjectionPoint) -> bool:
    return point.call.startswith(("rename", "link"))
