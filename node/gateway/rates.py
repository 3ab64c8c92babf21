"""How often one address may ask: a rate over a window, in a table that stays small. Pure; the clock is passed in."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

_ROUNDING_S = 1e-6  # of sums of floating-point numbers


class RequestRates:
    """`per_s` requests a second for each key, and `burst_s` seconds' worth of them at once. per_s 0: no limit."""

    def __init__(self, per_s: int, burst_s: float, keys_max: int) -> None:
        self._step_s = 1 / per_s if per_s else 0.0
        self._burst_s = burst_s
        self._keys_max = keys_max
        self._used_up_s: OrderedDict[str, float] = OrderedDict()  # when all that was taken is refilled

    def take(self, key: str, now_s: float) -> float:
        """0 if the key may ask now, which counts; else in how many seconds it may."""
        used_up_s = max(self._used_up_s.get(key, now_s), now_s) + self._step_s
        wait_s = used_up_s - now_s - self._burst_s
        if wait_s > _ROUNDING_S:
            return wait_s
        self._used_up_s[key] = used_up_s
        self._used_up_s.move_to_end(key)
        if len(self._used_up_s) > self._keys_max:  # the one that asked longest ago has most likely a full bucket
            self._used_up_s.popitem(last=False)
        return 0.0

    def __len__(self) -> int:
        return len(self._used_up_s)


def is_loopback(host: str) -> bool:
    """An address of this machine itself, which may be a proxy for everybody."""
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def address_key(host: str) -> str:
    """What one reader has: an IPv4 address, or the /64 of an IPv6 address."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return (address.packed[:8]).hex()
    return host
