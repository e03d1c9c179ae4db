"""Programs of the shell: rclone, mc, s3cmd, s5cmd and curl."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from base64 import b64encode
from hashlib import md5
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape

from tests.clients.client import MULTIPART_FROM, CommandClient, Refused, run, run_bytes
from tests.clients.gateways import REGION
from tests.clients.programs import find_program

_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


class Rclone(CommandClient):
    """rclone with `provider = Other`, from its environment."""

    name = "rclone"

    @classmethod
    def version(cls) -> str:
        return run([_program(cls), "version"], {"HOME": "/nonexistent"}).split()[1].removeprefix("v").split("-")[0]

    def environment(self) -> dict[str, str]:
        settings = {
            "TYPE": "s3",
            "PROVIDER": "Other",
            "ACCESS_KEY_ID": self.key.id,
            "SECRET_ACCESS_KEY": self.key.secret,
            "ENDPOINT": self.door.url,
            "REGION": REGION,
            "FORCE_PATH_STYLE": "true",
            "UPLOAD_CUTOFF": f"{MULTIPART_FROM}B",
            # What the store has it as the bucket of this key; a key of some buckets cannot make any.
            "NO_CHECK_BUCKET": "true",
        }
        return super().environment() | {f"RCLONE_CONFIG_BW_{name}": value for name, value in settings.items()}

    def command(self) -> list[str | Path]:
        authority = self.door.authority.bundle
        return [
            _program(type(self)),
            "--config",
            "",
            "--ca-cert",
            authority,
            "--retries",
            "1",
            "--low-level-retries",
            "1",
        ]

    def _at(self, key: str, bucket: str | None = None) -> str:
        return f"bw:{bucket or self.door.bucket}/{key}"

    def put(self, key: str, source: Path) -> None:
        self.run("copyto", source, self._at(key))

    def put_stream(self, key: str, source: Path) -> None:
        self.run("rcat", self._at(key), stdin=source)

    def get(self, key: str, target: Path) -> None:
        self.run("copyto", self._at(key), target)

    def keys(self, prefix: str) -> set[str]:
        listed = self.run("lsf", "--recursive", "--files-only", self._at(prefix))
        return {f"{prefix}{line}" for line in listed.splitlines()}

    def delete(self, key: str) -> None:
        self.run("deletefile", self._at(key))

    def delete_below(self, prefix: str) -> None:
        self.run("delete", self._at(prefix))

    def copy(self, key: str, bucket: str, new_key: str) -> None:
        self.run("copyto", self._at(key), self._at(new_key, bucket))

    def buckets(self) -> set[str]:
        return {line.split()[-1] for line in self.run("lsd", "bw:").splitlines()}

    def get_range(self, key: str, first: int, last: int) -> bytes:
        return self.run_bytes("cat", self._at(key), "--offset", str(first), "--count", str(last - first + 1))

    def presign_get(self, key: str) -> str:
        return self.run("link", self._at(key), "--expire", "1m").strip()


class MinioClient(CommandClient):
    """MinIO's own `mc`."""

    name = "mc"

    @classmethod
    def version(cls) -> str:
        # Built by `go install` it calls itself DEVELOPMENT; the module knows.
        go = find_program("go")
        built = "" if go is None else run([go, "version", "-m", _program(cls)], {"HOME": "/nonexistent"})
        found = re.search(r"^\s*mod\s+\S+\s+(\S+)", built, re.MULTILINE)
        return found.group(1) if found else "unknown"

    def environment(self) -> dict[str, str]:
        scheme, host = self.door.url.split("://")
        return super().environment() | {
            "MC_HOST_bw": f"{scheme}://{self.key.id}:{self.key.secret}@{host}",
            "MC_CONFIG_DIR": str(self.directory / "mc"),
            "SSL_CERT_FILE": str(self.door.authority.bundle),
        }

    def command(self) -> list[str | Path]:
        return [_program(type(self)), "--json"]

    def _at(self, key: str, bucket: str | None = None) -> str:
        return f"bw/{bucket or self.door.bucket}/{key}"

    def _listed(self, *arguments: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.run("ls", *arguments).splitlines()]

    def put(self, key: str, source: Path) -> None:
        self.run("cp", source, self._at(key))

    def put_stream(self, key: str, source: Path) -> None:
        self.run("pipe", self._at(key), stdin=source)

    def get(self, key: str, target: Path) -> None:
        self.run("cp", self._at(key), target)

    def keys(self, prefix: str) -> set[str]:
        return {f"{prefix}{found['key']}" for found in self._listed("--recursive", self._at(prefix))}

    def delete(self, key: str) -> None:
        self.run("rm", self._at(key))

    def delete_below(self, prefix: str) -> None:
        self.run("rm", "--recursive", "--force", self._at(prefix))

    def copy(self, key: str, bucket: str, new_key: str) -> None:
        self.run("cp", self._at(key), self._at(new_key, bucket))

    def buckets(self) -> set[str]:
        return {str(found["key"]).rstrip("/") for found in self._listed("bw/")}

    def get_range(self, key: str, first: int, last: int) -> bytes:
        whole = [_program(type(self)), "cat", "--offset", str(first), self._at(key)]
        return run_bytes(whole, self.environment())[: last - first + 1]

    def presign_get(self, key: str) -> str:
        shared = self.run("share", "download", "--expire", "1m", self._at(key))
        return str(json.loads(shared.splitlines()[-1])["share"])

    def has_bucket(self, bucket: str) -> bool:
        try:
            self.run("stat", f"bw/{bucket}")
        except Refused as refusal:
            if "does not exist" in str(refusal):
                return False
            raise
        return True


class S3cmd(CommandClient):
    name = "s3cmd"

    @classmethod
    def version(cls) -> str:
        return run([_program(cls), "--version"], {"HOME": "/nonexistent", "PATH": "/usr/bin"}).split()[-1]

    def prepare(self) -> None:
        (self.directory / "s3cfg").write_text(
            f"[default]\naccess_key = {self.key.id}\nsecret_key = {self.key.secret}\nhost_base = {self.door.host}\n"
            # Without %(bucket)s in it this means path style.
            f"host_bucket = {self.door.host}\nbucket_location = {REGION}\nsignature_v2 = False\n"
            f"use_https = {self.door.transport == 'https'}\nca_certs_file = {self.door.authority.bundle}\n"
            f"multipart_chunk_size_mb = 15\nmax_retries = 1\nprogress_meter = False\n"
        )

    def command(self) -> list[str | Path]:
        return [_program(type(self)), "--config", self.directory / "s3cfg"]

    def _at(self, key: str, bucket: str | None = None) -> str:
        return f"s3://{bucket or self.door.bucket}/{key}"

    def put(self, key: str, source: Path) -> None:
        self.run("put", source, self._at(key))

    def put_stream(self, key: str, source: Path) -> None:
        self.run("put", "-", self._at(key), stdin=source)

    def get(self, key: str, target: Path) -> None:
        self.run("get", "--force", self._at(key), target)

    def keys(self, prefix: str) -> set[str]:
        listed = self.run("ls", "--recursive", self._at(prefix)).splitlines()
        return {line.split(None, 3)[3].removeprefix(f"s3://{self.door.bucket}/") for line in listed}

    def delete(self, key: str) -> None:
        self.run("del", self._at(key))

    def delete_below(self, prefix: str) -> None:
        self.run("del", "--recursive", "--force", self._at(prefix))

    def copy(self, key: str, bucket: str, new_key: str) -> None:
        self.run("cp", self._at(key), self._at(new_key, bucket))

    def buckets(self) -> set[str]:
        return {line.split()[-1].removeprefix("s3://") for line in self.run("ls").splitlines()}


class S5cmd(CommandClient):
    name = "s5cmd"

    @classmethod
    def version(cls) -> str:
        return "2.3.0"

    def environment(self) -> dict[str, str]:
        return super().environment() | {
            "AWS_ACCESS_KEY_ID": self.key.id,
            "AWS_SECRET_ACCESS_KEY": self.key.secret,
            "AWS_REGION": REGION,
            "SSL_CERT_FILE": str(self.door.authority.bundle),
        }

    def command(self) -> list[str | Path]:
        return [_program(type(self)), "--endpoint-url", self.door.url, "--retry-count", "0", "--json"]

    def _at(self, key: str, bucket: str | None = None) -> str:
        return f"s3://{bucket or self.door.bucket}/{key}"

    def put(self, key: str, source: Path) -> None:
        self.run("cp", "--raw", "--part-size", "8", source, self._at(key))

    def put_stream(self, key: str, source: Path) -> None:
        self.run("pipe", "--part-size", "8", self._at(key), stdin=source)

    def get(self, key: str, target: Path) -> None:
        self.run("cp", "--raw", self._at(key), target)

    def keys(self, prefix: str) -> set[str]:
        try:
            listed = self.run("ls", self._at(prefix) + "*").splitlines()
        except Refused as refusal:
            if "no object found" in str(refusal):
                return set()
            raise
        return {json.loads(line)["key"].removeprefix(f"s3://{self.door.bucket}/") for line in listed}

    def delete(self, key: str) -> None:
        self.run("rm", "--raw", self._at(key))

    def delete_below(self, prefix: str) -> None:
        self.run("rm", self._at(prefix) + "*")

    def copy(self, key: str, bucket: str, new_key: str) -> None:
        self.run("cp", "--raw", self._at(key), self._at(new_key, bucket))

    def buckets(self) -> set[str]:
        return {json.loads(line)["name"] for line in self.run("ls").splitlines()}

    def has_bucket(self, bucket: str) -> bool:
        try:
            self.run("head", f"s3://{bucket}")
        except Refused as refusal:
            if "NotFound" in str(refusal) or "NoSuchBucket" in str(refusal):
                return False
            raise
        return True


class Curl(CommandClient):
    """curl signing by itself (`--aws-sigv4`). It uploads in one piece only."""

    name = "curl"

    @classmethod
    def version(cls) -> str:
        return run([_program(cls), "--version"], {}).split()[1]

    def command(self) -> list[str | Path]:
        return [
            *(_program(type(self)), "--silent", "--show-error", "--fail-with-body", "--path-as-is", "--globoff"),
            *("--cacert", self.door.authority.bundle, "--user", f"{self.key.id}:{self.key.secret}"),
            *("--aws-sigv4", f"aws:amz:{REGION}:s3"),
            # curl before 8 does not add it by itself, and S3 demands it.
            *("--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"),
        ]

    def _at(self, key: str, bucket: str | None = None) -> str:
        return f"{self.door.url}/{bucket or self.door.bucket}/{quote(key, safe='/~')}"

    def put(self, key: str, source: Path) -> None:
        self.run("--upload-file", source, self._at(key))

    def get(self, key: str, target: Path) -> None:
        self.run("--output", target, self._at(key))

    def keys(self, prefix: str) -> set[str]:
        # This curl signs the query as it is written: in order and fully escaped (curl#10129).
        query = f"list-type=2&prefix={quote(prefix, safe='~')}"
        answer = ET.fromstring(self.run(f"{self.door.url}/{self.door.bucket}?{query}"))  # noqa: S314
        return {found.text or "" for found in answer.iter(f"{_NAMESPACE}Key")}

    def delete(self, key: str) -> None:
        self.run("--request", "DELETE", self._at(key))

    def delete_below(self, prefix: str) -> None:
        listed = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in sorted(self.keys(prefix)))
        body = f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{listed}</Delete>'.encode()
        document = self.directory / "delete.xml"
        document.write_bytes(body)
        digest = b64encode(md5(body).digest()).decode()  # noqa: S324 - the protocol wants it
        url = f"{self.door.url}/{self.door.bucket}?delete="
        answer = self.run("--data-binary", f"@{document}", "--header", f"Content-MD5: {digest}", url)
        assert "<Error>" not in answer

    def copy(self, key: str, bucket: str, new_key: str) -> None:
        source = f"x-amz-copy-source: /{self.door.bucket}/{quote(key, safe='/~')}"
        self.run("--request", "PUT", "--header", source, self._at(new_key, bucket))

    def buckets(self) -> set[str]:
        answer = ET.fromstring(self.run(f"{self.door.url}/"))  # noqa: S314
        return {found.text or "" for found in answer.iter(f"{_NAMESPACE}Name")}

    def get_range(self, key: str, first: int, last: int) -> bytes:
        return self.run_bytes("--range", f"{first}-{last}", self._at(key))

    def get_unless(self, key: str, etag: str) -> bytes | None:
        target = self.directory / "unless"
        status = self.run(
            *("--header", f"If-None-Match: {etag}", "--output", target, "--write-out", "%{http_code}", self._at(key))
        )
        return None if status == "304" else target.read_bytes()

    def has_bucket(self, bucket: str) -> bool:
        try:
            self.run("--head", f"{self.door.url}/{bucket}")
        except Refused as refusal:
            if "404" in str(refusal):
                return False
            raise
        return True


def _program(client: type[CommandClient]) -> Path:
    found = find_program(client.name)
    assert found is not None
    return found
