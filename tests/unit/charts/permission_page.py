"""Reads the tables of docs/permissions.md: the one list that the charts and the audit log are compared with."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_PAGE = Path(__file__).resolve().parents[3] / "docs" / "permissions.md"
_HEADING = re.compile(r"^#{2,3} .*\(`(?P<role>[^`]+)`\)$")
_ROW = re.compile(
    r"^\| `(?P<resource>[\w./]+)` \| (?P<verbs>[\w, ]+) \| (?P<objects>all|by name) \| "
    r"(?P<why>.+) \| (?P<audited>yes|no) \|$"
)
_GATEWAY = "my-gateway"
OPERATOR_ROLES = ("gateway-backup-operator", "gateway-backup-operator-leader", "my-gateway-backup-operator")


@dataclass(frozen=True, order=True)
class Permission:
    """One verb on one resource. ``resource`` ends with its API group."""

    verb: str
    resource: str
    by_name: bool


def permissions_of(roles: Iterable[dict[str, Any]]) -> list[Permission]:
    """The rules of Roles, split into single permissions."""
    return [
        Permission(verb, ".".join(filter(None, (resource, group))), "resourceNames" in rule)
        for role in roles
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    ]


@cache
def documented() -> dict[str, dict[Permission, bool]]:
    """For each role of the page its permissions, and whether the audit log of the tests shows their use.

    ``{gateway}`` in a role's name is replaced by ``my-gateway``. A row that cannot be parsed, a row outside a section
    and a repeated permission are errors.
    """
    roles: dict[str, dict[Permission, bool]] = {}
    section: dict[Permission, bool] | None = None
    for line in _PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = _HEADING.match(line)
            section = roles.setdefault(heading["role"].replace("{gateway}", _GATEWAY), {}) if heading else None
        elif line.startswith("| `"):
            row = _ROW.match(line)
            assert row is not None, f"not a row of five columns: {line}"
            assert section is not None, f"a row outside a role's section: {line}"
            for verb in row["verbs"].split(", "):
                permission = Permission(verb, row["resource"], row["objects"] == "by name")
                assert permission not in section, f"{permission} is listed twice"
                section[permission] = row["audited"] == "yes"
    return roles


def audited(*roles: str) -> set[tuple[str, str]]:
    """The verbs and resources of roles whose use the audit log must show."""
    return {(one.verb, one.resource) for role in roles for one, used in documented()[role].items() if used}


def granted(*roles: str) -> set[tuple[str, str]]:
    """The verbs and resources of roles, used or not."""
    return {(one.verb, one.resource) for role in roles for one in documented().get(role, ())}
