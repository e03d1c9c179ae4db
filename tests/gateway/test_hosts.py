"""Which Host a listener answers to (threats ADM-306)."""

from __future__ import annotations

import pytest

from gateway.config import Listen
from gateway.hosts import is_our_host

LOOPBACK = Listen("127.0.0.1", 9901)
EVERYWHERE = Listen("0.0.0.0", 9901)  # noqa: S104 - compared, not bound
ALLOWED = ("admin.example.com",)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:9901", "127.0.0.1:9901", "127.0.0.2", "[::1]:9901", "[::1]", "Admin.Example.com:443"],
)
def test_loopback_and_allowed_names_are_ours(host: str) -> None:
    assert is_our_host(host, LOOPBACK, ALLOWED)
    assert is_our_host(host, EVERYWHERE, ALLOWED)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":9901",
        "evil.test",
        "127.0.0.1.nip.io",
        "localhost.evil.test",
        "admin.example.com.evil.test",
        "xadmin.example.com",
        "evil.test@localhost",
        "localhost@evil.test",
        "localhost/evil.test",
        "localhost, evil.test",
        "[::1",
        "[::1]evil.test",
        "2130706433",
        "0x7f.1",
    ],
)
def test_other_names_are_not_however_they_look(host: str) -> None:
    assert not is_our_host(host, LOOPBACK, ALLOWED)
    assert not is_our_host(host, EVERYWHERE, ALLOWED)


def test_an_address_is_ours_only_where_we_listen_on_all() -> None:
    """A probe calls the pod's address; a web page that rebinds its name sends that name."""
    assert not is_our_host("10.0.0.7:9901", LOOPBACK, ())
    assert is_our_host("10.0.0.7:9901", EVERYWHERE, ())
    assert is_our_host("10.0.0.7", Listen("10.0.0.7", 9901), ())
