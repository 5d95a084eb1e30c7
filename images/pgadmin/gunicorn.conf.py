"""Read by gunicorn from the folder that it starts in."""

import signal

IGNORED = (signal.SIGHUP, signal.SIGUSR2, signal.SIGALRM)
"""SIGHUP would replace the worker and end every connection to the databases; SIGUSR2 would start a second pgAdmin
beside the first, which has other connections; SIGALRM would end the process."""


def when_ready(_):
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
