"""Buckets at the backend, for the operator API: aiobotocore's client, where speed is nothing."""

from __future__ import annotations

from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError, ClientError

from gateway.config import BackendSection
from gateway.credentials import BackendCredential
from gateway.operator_api.ports import BackendError


class BotoBuckets:
    """`BackendBuckets` over a botocore client, made for each call: these are rare."""

    def __init__(self, config: BackendSection, credential: BackendCredential) -> None:
        self._config = config
        self._credential = credential

    def _client(self) -> Any:
        credential = self._credential.current()
        return AioSession().create_client(
            "s3",
            endpoint_url=self._config.endpoint,
            region_name=self._config.region,
            aws_access_key_id=credential.access_key_id,
            aws_secret_access_key=credential.secret_access_key,
            aws_session_token=credential.session_token,
            verify=None if self._config.ca_file is None else str(self._config.ca_file),
            config=AioConfig(
                s3={"addressing_style": "path"},
                connect_timeout=self._config.connect_timeout,
                read_timeout=self._config.first_byte_timeout,
                retries={"max_attempts": 2},
            ),
        )

    async def create(self, name: str) -> None:
        """Make a bucket; one that is ours already is fine. Raises BackendError."""
        try:
            async with self._client() as client:
                await client.create_bucket(Bucket=name)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code != "BucketAlreadyOwnedByYou":
                raise BackendError(f"the backend refused to make the bucket: {code}") from None
        except BotoCoreError as error:
            raise BackendError(f"the backend cannot be reached: {type(error).__name__}") from None

    async def exists(self, name: str) -> bool:
        """Whether the store has the bucket and our credential may use it. Raises BackendError."""
        try:
            async with self._client() as client:
                await client.head_bucket(Bucket=name)
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if status in (403, 404):
                return False
            raise BackendError(f"the backend answered {status}") from None
        except BotoCoreError as error:
            raise BackendError(f"the backend cannot be reached: {type(error).__name__}") from None
        return True
