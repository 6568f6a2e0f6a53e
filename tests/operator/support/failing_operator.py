"""Runs the operator with adapters that raise unexpected exceptions at chosen calls.

``python -m tests.operator.support.failing_operator run …`` takes the arguments of the operator. The environment
variable FAILING_CALLS names a file with rules as JSON, which is read at each call. So a test can change the rules.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from gateway_operator.adapters.admin_api import HttpAdminApi
from gateway_operator.adapters.cluster import KubernetesCluster
from gateway_operator.adapters.objects.cron_jobs import KubernetesCronJobs
from gateway_operator.main import main

FILE = "FAILING_CALLS"
SECRET = "s3cret-text-of-an-exception"
"""The text of each exception. It may be in the log, and must be in no object."""


class InjectedError(Exception):
    """An exception that no code expects."""


class Rules:
    """Raises at a call whose method a rule names and whose arguments contain its text, at most `times` times."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._raised: Counter[str] = Counter()

    def apply(self, method: str, arguments: object) -> None:
        text = repr(arguments)
        for one in json.loads(self._file.read_text()):
            key = json.dumps(one)
            if one["method"] == method and one["text"] in text and self._raised[key] < one["times"]:
                self._raised[key] += 1
                raise InjectedError(SECRET)


def install(rules: Rules) -> None:
    """Wrap the public methods of the adapters."""
    for adapter in (KubernetesCluster, HttpAdminApi, KubernetesCronJobs):
        for name, method in inspect.getmembers(adapter, _is_call):
            if not name.startswith("_") and name not in ("close", "request"):
                setattr(adapter, name, _wrapped(rules, name, method))


def _is_call(member: object) -> bool:
    # A class method is no function here.
    return inspect.isfunction(member) and inspect.iscoroutinefunction(member)


def _wrapped(rules: Rules, name: str, method: Any) -> Any:
    async def call(self: Any, *arguments: Any, **options: Any) -> Any:
        rules.apply(name, (arguments, options))
        return await method(self, *arguments, **options)

    return call


if __name__ == "__main__":
    install(Rules(Path(os.environ[FILE])))
    sys.exit(main())
