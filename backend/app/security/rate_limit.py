"""The limit on failed logins, over all backends together: which token buckets a login is measured by.

The buckets are in the database (``app/database/users.py``), because each process with its own would let N backends be
asked N times as often. They are read in the statement that every login makes anyway, and only a failed one writes.
"""

import ipaddress
from dataclasses import dataclass
from hashlib import blake2b

from app.config import Settings

KEY_BYTES = 16


@dataclass(frozen=True)
class Buckets:
    """The two buckets of one login: the account as asked from this address, and the address altogether.

    A size is what fits into a bucket and what flows in within a minute. Keys are hashes, so that the table tells
    nobody who logs in from where.
    """

    account_key: bytes
    account_size: int
    address_key: bytes
    address_size: int


def buckets_of(settings: Settings, name: str, address: str) -> Buckets:
    """The buckets for a login of ``name`` from ``address``."""
    network = network_of(address)
    return Buckets(
        account_key=_key(f"{network} {name}"),
        account_size=settings.login_failures_per_minute,
        address_key=_key(network),
        address_size=settings.login_failures_per_minute_and_address,
    )


def _key(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=KEY_BYTES).digest()


def network_of(address: str) -> str:
    """An IPv6 client owns at least a /64, so that is what is counted; an IPv4 client is its address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((int(ip), 64), strict=False))
    return str(ip)
