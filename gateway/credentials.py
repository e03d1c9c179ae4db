"""The backend's credential: found where AWS tools look for one, refreshed before it expires.

aiobotocore's chain serves: settings of ours, environment, profile file, web identity, instance role.
"""

from __future__ import annotations

import asyncio

import structlog
from aiobotocore.session import AioSession

from gateway.config import BackendSection
from gateway.sigv4.sign import Credential

REFRESH_SECONDS = 30.0  # how often the chain is asked; it renews by itself ten minutes before the end

log = structlog.get_logger()


class NoCredentialError(Exception):
    """No credential for the backend is to be found; the text says where it was looked for."""


class BackendCredential:
    """Holds the credential that is valid now. `current` never waits; a task keeps it fresh."""

    def __init__(self, session: AioSession, found: object, region: str) -> None:
        self._session = session
        self._found = found
        self._region = region
        self._current: Credential | None = None
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def find(cls, config: BackendSection) -> BackendCredential:
        """Ask the chain once. Raises NoCredentialError."""
        session = AioSession(profile=config.profile)
        if config.access_key_id is not None and config.secret_access_key is not None:
            token = config.session_token
            session.set_credentials(
                config.access_key_id,
                config.secret_access_key.get_secret_value(),
                None if token is None else token.get_secret_value(),
            )
        found = await session.get_credentials()
        if found is None:
            raise NoCredentialError(
                "no credential for the backend: set backend.access_key_id and backend.secret_access_key, or give "
                "one the ways AWS tools take it (environment, profile, web identity, instance role)"
            )
        credential = cls(session, found, config.region)
        await credential.refresh()
        return credential

    def current(self) -> Credential:
        """The credential to sign with now."""
        if self._current is None:
            raise NoCredentialError("the backend's credential was never read")
        return self._current

    async def refresh(self) -> None:
        """Ask the chain for the present credential; it fetches a new one when the old one is about to expire."""
        frozen = await self._found.get_frozen_credentials()  # type: ignore[attr-defined]  # aiobotocore has no types
        self._current = Credential(frozen.access_key, frozen.secret_key, frozen.token, self._region)

    def start(self) -> None:
        """Keep it fresh until `stop`."""
        self._task = asyncio.create_task(self._keep_fresh())

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except Exception as error:  # noqa: BLE001  any provider may fail in its own way; the old one may still serve
                log.error("backend_credential_not_refreshed", error=type(error).__name__)

    async def stop(self) -> None:
        """End the task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
