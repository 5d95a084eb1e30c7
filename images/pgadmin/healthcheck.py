"""Healthy when pgAdmin answers its own ping; needs no database."""

import sys
import urllib.request

with urllib.request.urlopen("http://127.0.0.1:5050/misc/ping", timeout=2) as answer:
    sys.exit(0 if answer.status == 200 else 1)
