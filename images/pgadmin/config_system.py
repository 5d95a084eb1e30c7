"""Settings that differ from pgAdmin's defaults (its config.py reads this file last)."""

DATA_DIR = "/var/lib/pgadmin"
LOG_FILE = DATA_DIR + "/pgadmin4.log"
SQLITE_PATH = DATA_DIR + "/pgadmin4.db"
SESSION_DB_PATH = DATA_DIR + "/sessions"
STORAGE_DIR = DATA_DIR + "/storage"
AZURE_CREDENTIAL_CACHE_DIR = DATA_DIR + "/azurecredentialcache"
KERBEROS_CCACHE_DIR = DATA_DIR + "/krbccache"

# pgAdmin asks nothing outside of the stack and sends nothing there.
UPGRADE_CHECK_ENABLED = False
SHOW_GRAVATAR_IMAGE = False
LLM_ENABLED = False

# There is no proxy, so a client's headers about one are ignored.
PROXY_X_FOR_COUNT = 0
PROXY_X_PROTO_COUNT = 0
PROXY_X_PORT_COUNT = 0

# A container has no keyring of an operating system's user.
USE_OS_SECRET_STORAGE = False

# The registered server's password comes from its passfile. pgAdmin keeps no other password and opens no shell.
ALLOW_SAVE_PASSWORD = False
ENABLE_PSQL = False
