"""Which Host a listener answers to.

A page on evil.test can point its own name at 127.0.0.1 and then read our answers as its own origin (DNS
rebinding, threats ADM-306). What it cannot do is send another Host than its own name; so only names of ours
are answered.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from gateway.config_types import Listen


def is_our_host(host: str, listen: Listen, allowed: Sequence[str]) -> bool:
    """Whether the value of a Host header (port ignored) is loopback, the listening host or one of `allowed`.

    A listener on every address also answers to any IP address: probes use the pod's, and a rebinding page,
    whose Host is always a DNS name, cannot send one.
    """
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    if name is None or "@" in host or "/" in host:
        return False
    if name == "localhost" or name == listen.host.lower() or name in allowed:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or listen.is_wildcard
