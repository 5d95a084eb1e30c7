"""The container's health check: ``GET /health`` with the standard library's sockets only, so that it starts quickly."""

import os
import socket
import sys

TIMEOUT_SECONDS = 2.0


def main() -> int:
    """0 when the process answers 200."""
    port = int(os.environ.get("PORT", "8000"))
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            status = connection.recv(64).split(b" ")[1:2]
    except OSError:
        return 1
    return 0 if status == [b"200"] else 1


if __name__ == "__main__":
    sys.exit(main())
