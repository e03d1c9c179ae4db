"""HTTP messages as the data path sees them: nothing normalised, nothing decoded.

Text here is *wire text*: a `str` in which every character stands for one byte (ISO 8859-1), so that
`text.encode("latin-1")` is exactly what was received. A signature is over those bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol


class Headers:
    """Header fields in the order received: names lower-cased, values as wire text, repetitions kept."""

    __slots__ = ("_first", "_pairs")

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._pairs = tuple(pairs)
        self._first: dict[str, str] = {}
        for name, value in self._pairs:
            self._first.setdefault(name, value)

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of `name` (lower-case), or `default`."""
        return self._first.get(name, default)

    def all(self, name: str) -> list[str]:
        """Every value of `name` (lower-case), in arrival order."""
        if name not in self._first:
            return []
        return [v for n, v in self._pairs if n == name]

    def joined(self, name: str) -> str | None:
        """The values of `name` joined by "," as a list header means them (O11), or None."""
        if len(self._first) == len(self._pairs) or name not in self._first:
            return self._first.get(name)
        return ",".join(self.all(name))

    def repeated(self) -> Iterator[str]:
        """The names that occur more than once."""
        if len(self._first) != len(self._pairs):
            seen: set[str] = set()
            for name, _ in self._pairs:
                if name in seen:
                    yield name
                seen.add(name)

    def names(self) -> Iterable[str]:
        """The distinct names."""
        return self._first.keys()

    def __contains__(self, name: str) -> bool:
        return name in self._first

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request as received. `path` and `query` are the two sides of the target's first "?", wire text."""

    method: str
    path: str
    query: str
    headers: Headers
    http10: bool = False
    peer: str = ""


class Body(Protocol):
    """The request's body as it comes off the connection: HTTP framing removed, nothing else."""

    @property
    def length(self) -> int | None:
        """Content-Length in bytes; None if the request has none."""

    @property
    def chunked(self) -> bool:
        """Whether the request has Transfer-Encoding: chunked."""

    async def read(self) -> bytes:
        """Some bytes; b"" at the end. The first call sends "100 Continue" to a client that waits for it.

        Raises:
            S3Error: RequestTimeout when nothing came for the idle time, IncompleteBody when the client broke off.
        """


@dataclass(slots=True)
class Reply:
    """An answer to the client. `body` is the whole of it, or an iterator whose pieces are sent as they come.

    `length` is the Content-Length to announce; with an iterator it may be None: the answer is then chunked.
    For HEAD, `length` is the object's although no body follows.
    """

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | AsyncIterator[bytes] = b""
    length: int | None = None
