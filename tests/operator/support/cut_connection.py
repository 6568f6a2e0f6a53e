"""A TCP proxy to the API server that a test can cut: packets are then lost in both directions, as on a broken network.

A cut connection is not closed. Bytes that were sent before or during the cut arrive when it is healed.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from urllib.parse import urlsplit

import yaml


class CuttableConnection:
    """The proxy in a thread with its own event loop. Use as a context manager."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self._config = yaml.safe_load(kubeconfig.read_text())
        address = urlsplit(self._config["clusters"][0]["cluster"]["server"])
        assert address.hostname is not None
        self._target = address.hostname, address.port or 443
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.kubeconfig = folder / "kubeconfig-proxy"
        """A kubeconfig that connects through the proxy."""

    def __enter__(self) -> CuttableConnection:
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self._server = starting.result(10)
        port = self._server.sockets[0].getsockname()[1]
        cluster = self._config["clusters"][0]["cluster"]
        cluster["server"], cluster["tls-server-name"] = f"https://127.0.0.1:{port}", self._target[0]
        self.kubeconfig.write_text(yaml.safe_dump(self._config))
        self.heal()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        pumps = asyncio.all_tasks() - {asyncio.current_task()}
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)

    def cut(self) -> None:
        self._loop.call_soon_threadsafe(self._open.clear)

    def heal(self) -> None:
        self._loop.call_soon_threadsafe(self._open.set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
