"""The token buckets that limit failed logins, over all backends together.

The buckets are in the database (``app/database/users.py``). With buckets in each process, N backends would allow N
times as many attempts. The statement that every login makes anyway reads them, and only a failed login writes.
"""

import ipaddress
from dataclasses import dataclass
from hashlib import blake2b

from app.config import Settings

KEY_BYTES = 16


@dataclass(frozen=True)
class Buckets:
    """The two buckets of one login: the account as asked from this address, and the address altogether.

    A size is the bucket's capacity and its inflow within a minute. Keys are hashes, so the table does not reveal who
    logs in from which address.
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
    """An IPv6 client owns at least a /64, so the /64 is counted; for an IPv4 client its address is counted."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((int(ip), 64), strict=False))
    return str(ip)
