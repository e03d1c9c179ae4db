"""All the clients, each with the lane that says whether it is here."""

from __future__ import annotations

import pytest
from _pytest.mark.structures import ParameterSet

from tests.clients.client import Client, offers
from tests.clients.command_clients import Curl, MinioClient, Rclone, S3cmd, S5cmd
from tests.clients.programs import find_program
from tests.clients.python_clients import AwsCli, Boto3, Boto3VirtualHost, Boto3WhenRequired
from tests.lanes import lane

_INSTALL = "tests/clients/install.sh installs it"


def _program_lane(name: str) -> pytest.MarkDecorator:
    return lane(name, find_program(name) is not None, f"no {name}; {_INSTALL}")


_BOTO3 = lane("boto3", True, "")
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
}


def clients(*abilities: str, without: tuple[type[Client], ...] = ()) -> list[ParameterSet]:
    """Parameters for a test: every client that has these abilities."""
    return [
        pytest.param(client, id=client.name.replace(" ", "-"), marks=mark)
        for client, mark in LANES.items()
        if client not in without and all(offers(client, ability) for ability in abilities)
    ]
