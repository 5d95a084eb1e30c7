"""pgAdmin as a WSGI application in server mode, with the login and the cluster that the stack gives it.

All is done in the one process that serves, because importing pgAdmin takes seconds, and minutes on a starved machine. The
data folder is a tmpfs: empty whenever the container starts, filled already when gunicorn replaces its worker.
"""

import builtins
import os
import sys
from pathlib import Path

import pgadmin4

GIVEN = Path("/etc/pgadmin")
PASSFILE = "pgpass"
FIRST_LOGIN = ("PGADMIN_SETUP_EMAIL", "PGADMIN_SETUP_PASSWORD")
"""Read by pgAdmin when it makes its own database, and nowhere else."""


def write_passfile(folder: Path) -> None:
    """Where pgAdmin looks for a user's own files. libpq ignores a passfile that others may read, and the uploaded one belongs to root."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PASSFILE).write_bytes((GIVEN / "secrets" / PASSFILE).read_bytes())


def prepared():
    os.umask(0o077)
    login = (GIVEN / "login").read_text()
    # Other processes see the environment of the start, which this does not change.
    os.environ.update(zip(FIRST_LOGIN, (login, (GIVEN / "secrets" / "login_password").read_text())))
    builtins.SERVER_MODE = True
    # pgAdmin is no usual package: its modules import each other from its own folder.
    sys.path[:0] = pgadmin4.__path__
    from pgAdmin4 import app

    for name in FIRST_LOGIN:
        del os.environ[name]

    from pgadmin.model import Server, User
    from pgadmin.utils import load_database_servers
    from pgadmin.utils.paths import get_storage_directory

    with app.app_context():
        user = User.query.filter_by(email=login).one()
        write_passfile(Path(get_storage_directory(user)))
        if Server.query.filter_by(user_id=user.id).first() is None:
            done, message = load_database_servers(str(GIVEN / "servers.json"), None, load_user=login, from_setup=True)
            if not done:
                raise RuntimeError(f"the cluster could not be registered: {message}")
    return app


app = prepared()
