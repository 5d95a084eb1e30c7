"""What differs from pgAdmin's own defaults (its config.py reads this file last)."""

DATA_DIR = "/var/lib/pgadmin"
LOG_FILE = DATA_DIR + "/pgadmin4.log"
SQLITE_PATH = DATA_DIR + "/pgadmin4.db"
SESSION_DB_PATH = DATA_DIR + "/sessions"
STORAGE_DIR = DATA_DIR + "/storage"
AZURE_CREDENTIAL_CACHE_DIR = DATA_DIR + "/azurecredentialcache"
KERBEROS_CCACHE_DIR = DATA_DIR + "/krbccache"

# Nothing outside of the stack is asked, and nothing is sent there.
UPGRADE_CHECK_ENABLED = False
SHOW_GRAVATAR_IMAGE = False
LLM_ENABLED = False

# No proxy is in front, so what a client says about one is not believed.
PROXY_X_FOR_COUNT = 0
PROXY_X_PROTO_COUNT = 0
PROXY_X_PORT_COUNT = 0

# There is no keyring of an operating system's user in a container.
USE_OS_SECRET_STORAGE = False

# The registered server's password is read from its passfile; no other is kept, and no shell is opened.
ALLOW_SAVE_PASSWORD = False
ENABLE_PSQL = False
