"""``kubectl-gateway``: specs built from options and from a schedule's template, and rejected values."""

from __future__ import annotations

import argparse
import asyncio
from argparse import ArgumentTypeError
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_operator.cli import argument_types, backups, restore_diff, restores, session
from gateway_operator.cli.backups import new_backup
from gateway_operator.cli.options.commands import parser
from gateway_operator.cli.session import FailedError, NotInTimeError, Session, UsageError
from gateway_operator.domain.model.names import SCHEDULE_LABEL
from gateway_operator.domain.schedule.cronjob import Image, desired_cron_job
from gateway_operator.ports import ClusterError, ConflictError, ForbiddenError, InvalidError, MissingError
from tests.operator.support.kubectl_gateway import downward_api_value
from tests.unit.gateway_operator.schedule.test_decide import schedule

CRDS: Final = Path(__file__).parents[4] / "crds"
NOTES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)
TEMPLATES = st.fixed_dictionaries(
    {},
    optional={
        "ttl": st.sampled_from(["30d", "1w2d", "36h"]),
        "timeoutSeconds": st.integers(10, 86400),
        "retryLimit": st.integers(0, 20),
        "startingDeadlineSeconds": st.integers(1, 604800),
        "description": NOTES,
        "verification": st.fixed_dictionaries(
            {},
            optional={"level": st.sampled_from(["Stored", "Verified"]), "maxShrinkPercent": st.integers(0, 100)},
        ),
    },
)
GATEWAYS = st.one_of(
    st.just({"kind": "Deployment", "name": "gw", "ordinal": 0}),
    st.builds(lambda ordinal: {"kind": "StatefulSet", "name": "gw-2", "ordinal": ordinal}, st.integers(0, 9999)),
)


@settings(deadline=None)
@given(TEMPLATES, GATEWAYS)
def test_pod_creates_the_backup_of_the_template(template: dict[str, Any], gateway: dict[str, Any]) -> None:
    one = schedule(gatewayRef=gateway, backupTemplate=template)
    pod = desired_cron_job(one, Image("operator:1"))["spec"]["jobTemplate"]["spec"]["template"]
    pod["metadata"]["labels"] |= {
        "batch.kubernetes.io/job-name": "nightly-1",
        "batch.kubernetes.io/controller-uid": "j-1",
    }
    (container,) = pod["spec"]["containers"]
    assert not any("$" in word for word in container["args"])
    assert all(variable.keys() == {"name", "valueFrom"} for variable in container["env"])
    environment = {
        one["name"]: downward_api_value(pod, one["valueFrom"]["fieldRef"]["fieldPath"]) for one in container["env"]
    }
    parsed = parser().parse_args(container["args"])
    assert new_backup(parsed, environment) == {
        "metadata": {"name": "nightly-1-j-1", "labels": {SCHEDULE_LABEL: "nightly"}},
        "spec": {"gatewayRef": gateway, "group": "nightly", **template, "job": {"name": "nightly-1", "uid": "j-1"}},
    }
    assert parsed.wait
    assert parsed.timeout > template.get("timeoutSeconds", 600) + template.get("startingDeadlineSeconds", 300)


IN_JOB = {"JOB_NAME": "j", "JOB_UID": "u"}


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        (["--from-job", "--gateway=gw"], {}, "JOB_NAME and JOB_UID"),
        (["x", "--from-job", "--gateway=gw"], IN_JOB, "leave NAME out"),
        (["--from-job"], IN_JOB, "--gateway is required"),
        (["x"], {}, "--gateway is required"),
        (["--from-job"], {**IN_JOB, "GATEWAY_BACKUP_TEMPLATE": "{"}, "not the JSON"),
        (["--from-job"], {**IN_JOB, "GATEWAY_BACKUP_TEMPLATE": "[]"}, "not the JSON"),
        (["--from-job", "--gateway=gw"], {**IN_JOB, "GATEWAY_BACKUP_TEMPLATE": "{}"}, "leave --gateway out"),
    ],
)
def test_usage_errors_of_create(words: list[str], environment: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        new_backup(parser().parse_args(["backup", "create", *words]), environment)


def test_from_job_accepts_options_instead_of_a_template() -> None:
    body = new_backup(parser().parse_args(["backup", "create", "--from-job", "--gateway=gw", "--group=g"]), IN_JOB)
    assert body["metadata"] == {"name": "j-u"}
    assert body["spec"] == {
        "gatewayRef": {"kind": "Deployment", "name": "gw", "ordinal": 0},
        "group": "g",
        "job": {"name": "j", "uid": "u"},
    }


@pytest.mark.parametrize(
    ("read", "good", "bad"),
    [
        (argument_types.name, ["a", "a-b.c", "0"], ["", "A", "-a", "a_b", "x" * 64, "a/b", "ä", "a..b", "a.-b"]),
        (argument_types.positive, ["1", "960"], ["0", "-1", "1.5", "", "x", "٣"]),
        (argument_types.duration, ["30d", "1w2d", "36h"], ["", "1", "1 d", "1y", "-1d"]),
        (argument_types.since, ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00+02:00"], ["yesterday", "2026-01-31", ""]),
        (
            argument_types.policy,
            ["keepLast=7", "failed.maxAge=30d", "timeZone=UTC", "dryRun=true"],
            ["keepLast", "keepLast=x", "failed.keepDaily=1", "keepEver=1", "dryRun=yes", "maxAge=1", "=1"],
        ),
        (argument_types.text, ["x"], [""]),
        (argument_types.setting, ["a=1", "a.b=", "spec.a=x=y"], ["", "a", "=1", "a.=1", ".a=1", "spec.=1"]),
        (argument_types.digest, ["a" * 64, "A" * 64], ["", "a" * 63, "g" * 64]),
        (argument_types.secret_key, ["identity", "key.txt"], ["", "a/b", "x" * 254]),
        (argument_types.secret_name, ["x" * 253], ["", "A", "x" * 254, "AGE-SECRET-KEY-1X"]),
    ],
)
def test_option_types_accept_valid_and_reject_invalid_values(read: Any, good: list[str], bad: list[str]) -> None:
    for value in good:
        read(value)
    for value in bad:
        with pytest.raises(ArgumentTypeError):
            read(value)


WHERE = ["--gateway=gw", "--kind=StatefulSet", "--ordinal=1"]
CARE = ["--description=x", "--pin", "--verification=Stored"]
CARE += ["--timeout-seconds=60", "--retry-limit=1", "--starting-deadline-seconds=60"]
MADE = ["--ttl=30d", "--max-shrink-percent=10"]
RESTORE = ["--expected-sha256", "a" * 64, "--accept-unsigned", "--identity-secret=s", "--identity-key=k"]
RESTORE += ["--safety-backup=Skip", "--on-failure=Leave", "--restart=Never", "--health-timeout-seconds=60"]
RESTORE += ["--health-consecutive=2", "--timeout-seconds=60", "--starting-deadline-seconds=60", "--description=x"]


class _CreatedError(Exception):
    pass


class _Session:
    """Records the spec that a command would create."""

    async def create(self, _kind: object, body: dict[str, Any]) -> dict[str, Any]:
        self.spec = body["spec"]
        raise _CreatedError

    async def user_name(self) -> str:
        return "anna"


def _created(act: Any, words: list[str]) -> dict[str, Any]:
    session = _Session()
    with pytest.raises(_CreatedError):
        asyncio.run(act(session, parser().parse_args(words)))
    return dict(session.spec)


def _leaves(properties: dict[str, Any], at: str = "") -> Iterator[str]:
    """The paths of all fields of a spec."""
    for name, schema in properties.items():
        if schema.get("properties"):
            yield from _leaves(schema["properties"], f"{at}{name}.")
        else:
            yield at + name


def _field(spec: dict[str, Any], path: str) -> Any:
    for name in path.split("."):
        spec = spec[name]
    return spec


def _schema(plural: str) -> dict[str, Any]:
    crd = yaml.load((CRDS / f"mcpgateway.dev_{plural}.yaml").read_text(), yaml.CSafeLoader)
    properties: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    return dict(properties["spec"]["properties"])


@pytest.mark.parametrize(
    ("plural", "act", "words"),
    [
        ("gatewaybackups", backups.create, ["backup", "create", "x", "--group=g", *WHERE, *CARE, *MADE]),
        ("gatewaybackups", backups.adopt, ["backup", "adopt", "x", "--group=g", "--path=a", *WHERE, *CARE]),
        ("gatewaybackupimports", backups.import_, ["backup", "import", "x", "--under=a", "--dry-run", *WHERE]),
        ("gatewayrestores", restores.create, ["restore", "create", "x", "--latest", "--group=g", *WHERE, *RESTORE]),
    ],
)
def test_set_reaches_every_field_of_a_spec_and_changes_no_other(plural: str, act: Any, words: list[str]) -> None:
    by_options = _created(act, words)
    for leaf in _leaves(_schema(plural)):
        spec = _created(act, [*words, f'--set={leaf}={{"a": 1}}'])
        assert _field(spec, leaf) == {"a": 1}
        parent, _, last = leaf.rpartition(".")
        (_field(spec, parent) if parent else spec).pop(last)
        expected = _created(act, [*words, f"--set={leaf}=x"])
        (_field(expected, parent) if parent else expected).pop(last)
        assert spec == expected
    assert by_options == _created(act, words)


def test_options_set_the_fields_of_their_names() -> None:
    assert _created(backups.create, ["backup", "create", "x", "--group=g", *WHERE, *CARE, *MADE]) == {
        "gatewayRef": {"kind": "StatefulSet", "name": "gw", "ordinal": 1},
        "group": "g", "description": "x", "pinned": True, "ttl": "30d",
        "verification": {"level": "Stored", "maxShrinkPercent": 10},
        "timeoutSeconds": 60, "retryLimit": 1, "startingDeadlineSeconds": 60,
    }  # fmt: skip
    assert _created(restores.create, ["restore", "create", "x", "--latest", "--group=g", *WHERE, *RESTORE]) == {
        "gatewayRef": {"kind": "StatefulSet", "name": "gw", "ordinal": 1},
        "latest": {"group": "g"}, "expectedSha256": "a" * 64, "acceptUnsigned": True, "requestedBy": "anna",
        "identitySecretRef": {"name": "s", "key": "k"}, "safetyBackup": "Skip", "onFailure": "Leave",
        "restart": "Never", "healthCheck": {"timeoutSeconds": 60, "consecutive": 2},
        "timeoutSeconds": 60, "startingDeadlineSeconds": 60, "description": "x",
    }  # fmt: skip


def test_factory_reset_is_confirmed_by_its_option() -> None:
    words = ["restore", "create", "x", "--gateway=gw", "--factory-reset", "--rotate-admin-key", "--mode=DryRun"]
    spec = _created(restores.create, [*words, "--supersede", "--allow-other-gateway"])
    assert spec == {
        "gatewayRef": {"kind": "Deployment", "name": "gw", "ordinal": 0},
        "factoryReset": {"confirm": True, "rotateAdminKey": True},
        "mode": "DryRun", "supersede": True, "allowOtherGateway": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "NAME of a dry run"),
        (["x", "--gateway=gw", "--latest"], "not both"),
        (["--latest"], "NAME of a dry run"),
        (["--gateway=gw"], "give a source"),
    ],
)
def test_diff_needs_a_name_or_a_source(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        asyncio.run(restore_diff.diff(cast(Session, _Session()), parser().parse_args(["restore", "diff", *words])))


def test_restore_spec_contains_only_the_given_options() -> None:
    spec = _created(restores.create, ["restore", "create", "x", "--gateway=gw", "--backup=b"])
    gateway = {"kind": "Deployment", "name": "gw", "ordinal": 0}
    assert spec == {"gatewayRef": gateway, "backupName": "b", "requestedBy": "anna"}
    spec = _created(restores.create, ["restore", "create", "x", "--gateway=gw", "--backup=b", "--set=mode=DryRun"])
    assert spec == {"gatewayRef": gateway, "backupName": "b", "mode": "DryRun"}


@pytest.mark.parametrize("words", [["--accept-unsigned"], ["--identity-key=k"], ["--group=g"], ["--rotate-admin-key"]])
def test_restore_option_without_its_required_option_is_a_usage_error(words: list[str]) -> None:
    with pytest.raises(UsageError, match="requires"):
        asyncio.run(
            restores.create(
                cast(Session, _Session()),
                parser().parse_args(["restore", "create", "x", "--gateway=g", "--path=a", *words]),
            )
        )


def test_policy_is_built_from_its_rules() -> None:
    rules = [
        argument_types.policy(rule)
        for rule in ("keepLast=7", "failed.keepLast=2", "failed.maxAge=30d", "keepWithin=36h")
    ]
    assert argument_types.retention(rules) == {
        "keepLast": 7,
        "failed": {"keepLast": 2, "maxAge": "30d"},
        "keepWithin": "36h",
    }


def test_no_parser_accepts_abbreviated_options() -> None:
    def leaves(one: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
        inner = [action for action in one._actions if isinstance(action, argparse._SubParsersAction)]
        return [leaf for action in inner for choice in action.choices.values() for leaf in leaves(choice)] or [one]

    parsers = leaves(parser())
    assert len(parsers) >= 12
    assert all(not leaf.allow_abbrev for leaf in parsers), "--tim must not become --timeout-seconds one day"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FailedError("x"), 1),
        (UsageError("x"), 2),
        (NotInTimeError("x"), 3),
        # The Job of a schedule ends at the codes 1 and 2. At any other one it starts another pod.
        (ClusterError("the API server does not answer"), 4),
        *((kind("x"), 1) for kind in (ForbiddenError, InvalidError, MissingError, ConflictError)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_exit_code_says_whether_a_retry_makes_sense(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def connect(_: argparse.Namespace) -> AsyncIterator[Session]:
        yield cast(Session, None)

    async def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr(session, "_connect", connect)
    assert asyncio.run(session.run(fail, argparse.Namespace())) == code
