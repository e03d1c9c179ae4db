"""The data path's three questions to the database.

An answer is only as good as the server it comes from: a primary that was replaced without noticing goes on
answering reads for ever (F3, F6). Two things guard against that. The answer carries the timeline of its
server, and the cache keeps it only if the proof of its lease comes from the same timeline. And when there is
no lease to lean on, the question is asked in a transaction that also writes, so that under synchronous
replication a replaced primary cannot finish it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

import structlog

from keystore.connections import DATABASE_ERRORS, HeldConnections, Link
from keystore.ident import is_access_key_id, is_bucket_name
from keystore.model import AccessKey, Bucket, KeyStoreUnavailable
from keystore.rows import GRANT_COLUMNS, Row, access_key_of, bucket_of, sealed_of
from keystore.sealing import SealBroken, Sealer

_log = structlog.get_logger()

_FIND_KEY = f"""
    SELECT k.id, k.access_key_id, k.tenant_id, t.name AS tenant, k.access, k.permission, k.expires_at,
           k.revoked_at, k.seal_version, k.wrap_nonce, k.wrapped_key, k.seal_nonce, k.sealed_secret,
           {GRANT_COLUMNS}
      FROM access_keys k JOIN tenants t ON t.id = k.tenant_id
     WHERE k.access_key_id = $1 AND k.deleted_at IS NULL
"""  # noqa: S608 - joined from constants
_FIND_BUCKET = "SELECT * FROM buckets WHERE tenant_id = $1 AND name = $2"
_LIST_BUCKETS = "SELECT * FROM buckets WHERE tenant_id = $1 ORDER BY name"

# The smallest write whose commit waits for the standby; unlike an UPDATE it leaves nothing to clean up.
_WRITE_SOMETHING = "SELECT pg_logical_emit_message(true, 'bucketwarden', '')"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What the database said, and the timeline of the server that said it."""

    value: T
    timeline: int


class LookUps:
    """Asks the database; keeps nothing. Raises `KeyStoreUnavailable` or one of `DATABASE_ERRORS`.

    With `proven` the answer is that of a server that was still the primary after the question was asked.
    """

    def __init__(self, connections: HeldConnections, sealer: Sealer) -> None:
        self._connections = connections
        self._sealer = sealer

    async def key(self, access_key_id: str, proven: bool) -> Answer[AccessKey | None]:
        """The key with this id, opened; None for no such key, also when the text can be no key id at all."""
        if not is_access_key_id(access_key_id):
            return Answer(None, 0)
        rows = await self._ask(proven, _FIND_KEY, access_key_id)
        return Answer(self._opened(rows.value[0]) if rows.value else None, rows.timeline)

    async def bucket(self, tenant_id: UUID, name: str, proven: bool) -> Answer[Bucket | None]:
        """The tenant's bucket of this name, or None."""
        if not is_bucket_name(name):
            return Answer(None, 0)
        rows = await self._ask(proven, _FIND_BUCKET, tenant_id, name)
        return Answer(bucket_of(rows.value[0]) if rows.value else None, rows.timeline)

    async def buckets(self, tenant_id: UUID, proven: bool) -> Answer[tuple[Bucket, ...]]:
        """All buckets of the tenant, sorted by name."""
        rows = await self._ask(proven, _LIST_BUCKETS, tenant_id)
        return Answer(tuple(bucket_of(row) for row in rows.value), rows.timeline)

    def _opened(self, row: Row) -> AccessKey:
        try:
            secret = self._sealer.open(sealed_of(row), row["access_key_id"], row["tenant_id"])
        except SealBroken:
            # Somebody altered the row. That is no "unknown key": the client must come back, an operator look.
            _log.error("sealed_secret_broken", access_key_id=row["access_key_id"])
            raise KeyStoreUnavailable("the stored secret of this key does not open") from None
        return access_key_of(row, secret)

    async def _ask(self, proven: bool, query: str, *arguments: object) -> Answer[list[Row]]:
        async def ask(link: Link) -> Answer[list[Row]]:
            if not proven:
                return Answer(await link.connection.fetch(query, *arguments), link.timeline)
            async with link.connection.transaction():
                await link.connection.execute(_WRITE_SOMETHING)
                rows: Any = await link.connection.fetch(query, *arguments)
            return Answer(rows, link.timeline)

        try:
            return await self._connections.run(ask)
        except DATABASE_ERRORS:
            # After a restart or failover every held connection is dead; asking twice is safe for a question.
            return await self._connections.run(ask, fresh=True)
