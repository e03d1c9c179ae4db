"""boto3 in the ways people set it up, and the aws-cli that is built on it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import awscli
import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.clients.client import Client, CommandClient, Refused
from tests.clients.gateways import REGION, SUFFIX


class Boto3(Client):
    """boto3 as it comes."""

    name = "boto3"

    @classmethod
    def version(cls) -> str:
        return boto3.__version__

    def settings(self) -> dict[str, Any]:
        return {"s3": {"addressing_style": "path"}}

    def endpoint(self) -> str:
        return self.door.url

    def prepare(self) -> None:
        self._s3: Any = boto3.Session().client(
            "s3",
            endpoint_url=self.endpoint(),
            aws_access_key_id=self.key.id,
            aws_secret_access_key=self.key.secret,
            region_name=REGION,
            verify=str(self.door.authority.bundle),
            config=Config(retries={"total_max_attempts": 1}, **self.settings()),
        )

    def close(self) -> None:
        self._s3.close()

    def call(self, operation: str, **arguments: Any) -> Any:
        try:
            return getattr(self._s3, operation)(**arguments)
        except (ClientError, BotoCoreError, boto3.exceptions.Boto3Error) as error:
            raise Refused(str(error)) from error

    def put(self, key: str, source: Path) -> None:
        self.call("upload_file", Filename=str(source), Bucket=self.door.bucket, Key=key)

    def put_stream(self, key: str, source: Path) -> None:
        with source.open("rb") as file:
            pipe = _Unseekable(file.read)
            config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
            self.call("upload_fileobj", Fileobj=pipe, Bucket=self.door.bucket, Key=key, Config=config)

    def get(self, key: str, target: Path) -> None:
        self.call("download_file", Filename=str(target), Bucket=self.door.bucket, Key=key)

    def keys(self, prefix: str) -> set[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.door.bucket, Prefix=prefix, PaginationConfig={"PageSize": 5}
        )
        return {found["Key"] for page in pages for found in page.get("Contents", [])}

    def delete(self, key: str) -> None:
        self.call("delete_object", Bucket=self.door.bucket, Key=key)

    def delete_below(self, prefix: str) -> None:
        listed = [{"Key": key} for key in self.keys(prefix)]
        answer = self.call("delete_objects", Bucket=self.door.bucket, Delete={"Objects": listed})
        assert len(answer["Deleted"]) == len(listed), answer

    def copy(self, key: str, bucket: str, new_key: str) -> None:
        self.call("copy_object", CopySource={"Bucket": self.door.bucket, "Key": key}, Bucket=bucket, Key=new_key)

    def buckets(self) -> set[str]:
        return {bucket["Name"] for bucket in self.call("list_buckets")["Buckets"]}

    def get_range(self, key: str, first: int, last: int) -> bytes:
        answer = self.call("get_object", Bucket=self.door.bucket, Key=key, Range=f"bytes={first}-{last}")
        return bytes(answer["Body"].read())

    def get_unless(self, key: str, etag: str) -> bytes | None:
        try:
            return bytes(self.call("get_object", Bucket=self.door.bucket, Key=key, IfNoneMatch=etag)["Body"].read())
        except Refused as refusal:
            if "304" in str(refusal):
                return None
            raise

    def presign_get(self, key: str) -> str:
        return self._presign("get_object", key)

    def presign_put(self, key: str) -> str:
        return self._presign("put_object", key)

    def _presign(self, operation: str, key: str) -> str:
        return str(
            self._s3.generate_presigned_url(operation, Params={"Bucket": self.door.bucket, "Key": key}, ExpiresIn=60)
        )

    def has_bucket(self, bucket: str) -> bool:
        try:
            self.call("head_bucket", Bucket=bucket)
        except Refused as refusal:
            if "404" in str(refusal):
                return False
            raise
        return True


class _Unseekable:
    """A file object that can only be read."""

    def __init__(self, read: Any) -> None:
        self.read = read


class Boto3WhenRequired(Boto3):
    """No checksums of its own: what boto3 sent before 1.36."""

    name = "boto3 when_required"

    def settings(self) -> dict[str, Any]:
        return {
            "signature_version": "s3v4",
            "s3": {"addressing_style": "path"},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }


class Boto3VirtualHost(Boto3):
    """The bucket in the host name."""

    name = "boto3 virtual host"

    def settings(self) -> dict[str, Any]:
        return {"s3": {"addressing_style": "virtual"}}

    def endpoint(self) -> str:
        return f"{self.door.transport}://{SUFFIX}:{self.door.port}"


class AwsCli(CommandClient):
    """aws-cli 1, set up as its users do: a profile in ~/.aws."""

    name = "aws-cli"

    @classmethod
    def version(cls) -> str:
        return awscli.__version__

    def command(self) -> list[str | Path]:
        return [sys.executable, "-m", "awscli"]

    def prepare(self) -> None:
        home = self.directory / ".aws"
        home.mkdir()
        (home / "config").write_text(
            f"[default]\nregion = {REGION}\nendpoint_url = {self.door.url}\nca_bundle = {self.door.authority.bundle}\n"
            "s3 =\n    addressing_style = path\nretry_mode = standard\nmax_attempts = 1\noutput = json\n"
        )
        (home / "credentials").write_text(
            f"[default]\naws_access_key_id = {self.key.id}\naws_secret_access_key = {self.key.secret}\n"
        )

    def s3api(self, operation: str, *arguments: str | Path) -> Any:
        printed = self.run("s3api", operation, *arguments)
        return json.loads(printed) if printed.strip() else {}

    def put(self, key: str, source: Path) -> None:
        self.run("s3", "cp", "--no-progress", source, f"s3://{self.door.bucket}/{key}")

    def put_stream(self, key: str, source: Path) -> None:
        self.run("s3", "cp", "--no-progress", "-", f"s3://{self.door.bucket}/{key}", stdin=source)

    def get(self, key: str, target: Path) -> None:
        self.run("s3", "cp", "--no-progress", f"s3://{self.door.bucket}/{key}", target)

    def keys(self, prefix: str) -> set[str]:
        answer = self.s3api("list-objects-v2", "--bucket", self.door.bucket, "--prefix", prefix, "--page-size", "5")
        return {found["Key"] for found in answer.get("Contents", [])}

    def delete(self, key: str) -> None:
        self.run("s3", "rm", f"s3://{self.door.bucket}/{key}")

    def delete_below(self, prefix: str) -> None:
        listed = json.dumps({"Objects": [{"Key": key} for key in self.keys(prefix)]})
        assert "Errors" not in self.s3api("delete-objects", "--bucket", self.door.bucket, "--delete", listed)

    def copy(self, key: str, bucket: str, new_key: str) -> None:
        self.run("s3", "cp", "--no-progress", f"s3://{self.door.bucket}/{key}", f"s3://{bucket}/{new_key}")

    def buckets(self) -> set[str]:
        return {line.split()[-1] for line in self.run("s3", "ls").splitlines()}

    def get_range(self, key: str, first: int, last: int) -> bytes:
        target = self.directory / "range"
        where = ("--bucket", self.door.bucket, "--key", key)
        self.s3api("get-object", *where, "--range", f"bytes={first}-{last}", target)
        return target.read_bytes()

    def get_unless(self, key: str, etag: str) -> bytes | None:
        target = self.directory / "unless"
        where = ("--bucket", self.door.bucket, "--key", key)
        try:
            self.s3api("get-object", *where, "--if-none-match", etag, target)
        except Refused as refusal:
            if "(304)" in str(refusal):
                return None
            raise
        return target.read_bytes()

    def presign_get(self, key: str) -> str:
        return self.run("s3", "presign", f"s3://{self.door.bucket}/{key}", "--expires-in", "60").strip()

    def has_bucket(self, bucket: str) -> bool:
        try:
            self.s3api("head-bucket", "--bucket", bucket)
        except Refused as refusal:
            if "(404)" in str(refusal):
                return False
            raise
        return True
