"""The limit on failed logins: token buckets in memory, for each process of its own.

With N backends up to N times as many guesses pass; a shared limit would cost a database write for each of them.
"""

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable

from app.config import Settings

BUCKETS_MAX = 10_000


class Buckets:
    """``per_minute`` tokens for each key, refilled evenly. Remembers the :data:`BUCKETS_MAX` keys used last."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._size = per_minute
        self._rate = per_minute / 60
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def _level(self, key: str) -> float:
        level, at = self._buckets.get(key, (float(self._size), self._clock()))
        return min(float(self._size), level + (self._clock() - at) * self._rate)

    def _set(self, key: str, level: float) -> None:
        self._buckets[key] = (level, self._clock())
        self._buckets.move_to_end(key)
        if len(self._buckets) > BUCKETS_MAX:
            self._buckets.popitem(last=False)

    def wait_seconds(self, key: str) -> int:
        """0 when a token is there, else the seconds until one is."""
        missing = 1 - self._level(key)
        return max(0, math.ceil(missing / self._rate)) if missing > 0 else 0

    def take(self, key: str) -> None:
        """Use up a token."""
        self._set(key, self._level(key) - 1)

    def give_back(self, key: str) -> None:
        """Return a token that was not needed."""
        self._set(key, min(float(self._size), self._level(key) + 1))


class LoginLimit:
    """Failed logins for one account from one address, and from one address altogether."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._account = Buckets(settings.login_failures_per_minute, clock)
        self._address = Buckets(settings.login_failures_per_minute_and_address, clock)

    def begin(self, name: str, address: str) -> int:
        """Reserve a guess before it is checked, so that many at once do not all pass. Seconds to wait, or 0."""
        account, network = _keys(name, address)
        wait = max(self._account.wait_seconds(account), self._address.wait_seconds(network))
        if wait == 0:
            self._account.take(account)
            self._address.take(network)
        return wait

    def give_back(self, name: str, address: str) -> None:
        """The guess was right, or was never made: it does not count."""
        account, network = _keys(name, address)
        self._account.give_back(account)
        self._address.give_back(network)


def _keys(name: str, address: str) -> tuple[str, str]:
    network = network_of(address)
    return f"{network} {name}", network


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
