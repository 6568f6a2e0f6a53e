"""Without its extra, each command names the extra in one sentence."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("command", "missing", "extra"),
    [
        ("from gateway_api.__main__ import main; main()", "pydantic_settings", "api"),
        ("from gateway_operator.main import main; main(['run'])", "kopf", "operator"),
        ("from gateway_operator.cli.main import main; main(['backup', 'list'])", "aiohttp", "cli"),
    ],
    ids=["gateway-admin", "gateway-operator", "kubectl-gateway"],
)
def test_command_without_its_extra_names_it(command: str, missing: str, extra: str) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None; {command.replace('main(', 'sys.exit(main(')})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].endswith(
        f"{missing} is not installed: pip install 'gateway-backup-operator[{extra}]'"
    )
    assert "Traceback" not in done.stderr
