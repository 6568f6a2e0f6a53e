"""``python -m tests.bench.operator.admin_api_stubs HOST...`` serves one scripted admin API per address in one process.

Each answers a backup after 20 ms, to simulate the work, and all other requests immediately. ``GET /made`` returns the
number of its backups.
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web

from tests.operator.support.scripted_admin_api import ScriptedAdminApi

WORK_SECONDS = 0.02


async def _serve(hosts: list[str]) -> None:
    runners = []
    for host in hosts:
        admin = ScriptedAdminApi(host)
        admin.backup_seconds = WORK_SECONDS
        runner = web.AppRunner(_with_count(admin), access_log=None, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, host, admin.port).start()
        runners.append(runner)
    print("ready", flush=True)
    await asyncio.Event().wait()


def _with_count(admin: ScriptedAdminApi) -> web.Application:
    async def made(_: web.Request) -> web.Response:
        return web.json_response(len(admin.backups))

    app = admin.build_app()
    app.router.add_get("/made", made)
    return app


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1:]))
