"""The values that settings are made of, and the error that names every wrong one."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, SecretStr

from keystore.model import Invalid
from keystore.sealing import parse_kek

_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


class Problem(NamedTuple):
    """One fault of a configuration.

    `key` is the path (`s3.listen`), `source` the variable or secret file it came from, if any.
    """

    key: str
    detail: str
    source: str | None = None

    def __str__(self) -> str:
        origin = f" (from {self.source})" if self.source is not None else ""
        return f"{self.key}{origin}: {self.detail}"


class ConfigError(Exception):
    """The configuration cannot be used. `problems` has every fault found, never a secret."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to listen on: a name or an IP address without brackets, and a port (0: any free one)."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`HOST:PORT` or `[IPV6]:PORT`. Raises ValueError."""
        host, _, port = text.rpartition(":")
        if not host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
            raise ValueError("must be HOST:PORT with a port of 0 to 65535")
        if host.startswith("[") and host.endswith("]"):
            return cls(str(ipaddress.IPv6Address(host[1:-1])), int(port))
        if not _HOST_NAME.fullmatch(host.lower()):
            raise ValueError("must be HOST:PORT; an IPv6 address stands in brackets, as in [::1]:9900")
        return cls(host, int(port))

    @property
    def is_wildcard(self) -> bool:
        """Whether this listens on every address of the machine."""
        return self.host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound

    def collides(self, other: Listen) -> bool:
        """Whether both cannot be bound at once: the same port, and the same host or a wildcard."""
        same_host = self.host == other.host or self.is_wildcard or other.is_wildcard
        return self.port == other.port != 0 and same_host

    @property
    def reachable(self) -> Listen:
        """This address, or loopback in place of a wildcard, which nobody can connect to by name."""
        if not self.is_wildcard:
            return self
        return Listen("::1" if self.host == "::" else "127.0.0.1", self.port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_origin(text: str) -> str:
    """A URL of scheme, host and port alone: S3 paths begin at its root, credentials are other settings.

    Returns it without a trailing slash. Raises ValueError, which never repeats the text.
    """
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("must begin with http:// or https:// and name a host")
    if "@" in url.netloc:
        raise ValueError("must not hold a user name or password")
    if url.path not in ("", "/") or url.query or url.fragment or text.endswith(("?", "#")):
        raise ValueError("must end after host and port: no path, query or fragment")
    if url.port == 0:  # reading .port raises ValueError for what is no port at all
        raise ValueError("must not name port 0")
    return f"{url.scheme}://{url.netloc}"


def _listen(value: object) -> object:
    return Listen.parse(value) if isinstance(value, str) else value


def _split_commas(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _host_name(value: str) -> str:
    if not _HOST_NAME.fullmatch(value.lower()):
        raise ValueError("must be a plain host name such as s3.example.com: no scheme, port or wildcard")
    return value.lower()


def _postgres_url(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("must begin with postgresql://")
    return value


def _kek(value: SecretStr) -> SecretStr:
    try:
        parse_kek(value.get_secret_value())
    except Invalid as error:
        raise ValueError(f"{error}; `bucketwarden generate-kek` makes one") from None
    return value


def _path(value: object) -> object:
    if value == "":
        raise ValueError("must not be empty")
    return value


ListenAddress = Annotated[Listen, BeforeValidator(_listen), PlainSerializer(str)]
Origin = Annotated[str, AfterValidator(parse_origin)]
HostNames = Annotated[
    tuple[Annotated[str, AfterValidator(_host_name)], ...],
    BeforeValidator(_split_commas),  # an environment variable has no lists: a,b
]
Region = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Text = Annotated[str, Field(min_length=1)]
FilePath = Annotated[Path, BeforeValidator(_path)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SecondsOrZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]
SecretText = Annotated[SecretStr, Field(min_length=1)]
PostgresUrl = Annotated[SecretStr, AfterValidator(_postgres_url)]
KeyEncryptionKey = Annotated[SecretStr, AfterValidator(_kek)]
