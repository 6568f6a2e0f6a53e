"""Asks for `/health` over one connection, as fast as it can or at a pace, until its standard input is closed; then
prints when it asked and how long each answer took. A process of its own: what it measures is the server's time."""

from __future__ import annotations

import json
import select
import socket
import sys
import time


def main() -> None:
    """Arguments: host, port, seconds between two questions (0: closed loop)."""
    host, port, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    request = f"GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    asked: list[float] = []
    took: list[float] = []
    with socket.create_connection((host, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not select.select([sys.stdin], [], [], 0)[0]:
            began = time.monotonic()
            connection.sendall(request)
            while b"timestamp" not in connection.recv(65536):
                continue
            asked.append(began)
            took.append(time.monotonic() - began)
            if pause:
                time.sleep(pause)
    print(json.dumps({"asked": asked, "took": took}))


if __name__ == "__main__":
    main()
