"""The test stores themselves: each keeps and returns an object, and refuses a wrong key."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.backends import Backend


def client(store: Backend, secret_key: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=secret_key,
        region_name=store.region,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


def test_a_store_returns_what_was_put(store: Backend) -> None:
    s3 = client(store, store.secret_key)
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="a/b c", Body=b"bytes")
    assert s3.get_object(Bucket="kept", Key="a/b c")["Body"].read() == b"bytes"


def test_a_store_refuses_a_wrong_secret(store: Backend) -> None:
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        client(store, "wrong" * 8).list_buckets()
