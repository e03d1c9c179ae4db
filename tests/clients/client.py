"""What every client can be asked to do, whichever program or library it is."""

from __future__ import annotations

import json
import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tests.clients.gateways import REGION, Door, Key

MULTIPART_FROM = 16 << 20
"""Bytes from which `put` uploads in parts, where the client lets us say so."""


class Refused(Exception):
    """The request was refused; the text is what the client told its user."""


class Client(ABC):
    """One client with one key at one door. `directory` is its home: configuration and scratch files."""

    name: ClassVar[str]

    def __init__(self, door: Door, directory: Path, key: Key | None = None) -> None:
        self.door = door
        self.directory = directory
        self.key = key or door.keys.owner
        self.prepare()

    def prepare(self) -> None:
        """Write configuration, start what is needed."""
        return

    def close(self) -> None:
        """Stop what `prepare` started."""
        return

    @classmethod
    @abstractmethod
    def version(cls) -> str: ...

    @abstractmethod
    def put(self, key: str, source: Path) -> None: ...

    @abstractmethod
    def get(self, key: str, target: Path) -> None: ...

    @abstractmethod
    def keys(self, prefix: str) -> set[str]: ...

    @abstractmethod
    def delete(self, key: str) -> None: ...

    @abstractmethod
    def delete_below(self, prefix: str) -> None:
        """Delete many, in one request where the client has it."""

    @abstractmethod
    def copy(self, key: str, bucket: str, new_key: str) -> None:
        """Copy on the store's side, to `bucket`."""

    @abstractmethod
    def buckets(self) -> set[str]: ...

    # What only some have; the tests ask with `offers`.

    def get_range(self, key: str, first: int, last: int) -> bytes:
        raise NotImplementedError

    def get_unless(self, key: str, etag: str) -> bytes | None:
        """The object, or None if its ETag is still `etag`."""
        raise NotImplementedError

    def put_stream(self, key: str, source: Path) -> None:
        """Upload from a pipe: the client does not know how much is to come."""
        raise NotImplementedError

    def presign_get(self, key: str) -> str:
        raise NotImplementedError

    def presign_put(self, key: str) -> str:
        raise NotImplementedError

    def has_bucket(self, bucket: str) -> bool:
        raise NotImplementedError


def offers(client: type[Client], ability: str) -> bool:
    """Whether this client can do what only some can."""
    return getattr(client, ability) is not getattr(Client, ability)


def run(argv: Sequence[str | Path], env: Mapping[str, str], *, stdin: Path | None = None, timeout: float = 120) -> str:
    """Run a client program to its end and return its standard output. Raises Refused if it fails."""
    return run_bytes(argv, env, stdin=stdin, timeout=timeout).decode("utf-8", "surrogateescape")


def run_bytes(
    argv: Sequence[str | Path], env: Mapping[str, str], *, stdin: Path | None = None, timeout: float = 120
) -> bytes:
    """As `run`, for a client that prints an object."""
    with (stdin or Path(os.devnull)).open("rb") as source:
        done = subprocess.run(argv, env=env, stdin=source, capture_output=True, timeout=timeout)
    if done.returncode != 0:
        output = (done.stderr + done.stdout[-3000:]).decode("utf-8", "replace")
        raise Refused(f"{argv[0]} ended with {done.returncode}:\n{output[-4000:]}")
    return done.stdout


class CommandClient(Client):
    """A program that is run once for each thing it does."""

    def environment(self) -> dict[str, str]:
        """All the variables that the program sees."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.directory), "LC_ALL": "C.UTF-8"}

    def run(self, *arguments: str | Path, stdin: Path | None = None) -> str:
        return run([*self.command(), *arguments], self.environment(), stdin=stdin)

    def run_bytes(self, *arguments: str | Path) -> bytes:
        return run_bytes([*self.command(), *arguments], self.environment())

    @abstractmethod
    def command(self) -> list[str | Path]:
        """The program and the arguments that every call has."""


class SpeakerClient(Client):
    """A program around a library: it reads one JSON request a line from standard input and answers with one line.

    A request is `{"op": ..., ...}`, an answer `{"value": ...}` or `{"error": TEXT}`.
    """

    @abstractmethod
    def command(self) -> list[str | Path]: ...

    suffix: ClassVar[str | None] = None
    """Of virtual hosts; None is path style."""
    simple_put: ClassVar[str] = "put"
    """The program's operation for one PutObject."""

    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.directory)}

    def prepare(self) -> None:
        self._stderr = (self.directory / "stderr").open("wb")
        self._process = subprocess.Popen(
            self.command(),
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            encoding="utf-8",
        )
        self.ask(
            "open",
            url=self.door.url,
            access_key=self.key.id,
            secret_key=self.key.secret,
            region=REGION,
            suffix=self.suffix,
        )

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._stderr.close()

    def ask(self, op: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"{self.name} ended: {(self.directory / 'stderr').read_text()[-4000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer.get("value")

    def put(self, key: str, source: Path) -> None:
        op = "upload" if source.stat().st_size >= MULTIPART_FROM else self.simple_put
        self.ask(op, bucket=self.door.bucket, key=key, file=str(source))

    def get(self, key: str, target: Path) -> None:
        self.ask("get", bucket=self.door.bucket, key=key, file=str(target))

    def keys(self, prefix: str) -> set[str]:
        return set(self.ask("keys", bucket=self.door.bucket, prefix=prefix))

    def delete(self, key: str) -> None:
        self.ask("delete", bucket=self.door.bucket, key=key)

    def delete_below(self, prefix: str) -> None:
        self.ask("delete_many", bucket=self.door.bucket, keys=sorted(self.keys(prefix)))

    def copy(self, key: str, bucket: str, new_key: str) -> None:
        self.ask("copy", source_bucket=self.door.bucket, source_key=key, bucket=bucket, key=new_key)

    def buckets(self) -> set[str]:
        return set(self.ask("buckets"))

    def get_range(self, key: str, first: int, last: int) -> bytes:
        target = self.directory / "range"
        self.ask("get", bucket=self.door.bucket, key=key, file=str(target), range=f"bytes={first}-{last}")
        return target.read_bytes()

    def get_unless(self, key: str, etag: str) -> bytes | None:
        target = self.directory / "unless"
        arguments = {"bucket": self.door.bucket, "key": key, "file": str(target), "if_none_match": etag}
        return None if self.ask("get", **arguments) == "not modified" else target.read_bytes()

    def put_stream(self, key: str, source: Path) -> None:
        self.ask("stream", bucket=self.door.bucket, key=key, file=str(source))

    def presign_get(self, key: str) -> str:
        return str(self.ask("presign_get", bucket=self.door.bucket, key=key))

    def presign_put(self, key: str) -> str:
        return str(self.ask("presign_put", bucket=self.door.bucket, key=key))

    def has_bucket(self, bucket: str) -> bool:
        return bool(self.ask("has_bucket", bucket=bucket))
