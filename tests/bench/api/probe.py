"""Requests `/health` over one connection until its standard input is closed, then prints all times as JSON.

Requests follow each other immediately or with a pause. It is a separate process, so that the bench's own work does not
delay the requests.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time


def main() -> None:
    """Arguments: host, port, seconds between two requests (0: closed loop)."""
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
