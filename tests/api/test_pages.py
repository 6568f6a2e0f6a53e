"""The commands of the pages about the admin API, run by a reader with a config and no cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.support.admin_process import free_port
from tests.api.support.gateway_dirs import GatewayDirs
from tests.api.support.requirements import require_programs
from tests.api.support.responses import wait_for_recovery
from tests.node.page_commands import PageReader
from tests.node.pages import ADMIN_API, SECURITY
from tests.node.shell import Shell

pytestmark = pytest.mark.api


@pytest.fixture
def shell(tmp_path: Path, dirs: GatewayDirs) -> Iterator[Shell]:
    """A terminal in the home folder of a person whose config is where the gateway looks for it."""
    require_programs("age-keygen", "curl", "jq", "openssl", "zstd")
    (tmp_path / ".enkrypt").mkdir()
    dirs.config.rename(tmp_path / ".enkrypt" / "enkrypt_mcp_config.json")
    (tmp_path / "gateway-backups").mkdir()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with Shell({**os.environ, "HOME": str(tmp_path), "PATH": path}, tmp_path) as shell:
        yield shell


def test_reader_backs_up_encrypts_restores_and_checks_without_the_server(shell: Shell, dirs: GatewayDirs) -> None:
    port = free_port()
    own_address = {"gateway-admin serve": f"gateway-admin serve --port {port}", "localhost:8001": f"localhost:{port}"}
    admin_api = PageReader(ADMIN_API, shell, own_address)

    def wait_for_start() -> None:
        transport = httpx.HTTPTransport(retries=8)  # with backoff: for a minute
        headers = {"Authorization": f"Bearer {dirs.key}"}
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(transport=transport, base_url=url, headers=headers, timeout=60) as client:
            wait_for_recovery(client)

    admin_api.run("serve")
    wait_for_start()
    assert '"level":"Verified"' in admin_api.run("first backup")
    admin_api.run("encryption")
    wait_for_start()
    assert '"proof":"payload"' in admin_api.run("encrypted backup")
    assert '"state":"applied"' in admin_api.run("restore")
    assert "intact" in admin_api.run("audit")
    assert shell.run("kill $! && wait $!")[0] == 0
    signing_key = ".enkrypt/.gateway/signing_key.pem"
    security = PageReader(SECURITY, shell, {"NAME": "gateway-backups/manual/daily", "signing_key.pem": signing_key})
    stored, stored_in_manifest, content, content_in_manifest, projects = security.run("open a backup").splitlines()
    assert (stored.split()[0], content.split()[0]) == (stored_in_manifest, content_in_manifest)
    assert int(projects) == 2
    key_id, verified = security.run("signature").splitlines()
    assert verified == "Signature Verified Successfully"
    assert key_id in shell.run("cat gateway-backups/manual/daily.json.zst.age.manifest")[1]
