"""Settings: one frozen value, by section; from a TOML file, then from the environment.

Later wins: defaults, file, `BUCKETWARDEN_SECTION__KEY`. A secret may also come from a file of its own: key
`NAME_file` or variable `BUCKETWARDEN_SECTION__NAME_FILE`. What is unknown or impossible is refused, and every
fault is told at once (operator-surface 4.6). Secrets are `SecretStr`: they print as stars, and every place
that reads one can be found by searching for `get_secret_value`.

config.example.toml explains each setting; a test holds it against these classes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from gateway.config_sources import overlay_environment, read_file, read_secret_files, validate_section
from gateway.config_types import (
    ConfigError,
    FilePath,
    HostNames,
    KeyEncryptionKey,
    Listen,
    ListenAddress,
    Origin,
    PostgresUrl,
    Problem,
    Region,
    Seconds,
    SecondsOrZero,
    SecretText,
    Text,
)

__all__ = ["Config", "ConfigError", "Listen", "Problem"]


class Section(BaseModel):
    """A table of the file. `load` reads a secret `NAME` from the path in the field `NAME_file` beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class S3Section(Section):
    """The listener that S3 clients talk to. Times in seconds."""

    listen: ListenAddress = Listen("127.0.0.1", 9900)
    region: Region = "eu-central-1"
    region_mode: Literal["any", "strict"] = "any"
    virtual_host_suffixes: HostNames = ()
    tls_certificate: FilePath | None = None
    tls_private_key: FilePath | None = None
    public_url: Origin | None = None
    explain_signature_errors: bool = True
    header_limit_bytes: Annotated[int, Field(ge=32768, le=1048576)] = 65536
    keepalive_timeout: Seconds = 75.0
    body_idle_timeout: Seconds = 30.0
    head_timeout: Seconds = 15.0

    @property
    def endpoint_url(self) -> str:
        """The URL that clients are told: `public_url`, else the listening address."""
        scheme = "http" if self.tls_certificate is None else "https"
        return self.public_url or f"{scheme}://{self.listen.reachable}"


class OperatorSection(Section):
    """The operator API's listener."""

    listen: ListenAddress = Listen("127.0.0.1", 9901)
    allowed_hosts: HostNames = ()


class MetricsSection(Section):
    """The Prometheus listener."""

    listen: ListenAddress = Listen("127.0.0.1", 9902)


class BackendSection(Section):
    """The store behind and our credential for it. Times in seconds."""

    endpoint: Origin | None = None
    region: Region = "us-east-1"
    access_key_id: Text | None = None
    secret_access_key: SecretText | None = None
    secret_access_key_file: FilePath | None = None
    session_token: SecretText | None = None
    session_token_file: FilePath | None = None
    profile: Text | None = None
    ca_file: FilePath | None = None
    upload_mode: Literal["auto", "plain", "trailer"] = "auto"
    connect_timeout: Seconds = 5.0
    first_byte_timeout: Seconds = 60.0
    idle_timeout: Seconds = 60.0
    max_connections: Annotated[int, Field(gt=0)] = 256
    max_idle_connections: Annotated[int, Field(ge=0)] = 64


class DatabaseSection(Section):
    """Where keys are kept. No URL means the embedded Postgres."""

    url: PostgresUrl | None = None
    url_file: FilePath | None = None


class KeysSection(Section):
    """How access keys look and are sealed, and for how long a worker trusts its cache. Times in seconds."""

    prefix: Annotated[str, Field(pattern=r"^[A-Z]{4}$")] = "BWAK"
    kek: KeyEncryptionKey | None = None
    kek_file: FilePath | None = None
    max_stale: Seconds = 5.0
    heartbeat: Seconds = 1.0


class LogSection(Section):
    """What is written to standard output."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    access: bool = True


class ShutdownSection(Section):
    """What happens on SIGTERM. Times in seconds."""

    delay: SecondsOrZero = 0.0
    grace: SecondsOrZero = 60.0


class EmbeddedSection(Section):
    """Where the embedded Postgres and store keep their files."""

    directory: FilePath = Path("var")


class Config(BaseModel):
    """All settings. `Config()` is the defaults; a user's come in through `load`, which checks the rules."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    s3: S3Section = S3Section()
    operator: OperatorSection = OperatorSection()
    metrics: MetricsSection = MetricsSection()
    backend: BackendSection = BackendSection()
    database: DatabaseSection = DatabaseSection()
    keys: KeysSection = KeysSection()
    log: LogSection = LogSection()
    shutdown: ShutdownSection = ShutdownSection()
    embedded: EmbeddedSection = EmbeddedSection()

    @classmethod
    def load(cls, path: Path | None, environ: Mapping[str, str]) -> Self:
        """Read the file (None: there is none) and the environment. Raises ConfigError with every fault."""
        problems: list[Problem] = []
        sections = {name: type(field.default) for name, field in cls.model_fields.items()}
        values = read_file(path, sections, problems) if path is not None else {}
        sources = overlay_environment(values, environ, sections, problems)
        read_secret_files(values, sources, sections, problems)
        config = cls.model_validate(
            {
                name: validate_section(name, model, values.get(name, {}), sources, problems)
                for name, model in sections.items()
            }
        )
        refused = {problem.key.removesuffix("_file") for problem in problems}  # a secret and its file are one
        for keys, detail in _broken_rules(config):
            # Silent about a refused key: its default stands there, not what the user meant.
            if refused.isdisjoint(keys):
                problems.append(Problem(keys[0], detail, sources.get(keys[0])))
        if problems:
            raise ConfigError(problems)
        return config

    def describe(self) -> str:
        """The effective settings as TOML. Secrets are stars; what is not set is a comment."""
        lines: list[str] = []
        for section, settings in self.model_dump(mode="json").items():
            lines.append(f"[{section}]")
            for key, value in settings.items():
                lines.append(f"# {key} is not set" if value is None else f"{key} = {json.dumps(value)}")
            lines.append("")
        return "\n".join(lines)


def _broken_rules(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    """What no single setting shows: the keys that do not fit together (the first one is blamed) and why."""
    s3, backend, keys = config.s3, config.backend, config.keys
    pairs = (
        ("s3.tls_certificate", s3.tls_certificate, "s3.tls_private_key", s3.tls_private_key),
        (
            "backend.access_key_id",
            backend.access_key_id,
            "backend.secret_access_key",
            backend.secret_access_key,
        ),
    )
    for first, one, second, other in pairs:
        if one is None and other is not None:
            yield (first, second), f"is needed, since {second} is set"
        if one is not None and other is None:
            yield (second, first), f"is needed, since {first} is set"
    listeners = {
        "s3.listen": s3.listen,
        "operator.listen": config.operator.listen,
        "metrics.listen": config.metrics.listen,
    }
    for (first, here), (second, there) in combinations(listeners.items(), 2):
        if here.collides(there):
            yield (second, first), f"{there} is taken by {first}, {here}"
    if backend.session_token is not None and backend.access_key_id is None:
        yield ("backend.session_token", "backend.access_key_id"), "needs backend.access_key_id and its secret"
    if backend.profile is not None and backend.access_key_id is not None:
        yield ("backend.profile", "backend.access_key_id"), "set this or backend.access_key_id, not both"
    if keys.heartbeat > keys.max_stale / 2:
        # One heartbeat may be lost without a cache going out of service.
        yield (
            ("keys.heartbeat", "keys.max_stale"),
            f"must be at most half of keys.max_stale ({keys.max_stale})",
        )
    if config.database.url is not None and keys.kek is None:
        yield (
            ("keys.kek", "database.url"),
            "is needed with a database of your own; `bucketwarden generate-kek` makes one; "
            "keep a copy, no access key opens without it",
        )
