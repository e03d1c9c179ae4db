"""All the clients, each with the lane that says whether it is here."""

from __future__ import annotations

from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from tests.clients.client import Client, offers
from tests.clients.command_clients import Curl, MinioClient, Rclone, S3cmd, S5cmd
from tests.clients.library_clients import (
    GO_PROGRAM,
    JAVA_CLASSES,
    JS_PROGRAM,
    AwsSdkGo,
    AwsSdkGoVirtualHost,
    AwsSdkJava,
    AwsSdkJavaAsync,
    AwsSdkJs,
    AwsSdkJsStream,
    AwsSdkJsVirtualHost,
    MinioGo,
)
from tests.clients.programs import find_program
from tests.clients.python_clients import AwsCli, Boto3, Boto3VirtualHost, Boto3WhenRequired
from tests.lanes import lane

_INSTALL = "tests/clients/install.sh installs it"


def _program_lane(name: str) -> pytest.MarkDecorator:
    return lane(name, find_program(name) is not None, f"no {name}; {_INSTALL}")


def _library_lane(name: str, interpreter: str | None, built: Path) -> pytest.MarkDecorator:
    present = built.exists() and (interpreter is None or find_program(interpreter) is not None)
    return lane(name, present, f"not built; {_INSTALL}")


_BOTO3 = lane("boto3", True, "")
_GO = _library_lane("aws-sdk-go-v2", None, GO_PROGRAM)
_JS = _library_lane("aws-sdk-js", "node", JS_PROGRAM)
_JAVA = _library_lane("aws-sdk-java", "java", JAVA_CLASSES)
LANES: dict[type[Client], pytest.MarkDecorator] = {
    Boto3: _BOTO3,
    Boto3WhenRequired: _BOTO3,
    Boto3VirtualHost: _BOTO3,
    AwsCli: lane("aws-cli", True, ""),
    Rclone: _program_lane("rclone"),
    MinioClient: _program_lane("mc"),
    S3cmd: _program_lane("s3cmd"),
    S5cmd: _program_lane("s5cmd"),
    Curl: _program_lane("curl"),
    AwsSdkGo: _GO,
    AwsSdkGoVirtualHost: _GO,
    MinioGo: _library_lane("minio-go", None, GO_PROGRAM),
    AwsSdkJs: _JS,
    AwsSdkJsVirtualHost: _JS,
    AwsSdkJsStream: _JS,
    AwsSdkJava: _JAVA,
    AwsSdkJavaAsync: _JAVA,
}

VARIANTS = (
    Boto3WhenRequired,
    Boto3VirtualHost,
    AwsSdkGoVirtualHost,
    AwsSdkJsVirtualHost,
    AwsSdkJsStream,
    AwsSdkJavaAsync,
)
"""The same libraries set up in another way; for what does not depend on it once is enough."""


def clients(*abilities: str, without: tuple[type[Client], ...] = ()) -> list[ParameterSet]:
    """Parameters for a test: every client that has these abilities."""
    return [
        pytest.param(client, id=client.name.replace(" ", "-"), marks=mark)
        for client, mark in LANES.items()
        if client not in without and all(offers(client, ability) for ability in abilities)
    ]
