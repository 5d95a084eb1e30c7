"""The WSGI application in server mode, which asks for a login."""

import builtins

builtins.SERVER_MODE = True

from pgAdmin4 import app  # noqa: E402, F401
