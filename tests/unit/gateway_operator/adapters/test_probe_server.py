"""The probe answers over IPv4 and IPv6, and says why the operator must be restarted."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import kopf
import pytest
from kubernetes.aio.client.configuration import Configuration

from gateway_operator.adapters.kubernetes_api import CLI_AGENT, OPERATOR_AGENT, new_client
from gateway_operator.adapters.monitoring.probe_server import listening_socket, serve_probes
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.handlers.leader_work import LeaderProcess, LeaderWork
from gateway_operator.handlers.lifecycle import liveness_problem
from gateway_operator.reconcile.watch_check import WatchCheck
from gateway_operator.settings import OperatorSettings


async def answer(host: str, port: int) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}/healthz") as response:
        return response.status, await response.text()


async def test_probe_answers_on_every_kind_of_node() -> None:
    problem = ""
    listening = listening_socket(":0")
    port = listening.getsockname()[1]
    runner = await serve_probes(listening, lambda: problem)
    try:
        assert await answer("127.0.0.1", port) == (200, "ok")
        if socket.has_dualstack_ipv6():
            assert await answer("[::1]", port) == (200, "ok")
        problem = "No watch event was received."
        assert await answer("127.0.0.1", port) == (503, problem)
    finally:
        await runner.cleanup()


async def test_probe_answers_on_an_ipv4_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    listening = listening_socket(":0")
    assert listening.family == socket.AF_INET
    listening.close()


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0"])
def test_probe_listens_only_on_a_given_host(address: str) -> None:
    if ":1]" in address and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    listening = listening_socket(address)
    assert listening.getsockname()[0] == address.rpartition(":")[0].strip("[]")
    listening.close()


async def test_operator_without_watch_events_or_election_is_not_alive() -> None:
    memo = kopf.Memo()
    assert liveness_problem(memo) == ""
    check = WatchCheck({})
    work = LeaderWork(None, OperatorSettings(), None, None, check)  # type: ignore[arg-type]
    memo.leader = LeaderProcess(work)
    assert liveness_problem(memo) == ""
    check.missed.append(Ref("GatewayBackup", "prod", "b", "u"))
    assert "prod/b" in liveness_problem(memo)
    memo.leader._task = asyncio.create_task(asyncio.sleep(0))
    await memo.leader._task
    assert "election" in liveness_problem(memo)


async def test_user_agents_name_the_program() -> None:
    for agent in (OPERATOR_AGENT, CLI_AGENT):
        client = new_client(Configuration(), agent)
        assert client.default_headers["User-Agent"] == agent
        await client.close()  # type: ignore[no-untyped-call]
