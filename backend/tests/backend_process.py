"""The real thing: ``python -m app`` as a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import httpx

from tests.postgres import free_port

FOLDER = Path(__file__).parents[1]
SECONDS = 20


class BackendProcess:
    """Runs the backend on a free port; its log is kept."""

    def __init__(self, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {**os.environ, "ENVIRONMENT": "dev", "PORT": str(self.port), **environment}
        self.log = ""
        self._told = False

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app"],
            cwd=FOLDER,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        limit = time.monotonic() + SECONDS
        while True:
            try:
                httpx.get(f"{self.url}/health").raise_for_status()
            except httpx.HTTPError:
                if time.monotonic() > limit or self.process.poll() is not None:
                    self.end()
                    raise RuntimeError(f"the backend does not start: {self.log}") from None
                time.sleep(0.05)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def terminate(self) -> None:
        self._told = True
        self.process.send_signal(signal.SIGTERM)

    def end(self) -> int:
        """Stop it if it still runs; its exit code. A second signal would end it at once, so it is told once."""
        if self.process.poll() is None and not self._told:
            self.terminate()
        out, _ = self.process.communicate(timeout=SECONDS)
        self.log += out or ""
        return self.process.returncode

    def log_entries(self) -> list[dict[str, Any]]:
        """The log, once it has ended: every line is JSON."""
        return [json.loads(line) for line in self.log.splitlines()]
