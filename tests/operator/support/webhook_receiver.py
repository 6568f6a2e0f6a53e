"""A receiver of webhooks: a real HTTP server whose answers the test controls."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SECRET_PATH = "services/T0/B0/s3cr3t-path"
SECRET_TOKEN = "s3cr3t-token"


@dataclass
class WebhookReceiver:
    """The requests that were accepted, by receiver. ``refusals`` are the next answers to the generic webhook."""

    port: int = 0
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    slack_may_answer: threading.Event = field(default_factory=threading.Event)
    accepted: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {"slack": [], "webhook": []})
    refused: list[int] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)

    def write_secret(self, folder: Path) -> None:
        """Write the files as the kubelet mounts the Secret."""
        for name in self.accepted:
            (folder / f"{name}-url").write_text(f"http://127.0.0.1:{self.port}/{name}/{SECRET_PATH}")
        (folder / "webhook-authorization").write_text(f"Bearer {SECRET_TOKEN}")

    @property
    def names(self) -> list[str]:
        """The objects of the notifications that the generic webhook has accepted."""
        return [one["name"] for body in self.accepted["webhook"] for one in body["notifications"]]

    @property
    def slack_text(self) -> str:
        return "\n".join(body["text"] for body in self.accepted["slack"])

    def answer(self, name: str, token: str | None, body: dict[str, Any]) -> tuple[int, dict[str, str]]:
        """The answer to one request. A request to Slack waits until it may be answered."""
        if name == "slack":
            self.slack_may_answer.wait(60)
        else:
            self.tokens.add(token)
            if self.refusals:
                self.refused.append(self.refusals[0][0])
                return self.refusals.pop(0)
        self.accepted[name].append(body)
        return 200, {}


@contextmanager
def webhook_receiver() -> Iterator[WebhookReceiver]:
    """Start the server on a free port of the loopback address."""
    receiver = WebhookReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name, _, path = self.path[1:].partition("/")
            assert path == SECRET_PATH
            status, headers = receiver.answer(name, self.headers["Authorization"], body)
            try:
                self.send_response(status)
                for key, value in {**headers, "Content-Length": "0"}.items():
                    self.send_header(key, value)
                self.end_headers()
            except OSError:
                pass  # the operator has closed the connection, because it has waited long enough

        def log_message(self, *_: object) -> None:
            """Write nothing into the test's output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.slack_may_answer.set()
        server.shutdown()
        server.server_close()
        thread.join()
