"""The real operator process is killed at each phase boundary of a restore, and started again.

Each restore goes on where it was: the config is replaced once, and the result is that of a restore without a crash.
The crashes inside a phase are enumerated in this process (`test_crash_after_each_call`) and in the simulation.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.real_gateway import RealGateway
from tests.operator.support.workloads import Kube, wait_for

pytestmark = pytest.mark.cluster
COMMITTED = ("validating", "safetybackup", "restoring", "finalizer", "call-restore", "restarting", "healthcheck",
             "call-commit", "completed", "release")  # fmt: skip
ROLLED_BACK = ("rollingback", "call-rollback", "rolledback")
LIMIT = 40


class MortalOperator:
    """An operator that is started again whenever it was killed."""

    def __init__(self, process: OperatorProcess) -> None:
        self._process = process

    def revive(self) -> bool:
        """Start the operator if it does not run. Returns whether it did not."""
        if not self._process.has_ended():
            return False
        self._process.kill()
        self._process.start()
        return True

    def run_to_end(self, kube: Kube, name: str) -> str:
        """Wait until the restore is finished and released. Returns its phase."""

        def is_finished() -> str:
            self.revive()
            body = kube.require("gwr", name)
            status = body.get("status") or {}
            return str(status["phase"]) if status.get("completionTime") and "finalizers" not in body["metadata"] else ""

        return str(wait_for(f"the end of {name}", is_finished, LIMIT))


@pytest.fixture
def mortal(kube: Kube, tmp_path: Path) -> Iterator[MortalOperator]:
    (tmp_path / "deaths").mkdir()
    with OperatorProcess(
        kube.cluster,
        tmp_path / "operator.log",
        kube.namespace,
        environment={"DEATHS": str(tmp_path / "deaths")},
        module="tests.operator.support.dying_operator",
    ) as process:
        yield MortalOperator(process)


def test_restore_survives_sigkill_at_each_phase_boundary(
    kube: Kube, gw: RealGateway, mortal: MortalOperator, tmp_path: Path
) -> None:
    kube.complete_backup("good")
    gw.write_config(users=5)
    before = gw.config.read_bytes()
    for point in (*COMMITTED, *ROLLED_BACK):
        gw.config.write_bytes(before)
        gw.gateway.set_pod_ready(gateway=point in COMMITTED)
        name = f"after-{point}"
        check = {"timeoutSeconds": 5 if point in ROLLED_BACK else 30, "consecutive": 1}
        kube.apply_restore(name, backupName="good", restart="Never", healthCheck=check)
        phase = mortal.run_to_end(kube, name)
        assert (tmp_path / "deaths" / name).exists(), f"{name} was not killed"
        status = kube.status("gwr", name)
        if point in COMMITTED:
            assert (phase, gw.count_users()) == ("Completed", 2), (name, status)
        else:
            assert (phase, gw.config.read_bytes()) == ("RolledBack", before), (name, status)
        expected = "committed" if point in COMMITTED else "rolled_back"
        assert gw.get_restore(status["requestID"])["data"]["state"] == expected
        safety = kube.items("gwb", labels=f"mcpgateway.dev/restore={name}")
        assert [one["status"]["counts"]["users"] for one in safety] == [5], name


def is_deleted(kube: Kube, name: str) -> bool:
    return kube.get("gwr", name) is None


def test_deletion_survives_sigkill(kube: Kube, gw: RealGateway, mortal: MortalOperator) -> None:
    """The operator is killed while it rolls a deleted restore back."""
    kube.complete_backup("good")
    gw.write_config(users=5)
    before = gw.config.read_bytes()
    for point in ("rollingback", "call-rollback", "rolledback"):
        name = f"after-{point}"
        slow = {"timeoutSeconds": 120, "consecutive": 20}
        kube.apply_restore(name, backupName="good", restart="Never", healthCheck=slow)
        kube.wait_phase("gwr", name, "HealthCheck")
        kube.kubectl("delete", "gwr", name, "--wait=false")
        wait_for(f"the death at {point}", mortal.revive, LIMIT)
        wait_for(f"{name} is deleted", partial(is_deleted, kube, name), LIMIT)
        assert gw.config.read_bytes() == before, name
