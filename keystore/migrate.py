"""Schema migrations: numbered SQL files, forward only, each applied once and never altered afterwards.

All pending files are applied in one transaction under an advisory lock: of several processes that start at
once, one migrates and the others find nothing left to do; a file that fails leaves the database as it was.
The lock belongs to the transaction, not to the session, so that no pooler can leave it behind (F10).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import resources

import asyncpg

from keystore.connections import answering, open_link
from keystore.model import KeyStoreError

_LOCK = 0x6275636B6574  # "bucket": any constant that nobody else uses in this database
_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")

# The one exception to the time limit of every call: building an index may take a while.
MIGRATION_LIMIT = 600.0
"""Seconds that a migration run may take, waiting for another process's run included."""

_CREATE_LEDGER = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        name       text COLLATE "C" PRIMARY KEY,
        sha256     text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )
"""


class SchemaMismatch(KeyStoreError):
    """The database's schema is not the one this program was written for; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One SQL file."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Hex digest of the file's text; the ledger keeps it, so that a later alteration is noticed."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """The files this program comes with, in the order of their numbers."""
    directory = resources.files("keystore") / "migrations"
    return sorted(
        (
            Migration(entry.name, entry.read_text(encoding="utf-8"))
            for entry in directory.iterdir()
            if _FILE_NAME.fullmatch(entry.name)
        ),
        key=lambda migration: migration.name,
    )


async def migrate(dsn: str) -> list[str]:
    """Apply what is pending and return the names of the files applied, oldest first.

    Raises `SchemaMismatch` (nothing is applied then) and `KeyStoreUnavailable`.
    """
    known = migrations()
    async with answering("migration", MIGRATION_LIMIT):
        link = await open_link(dsn)
        try:
            async with link.connection.transaction():
                await link.connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
                await link.connection.execute(_CREATE_LEDGER)
                missing = _missing(known, await _applied(link.connection))
                for migration in missing:
                    await link.connection.execute(migration.sql)
                    await link.connection.execute(
                        "INSERT INTO schema_migrations (name, sha256) VALUES ($1, $2)",
                        migration.name,
                        migration.sha256,
                    )
        finally:
            link.connection.terminate()
    return [migration.name for migration in missing]


async def pending(dsn: str) -> list[str]:
    """The names of the files not yet applied, oldest first; changes nothing.

    Raises `SchemaMismatch` for a database that is newer than this program or was migrated by altered files,
    and `KeyStoreUnavailable`.
    """
    async with answering("schema check"):
        link = await open_link(dsn)
        try:
            has_ledger = await link.connection.fetchval("SELECT to_regclass('schema_migrations') IS NOT NULL")
            applied = await _applied(link.connection) if has_ledger else {}
        finally:
            link.connection.terminate()
    return [migration.name for migration in _missing(migrations(), applied)]


async def _applied(connection: asyncpg.Connection) -> dict[str, str]:
    rows = await connection.fetch("SELECT name, sha256 FROM schema_migrations")
    return {row["name"]: row["sha256"] for row in rows}


def _missing(known: list[Migration], applied: dict[str, str]) -> list[Migration]:
    """What is left to apply; raises `SchemaMismatch` where ledger and files contradict each other."""
    unknown = sorted(applied.keys() - {migration.name for migration in known})
    if unknown:
        raise SchemaMismatch(
            f"the database has migrations that this program does not know ({', '.join(unknown)}): "
            "it was migrated by a newer version; run that version"
        )
    for migration in known:
        if applied.get(migration.name, migration.sha256) != migration.sha256:
            raise SchemaMismatch(
                f"migration {migration.name} was altered after it was applied: "
                "restore the file, and put the change into a new one"
            )
    missing = [migration for migration in known if migration.name not in applied]
    if missing and applied and missing[0].name < max(applied):
        raise SchemaMismatch(f"migration {missing[0].name} is older than the newest one applied ({max(applied)})")
    return missing
