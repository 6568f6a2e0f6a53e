"""Fixtures of the restore tests."""

from __future__ import annotations

import pytest

from tests.operator.support.kubectl_gateway import KubectlGateway
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.real_gateway import RealGateway
from tests.operator.support.workloads import Kube


@pytest.fixture
def cli(kube: Kube) -> KubectlGateway:
    """``kubectl-gateway`` with the permissions of cluster-admin."""
    return KubectlGateway.as_admin(kube)


@pytest.fixture
def backed_up(kube: Kube, gw: RealGateway, operator: OperatorProcess) -> RealGateway:
    """The gateway with the backup `good` of two users. The live config has five users afterwards."""
    kube.complete_backup("good")
    gw.write_config(users=5)
    return gw
