"""The Secret of the notifications is mounted into the operator, and chart, page and code have the same topics."""

import json
import re

import pytest

from gateway_operator.adapters.notifications.webhooks import AUTHORIZATION_FILE, CA_FILE, PROXY_FILE, URL_SUFFIX
from gateway_operator.domain.notifications.notification import Topic
from gateway_operator.main import parser
from gateway_operator.ports.notifications import RECEIVERS
from gateway_operator.settings import from_command_line
from tests.unit.charts.render import CHARTS, ROOT, Object, render

PAGE = (ROOT / "docs" / "notifications.md").read_text()


def deployment(values: Object) -> Object:
    (one,) = [body for body in render("operator", values) if body["kind"] == "Deployment"]
    spec: Object = one["spec"]["template"]["spec"]
    return spec


def test_operator_gets_the_secret_only_where_values_name_it() -> None:
    assert "notifications" not in json.dumps(deployment({}))
    spec = deployment({"notifications": {"secretName": "n", "topics": ["BackupFailed"], "clusterName": "east"}})
    container = spec["containers"][0]
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "notifications"]
    (volume,) = [one for one in spec["volumes"] if one["name"] == "notifications"]
    assert mount["readOnly"] is True
    # Backups must not depend on the receivers, so the pod also starts without the Secret.
    assert volume["secret"] == {"secretName": "n", "optional": True, "defaultMode": 0o440}
    environment = {one["name"]: one.get("value", "") for one in container["env"]}
    settings = from_command_line(parser().parse_args(["run"]), environment)
    assert settings.notifications == mount["mountPath"]
    assert settings.notification_topics == (Topic.BackupFailed,)
    assert settings.cluster_name == "east"


def test_chart_and_page_list_each_topic() -> None:
    schema = json.loads((CHARTS["operator"] / "values.schema.json").read_text())
    assert schema["properties"]["notifications"]["properties"]["topics"]["items"]["enum"] == list(Topic)
    section = PAGE.split("## Topics")[1].split("## Messages")[0]
    assert re.findall(r"^\| `(\w+)`", section, re.MULTILINE) == list(Topic)


def test_page_lists_each_key_of_the_secret() -> None:
    section = PAGE.split("## Set it up")[1].split("## Topics")[0]
    keys = [*(f"{name}{URL_SUFFIX}" for name in RECEIVERS), AUTHORIZATION_FILE, CA_FILE, PROXY_FILE]
    assert re.findall(r"^\s*\| `([\w.-]+)`", section, re.MULTILINE) == keys


def test_unknown_topic_is_an_error_at_the_start() -> None:
    with pytest.raises(ValueError, match="Nonsense"):
        from_command_line(parser().parse_args(["run"]), {"GATEWAY_OPERATOR_NOTIFICATION_TOPICS": "Nonsense"})
