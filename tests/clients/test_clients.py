"""What people do with an S3 client, done with every client, in front of every store.

The bytes are compared twice: as the client gets them back, and as the store itself gives them out. A gateway that
stored chunk framing and took it off again would pass the first comparison only.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.clients.catalogue import VARIANTS, clients
from tests.clients.client import Client, Refused, run
from tests.clients.conftest import FileOf, Opener
from tests.clients.gateways import Door, Transport
from tests.clients.programs import find_program

MIB = 1 << 20
BOTH = pytest.mark.parametrize("transport", ["http", "https"])

ODD_NAMES = [
    "blank in  it",
    "plus+plus",
    "per%cent",
    "escaped%20%2F",
    "grüße-日本-🪣",
    "decomposed-e\u0301",
    "amp&ersand=x",
    "semi;colon,comma:colon@at",
    "(paren)'quote'!$",
    "tilde~",
    "deep/er/est",
]


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stored_digest(door: Door, key: str) -> str:
    """SHA-256 of what the store itself has."""
    answer = door.stored(key)
    # Left over from aws-chunked, it would make readers of the store's own try to decode the object.
    assert "aws-chunked" not in answer.get("ContentEncoding", "")
    digest = hashlib.sha256()
    for piece in answer["Body"].iter_chunks(MIB):
        digest.update(piece)
    return digest.hexdigest()


@BOTH
@pytest.mark.parametrize("size", [0, 1, 5 * MIB + 1])
def test_an_object_of_any_size_comes_back_as_it_was(
    client: Client, door: Door, size: int, file_of: FileOf, folder: str, tmp_path: Path
) -> None:
    key = f"{folder}object"
    client.put(key, file_of(size))
    client.get(key, tmp_path / "back")
    assert digest_of(tmp_path / "back") == digest_of(file_of(size)) == stored_digest(door, key)


@BOTH
def test_a_large_object_goes_up_in_parts_and_comes_back_as_it_was(
    client: Client, door: Door, file_of: FileOf, folder: str, tmp_path: Path
) -> None:
    if client.name == "minio-go":
        _skip_on_seaweedfs(door)
    key = f"{folder}large"
    before = len(door.requests)
    client.put(key, file_of(64 * MIB))
    parts = [seen for seen in door.requests[before:] if seen.operation == "UploadPart"]
    assert len(parts) >= 4 or client.name == "curl"
    client.get(key, tmp_path / "back")
    assert digest_of(tmp_path / "back") == digest_of(file_of(64 * MIB)) == stored_digest(door, key)


@BOTH
@pytest.mark.parametrize("client", clients("put_stream"), indirect=True)
def test_a_stream_of_unknown_length_is_stored_whole(client: Client, door: Door, file_of: FileOf, folder: str) -> None:
    if client.name in {"mc", "minio-go"}:
        _skip_on_seaweedfs(door)
    key = f"{folder}stream"
    client.put_stream(key, file_of(5 * MIB + 1))
    assert stored_digest(door, key) == digest_of(file_of(5 * MIB + 1))


@pytest.mark.parametrize("client", clients(without=VARIANTS), indirect=True)
def test_odd_names_are_kept_listed_and_deleted(
    client: Client, door: Door, file_of: FileOf, folder: str, tmp_path: Path
) -> None:
    keys = {folder + name for name in ODD_NAMES}
    for key in keys:
        client.put(key, file_of(1))
        assert stored_digest(door, key) == digest_of(file_of(1)), key
        client.get(key, tmp_path / "back")
        assert digest_of(tmp_path / "back") == digest_of(file_of(1)), key
    assert client.keys(folder) == keys
    client.delete(f"{folder}plus+plus")
    assert client.keys(folder) == keys - {f"{folder}plus+plus"}
    client.delete_below(folder)
    assert client.keys(folder) == set()


@pytest.mark.parametrize("client", clients("get_range"), indirect=True)
def test_a_range_is_the_asked_bytes_and_no_more(client: Client, file_of: FileOf, folder: str) -> None:
    source = file_of(5 * MIB + 1)
    client.put(f"{folder}whole", source)
    assert client.get_range(f"{folder}whole", 3 * MIB, 3 * MIB + 999) == source.read_bytes()[3 * MIB :][:1000]


@pytest.mark.parametrize("client", clients("get_unless"), indirect=True)
def test_an_object_that_did_not_change_is_not_sent_again(
    client: Client, door: Door, file_of: FileOf, folder: str
) -> None:
    key = f"{folder}same"
    client.put(key, file_of(1))
    etag = door.stored(key)["ETag"]
    assert client.get_unless(key, etag) is None
    assert client.get_unless(key, '"0123456789abcdef0123456789abcdef"') == file_of(1).read_bytes()


def test_a_copy_is_made_by_the_store_within_and_between_buckets(
    client: Client, door: Door, file_of: FileOf, folder: str
) -> None:
    key, twin = f"{folder}original +1", f"{folder}twin ü"
    client.put(key, file_of(5 * MIB + 1))
    before = len(door.requests)
    client.copy(key, door.bucket, twin)
    client.copy(key, door.other_bucket, twin)
    assert stored_digest(door, twin) == digest_of(file_of(5 * MIB + 1))
    copied = door.direct.get_object(Bucket=f"backend-{door.other_bucket}", Key=twin)["Body"].read()
    assert hashlib.sha256(copied).hexdigest() == digest_of(file_of(5 * MIB + 1))
    assert not [seen for seen in door.requests[before:] if seen.operation == "PutObject"], "the client sent it again"


def test_buckets_are_listed_under_their_own_names(client: Client) -> None:
    assert client.buckets() == {"photos", "archive"}


@pytest.mark.parametrize("client", clients("has_bucket"), indirect=True)
def test_a_bucket_that_is_there_is_told_from_one_that_is_not(client: Client) -> None:
    assert client.has_bucket("photos")
    assert not client.has_bucket("no-such-bucket")


@BOTH
@pytest.mark.parametrize("client", clients("presign_get"), indirect=True)
def test_curl_reads_what_a_client_presigned(
    client: Client, door: Door, file_of: FileOf, folder: str, tmp_path: Path
) -> None:
    key = f"{folder}shared + ü"
    client.put(key, file_of(5 * MIB + 1))
    _curl(door, "--output", str(tmp_path / "back"), client.presign_get(key))
    assert digest_of(tmp_path / "back") == digest_of(file_of(5 * MIB + 1))


@BOTH
@pytest.mark.parametrize("client", clients("presign_put"), indirect=True)
def test_curl_writes_where_a_client_presigned(client: Client, door: Door, file_of: FileOf, folder: str) -> None:
    key = f"{folder}dropped + ü"
    _curl(door, "--upload-file", str(file_of(5 * MIB + 1)), client.presign_put(key))
    assert stored_digest(door, key) == digest_of(file_of(5 * MIB + 1))


def test_a_reader_reads_and_cannot_write(
    client: Client, opened: Opener, transport: Transport, file_of: FileOf, folder: str, tmp_path: Path
) -> None:
    key = f"{folder}guarded"
    client.put(key, file_of(1))
    reader = opened(type(client), transport, client.door.keys.reader)
    reader.get(key, tmp_path / "back")
    assert digest_of(tmp_path / "back") == digest_of(file_of(1))
    assert reader.keys(folder) == {key}
    denied = r"403|Access ?Denied|Insufficient permissions"
    with pytest.raises(Refused, match=denied):
        reader.put(f"{folder}new", file_of(1))
    with pytest.raises(Refused, match=denied):
        reader.delete(key)
    assert client.keys(folder) == {key}


def test_a_wrong_secret_is_told_to_the_user(
    client: Client, opened: Opener, transport: Transport, file_of: FileOf, folder: str
) -> None:
    stranger = opened(type(client), transport, client.door.keys.forged)
    # rclone asks first by HEAD whether the object is there, and to HEAD nobody can give a reason.
    told = r"Forbidden.*403" if client.name == "rclone" else r"SignatureDoesNotMatch|signature we calculated does not"
    with pytest.raises(Refused, match=f"(?s){told}"):
        stranger.put(f"{folder}intruder", file_of(1))
    assert client.keys(folder) == set()


@pytest.mark.parametrize("client", clients(without=VARIANTS), indirect=True)
@pytest.mark.parametrize("name", ["a//b", "a/../b", "./a", "a/./b", "/a"])
def test_names_that_some_stores_fold_are_kept_or_refused_never_folded(
    client: Client, door: Door, name: str, file_of: FileOf, folder: str
) -> None:
    if client.name not in {"boto3", "curl"}:
        pytest.skip("the program cleans such paths itself")
    key = folder + name
    if door.store.name == "ceph":
        client.put(key, file_of(1))
        assert client.keys(folder) == {key}
    else:
        with pytest.raises(Refused):
            client.put(key, file_of(1))
        assert client.keys(folder) == set()


def _curl(door: Door, *arguments: str) -> None:
    program = find_program("curl")
    assert program is not None
    options = ("--silent", "--show-error", "--fail-with-body", "--cacert", door.authority.bundle)
    # Virtual hosts are known to no resolver.
    run([program, *options, "--connect-to", f"::127.0.0.1:{door.port}", *arguments], {})


def _skip_on_seaweedfs(door: Door) -> None:
    """minio-go completes an upload with a checksum of checksums, but does not say so; SeaweedFS then refuses it."""
    if door.store.name == "seaweedfs":
        pytest.skip("SeaweedFS takes minio-go's checksum of checksums for the object's own, also without us")
