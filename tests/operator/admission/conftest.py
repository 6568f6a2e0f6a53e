"""One namespace for a module, with the policies of the chart and users with different permissions."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.cluster import Cluster
from tests.cluster.fixtures import create_namespace
from tests.operator.conftest import IMAGE
from tests.operator.support.admission import installed_policies
from tests.operator.support.callers import OUR_KINDS, Caller, grant_user, rule
from tests.operator.support.rbac import apply_operator_rbac, grant_gateway_role, service_account_name
from tests.operator.support.workloads import Kube

GROUP = "mcpgateway.dev"
ALL_KINDS = " ".join(OUR_KINDS)


@pytest.fixture(scope="module")
def team(cluster_with_crds: Cluster) -> Iterator[Kube]:
    """A namespace in which the policies act."""
    name = f"policies-{secrets.token_hex(3)}"
    create_namespace(cluster_with_crds, name)
    kube = Kube(cluster_with_crds, name)
    with installed_policies(kube, IMAGE):
        yield kube
    cluster_with_crds.rest.delete("namespace", "", name)


@pytest.fixture(scope="module")
def writer(team: Kube) -> Caller:
    """A user with the role `edit` without its delete verbs."""
    return grant_user(team, "writer", rule(GROUP, ALL_KINDS, "get list watch create update patch"))


@pytest.fixture(scope="module")
def deleter(team: Kube) -> Caller:
    """A user with the role `edit`."""
    verbs = "get list watch create update patch delete deletecollection"
    return grant_user(team, "deleter", rule(GROUP, ALL_KINDS, verbs))


@pytest.fixture(scope="module")
def operator_account(team: Kube) -> Iterator[Caller]:
    """The operator's ServiceAccount with the roles of both charts, schedules included."""
    objects = apply_operator_rbac(team)
    account = service_account_name(objects)
    grant_gateway_role(team, account, "operator.rbac.cronJobs=true")
    yield Caller.account(team, account)
    for one in objects:
        if one["kind"].startswith("Cluster"):
            team.kubectl("delete", one["kind"], one["metadata"]["name"], check=False)
