"""Which Host a listener answers to.

A page on evil.test can point its own name at 127.0.0.1 and then read our answers as its own origin (DNS
rebinding, threats ADM-306). What it cannot do is send another Host than its own name; so only names of ours
are answered.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from gateway.config_types import Listen

# A grammar of our own: urlsplit takes "[::1]evil.test" for "::1".
_HOST = re.compile(r"(\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9.-]+))(:[0-9]{1,5})?", re.ASCII)


def is_our_host(host: str, listen: Listen, allowed: Sequence[str]) -> bool:
    """Whether the value of a Host header (port ignored) is loopback, the listening host or one of `allowed`.

    A listener on every address also answers to any IP address: probes use the pod's, and a rebinding page,
    whose Host is always a DNS name, cannot send one.
    """
    match = _HOST.fullmatch(host.lower())
    if match is None:
        return False
    name = match["address"] or match["name"]
    if name == "localhost" or name == listen.host.lower() or name in allowed:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or listen.is_wildcard
