"""The SDKs of other languages, each behind a small program of ours that tests/clients/install.sh builds."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.clients.client import SpeakerClient
from tests.clients.gateways import SUFFIX
from tests.clients.programs import BUILT, HERE, find_program

GO_PROGRAM = BUILT / "bin" / "s3-sdk-go"
JS_PROGRAM = BUILT / "js" / "client.mjs"
JAVA_CLASSES = BUILT / "java" / "classes"


class AwsSdkGo(SpeakerClient):
    name = "aws-sdk-go-v2"

    @classmethod
    def version(cls) -> str:
        return _go_module("github.com/aws/aws-sdk-go-v2/service/s3")

    def environment(self) -> dict[str, str]:
        return super().environment() | {"SSL_CERT_FILE": str(self.door.authority.bundle)}

    def command(self) -> list[str | Path]:
        return [GO_PROGRAM, self.name]


class AwsSdkGoVirtualHost(AwsSdkGo):
    name = "aws-sdk-go-v2 virtual host"
    suffix = SUFFIX


class MinioGo(AwsSdkGo):
    name = "minio-go"

    @classmethod
    def version(cls) -> str:
        return _go_module("github.com/minio/minio-go/v7")


class AwsSdkJs(SpeakerClient):
    name = "aws-sdk-js v3"

    @classmethod
    def version(cls) -> str:
        return str(json.loads((HERE / "js" / "package.json").read_text())["dependencies"]["@aws-sdk/client-s3"])

    def environment(self) -> dict[str, str]:
        return super().environment() | {"NODE_EXTRA_CA_CERTS": str(self.door.authority.bundle)}

    def command(self) -> list[str | Path]:
        node = find_program("node")
        assert node is not None
        return [node, JS_PROGRAM]


class AwsSdkJsVirtualHost(AwsSdkJs):
    """As in most examples: `forcePathStyle: false`."""

    name = "aws-sdk-js v3 virtual host"
    suffix = SUFFIX


class AwsSdkJsStream(AwsSdkJs):
    """Uploads from a stream whose length the caller states: what a server does that passes an upload on."""

    name = "aws-sdk-js v3 stream"
    simple_put = "put_file"


class AwsSdkJava(SpeakerClient):
    """The synchronous client; large uploads by the asynchronous one, which does them in parts."""

    name = "aws-sdk-java v2"

    @classmethod
    def version(cls) -> str:
        found = re.search(
            r"<artifactId>s3</artifactId>\s*<version>(.+?)</version>", (HERE / "java/pom.xml").read_text()
        )
        assert found is not None
        return found.group(1)

    def command(self) -> list[str | Path]:
        java = find_program("java")
        assert java is not None
        return [
            java,
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            f"-Djavax.net.ssl.trustStore={self.door.authority.java_trust_store}",
            "-Djavax.net.ssl.trustStorePassword=changeit",
            "-cp",
            f"{JAVA_CLASSES}:{JAVA_CLASSES.parent}/lib/*",
            "Client",
        ]


class AwsSdkJavaAsync(AwsSdkJava):
    """The asynchronous client for everything."""

    name = "aws-sdk-java v2 async"
    simple_put = "put_async"


def _go_module(module: str) -> str:
    found = re.search(rf"{re.escape(module)} v(\S+)", (HERE / "go" / "go.mod").read_text())
    assert found is not None
    return found.group(1)
