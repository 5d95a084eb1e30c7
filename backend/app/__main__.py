"""``python -m app``: serve until SIGTERM, then drain, let open requests end, and stop."""

import asyncio
import logging
import signal
import sys
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.config import Settings, SettingsError, load_settings
from app.logs import configure_logging
from app.main import create_app

log = logging.getLogger(__name__)

EXIT_BAD_SETTINGS = 78  # EX_CONFIG
UNUSED_SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
"""These signals have no meaning here, but their default action would end the process with every open request."""


class Server(uvicorn.Server):
    """Drains first: ``/health`` fails while requests are still taken, so a load balancer sends new ones elsewhere."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, drain_seconds: float) -> None:
        super().__init__(config)
        self._app = app
        self._drain_seconds = drain_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second one stops. Both end with exit code 0, unlike uvicorn's own."""
        if self._app.state.draining or self._drain_seconds == 0:
            self.should_exit = True
            return
        self._app.state.draining = True
        log.info("draining", extra={"fields": {"seconds": self._drain_seconds}})
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(loop.call_later, self._drain_seconds, self._stop)  # threadsafe: it wakes the loop

    def _stop(self) -> None:
        self.should_exit = True


def ignore(number: int, _: FrameType | None) -> None:
    """Handle a signal without a meaning here: it is only logged."""
    log.info("signal ignored", extra={"fields": {"signal": signal.Signals(number).name}})


def serve(settings: Settings) -> None:
    """Run the server until it is told to stop."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    Server(config, app, settings.drain_seconds).run()


def main() -> int:
    """Read the settings and serve."""
    try:
        settings = load_settings()
    except SettingsError as error:
        print(f"The backend does not start:\n{error}", file=sys.stderr)  # noqa: T201 - logging is not set up yet
        return EXIT_BAD_SETTINGS
    configure_logging(settings.log_level)
    for number in UNUSED_SIGNALS:
        signal.signal(number, ignore)
    serve(settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
