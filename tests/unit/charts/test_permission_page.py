"""docs/permissions.md lists exactly the permissions that the charts grant, each with a reason."""

import pytest

from tests.unit.charts.permission_page import Permission, documented, permissions_of
from tests.unit.charts.render import Object, of_kind, render

EVERYTHING: dict[str, tuple[str, Object]] = {
    "operator": ("operator", {}),
    "operator, Role-only": ("operator", {"watchNamespaces": ["team-b"]}),
    "gateway": ("gateway", {"schedule": {"enabled": True}, "restore": {"drills": True}}),
}
# The page describes the Roles of Role-only mode in the section of the ClusterRole with the same rules.
_SAME_SECTION = {"gateway-backup-operator-release-objects": "gateway-backup-operator-release"}


def roles(variant: str) -> dict[str, list[Object]]:
    """The roles of a chart, by the name of their section on the page."""
    objects = render(*EVERYTHING[variant])
    found: dict[str, list[Object]] = {}
    for role in [*of_kind(objects, "ClusterRole"), *of_kind(objects, "Role")]:
        name = role["metadata"]["name"]
        found.setdefault(_SAME_SECTION.get(name, name), []).append(role)
    return found


@pytest.mark.parametrize("variant", ["operator", "gateway"])
def test_page_lists_exactly_the_permissions_of_the_charts(variant: str) -> None:
    for name, found in roles(variant).items():
        rendered = permissions_of(found)
        assert sorted(rendered) == sorted(set(rendered)), f"{name} grants a permission twice"
        assert set(rendered) == documented()[name].keys(), name


def test_each_section_of_the_page_is_a_role_of_the_charts() -> None:
    assert documented().keys() == {*roles("operator"), *roles("gateway")}


def test_role_only_mode_grants_no_more_than_the_page_lists() -> None:
    for name, found in roles("operator, Role-only").items():
        missing = documented()[name].keys() - set(permissions_of(found))
        assert set(permissions_of(found)) <= documented()[name].keys(), name
        # A Role cannot grant access to objects that are in no namespace.
        cluster_scoped = {one for one in missing if one.resource.endswith(".admissionregistration.k8s.io")}
        assert missing - cluster_scoped <= {Permission("get", "persistentvolumes", by_name=False)}, name


def test_no_role_has_a_wildcard_or_a_verb_that_grants_more_permissions() -> None:
    dangerous = {"*", "escalate", "bind", "impersonate", "approve", "sign"}
    for role in documented().values():
        for one in role:
            assert not dangerous & {one.verb, *one.resource.split("/"), *one.resource.split(".")}, one
            assert not one.resource.startswith(("pods/", "nodes", "serviceaccounts/")), one
