"""The renewal of a gateway's certificate: no call fails meanwhile, and the admin API is not restarted."""

from __future__ import annotations

import base64
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway_operator.jobs.certificates import make
from gateway_operator.main import main
from tests.operator.support.real_gateway import tls_gateway
from tests.operator.support.workloads import Kube, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]
TLS_SECRET = "gw-admin-tls"


def _data(kube: Kube, secret: str) -> dict[str, str]:
    fields = kube.require("secret", secret)["data"]
    return {name: base64.b64decode(value).decode() for name, value in fields.items()}


def _create_old_certificate(kube: Kube, folder: Path, age: timedelta) -> None:
    bundle = make("gw", kube.namespace, datetime.now(UTC) - age)
    for name, text in (("tls.crt", bundle.certificate), ("tls.key", bundle.key), ("ca.crt", bundle.ca)):
        (folder / name).write_text(text)
    files = [f"--from-file={name}={folder / name}" for name in ("tls.crt", "tls.key", "ca.crt")]
    kube.kubectl("create", "secret", "generic", TLS_SECRET, *files)


def _served(host: str) -> str:
    return ssl.get_server_certificate((host, 8443)).strip()


def test_certificate_is_renewed_without_a_failed_call(kube: Kube, tmp_path: Path, kubeconfig_env: None) -> None:
    command = ["make-secrets", "--namespace", kube.namespace, "--workload", "gw"]
    command += ["--admin-secret", "gw-admin", "--tls-secret", TLS_SECRET]
    with tls_gateway(kube, tmp_path) as gateway:
        _create_old_certificate(kube, tmp_path, timedelta(days=300))
        old = _data(kube, TLS_SECRET)
        wait_for("the old certificate", lambda: _served(gateway.process.host) == old["tls.crt"].strip())
        kube.kubectl(
            "patch", "secret", "gw-admin", "--type=merge", "-p",
            f'{{"data": {{"ca.crt": "{base64.b64encode(old["ca.crt"].encode()).decode()}"}}}}',
        )  # fmt: skip
        assert gateway.process.process is not None
        pid = gateway.process.process.pid
        ended = threading.Event()
        names: list[str] = []

        def back_up() -> None:
            while not ended.is_set():
                names.append(f"b{len(names)}")
                kube.complete_backup(names[-1], retryLimit=0)

        backups = threading.Thread(target=back_up)
        backups.start()
        try:
            assert main([*command, "--renewal-pause-seconds=4"]) == 0
            new = _data(kube, TLS_SECRET)
            assert new["tls.crt"] != old["tls.crt"]
            assert _data(kube, "gw-admin")["ca.crt"] == new["ca.crt"]
            # The kubelet would update the mounted files.
            for name in ("tls.key", "tls.crt"):
                (tmp_path / name).write_text(new[name])
            wait_for("the new certificate", lambda: _served(gateway.process.host) == new["tls.crt"].strip())
            before = len(names)
            wait_for("backups with the new certificate", lambda: len(names) > before + 2)
        finally:
            ended.set()
            backups.join(60)
        assert all(kube.status("gwb", name)["phase"] == "Completed" for name in names[:-1])
        assert len(names) > 5
        assert gateway.process.process.pid == pid
        assert main([*command, "--renewal-pause-seconds=0"]) == 0
        assert _data(kube, TLS_SECRET) == new


@pytest.mark.parametrize("stops_after", ["the Secret of the certificate", "both Secrets"])
def test_renewal_that_stopped_in_between_begins_again(
    stops_after: str, kube: Kube, tmp_path: Path, kubeconfig_env: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _create_old_certificate(kube, tmp_path, timedelta(days=300))
    old = _data(kube, TLS_SECRET)
    command = ["make-secrets", "--namespace", kube.namespace, "--workload", "gw", "--tls-secret", TLS_SECRET]
    with_admin = [*command, "--admin-secret", "gw-admin", "--renewal-pause-seconds=0"]
    assert main([*command[:-2], "--admin-secret", "gw-admin"]) == 0

    async def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    step = "admin" if stops_after == "the Secret of the certificate" else "replace_certificate"
    with monkeypatch.context() as patch:
        patch.setattr(f"gateway_operator.jobs.make_secrets.SecretProvisioner.{step}", crash)
        with pytest.raises(KeyboardInterrupt):
            main(with_admin)
    between = _data(kube, TLS_SECRET)
    assert (between["tls.crt"], between["tls.key"]) == (old["tls.crt"], old["tls.key"])
    assert old["ca.crt"] in between["ca.crt"]
    assert main(with_admin) == 0
    new = _data(kube, TLS_SECRET)
    assert new["tls.crt"] != old["tls.crt"]
    assert _data(kube, "gw-admin")["ca.crt"] == new["ca.crt"]
    assert new["ca.crt"].count("BEGIN CERTIFICATE") == 2
    assert old["ca.crt"] in new["ca.crt"]
