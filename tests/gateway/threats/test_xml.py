"""Class XML: documents that clients send and that they get. Each test is named by the id of its public case."""

from __future__ import annotations

import time

import pytest

from gateway.documents import COMPLETE_LIMIT, DELETE_LIMIT, LOCATION_LIMIT
from tests import wire
from tests.gateway.harness import KA, KAO, Gateway
from tests.gateway.threats.judging import accepted, read_xml, refused
from tests.wire import Request

NS = "http://s3.amazonaws.com/doc/2006-03-01/"
DELETE = f'<Delete xmlns="{NS}"><Object><Key>k</Key></Object></Delete>'
COMPLETE = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>e</ETag></Part></CompleteMultipartUpload>"
LOCATION = (
    f'<CreateBucketConfiguration xmlns="{NS}"><LocationConstraint>us-east-1</LocationConstraint>'
    "</CreateBucketConfiguration>"
)
DOCUMENTS = {"delete": DELETE, "complete": COMPLETE, "create bucket": LOCATION}


def document(gateway: Gateway, kind: str, body: bytes, *, te: bool = False) -> Request:
    """A signed request that carries this document."""
    target, method, key = {
        "delete": ("/alpha?delete", "POST", KA),
        "complete": ("/alpha/k?uploadId=u", "POST", KA),
        "create bucket": ("/fresh", "PUT", KAO),
    }[kind]
    request = gateway.request(method, target, ("Content-MD5", wire.md5(body)), body=body)
    wire.sign(key, request)
    return wire.reframe(request, None, te=te)


async def control(gateway: Gateway, kind: str) -> None:
    gateway.backend.uploads["u"] = {1: b"x"}
    await accepted(gateway, document(gateway, kind, DOCUMENTS[kind].encode()))
    gateway.keys.buckets = {place: b for place, b in gateway.keys.buckets.items() if place[1] != "fresh"}
    gateway.backend.buckets.pop("t1--fresh", None)


_PROLOGUES = {
    "system entity": '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    "external DTD": '<!DOCTYPE r SYSTEM "http://127.0.0.1:1/x.dtd">',
    "parameter entity": '<!DOCTYPE r [<!ENTITY % p SYSTEM "http://127.0.0.1:1/p"> %p;]>',
    "billion laughs": '<!DOCTYPE r [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY x "&b;&b;&b;">]>',
    "empty DTD": "<!DOCTYPE r>",
    "processing instruction": '<?xml-stylesheet href="http://127.0.0.1:1/"?>',
}


@pytest.mark.parametrize("prologue", _PROLOGUES)
@pytest.mark.parametrize("kind", DOCUMENTS)
async def test_xml_232_no_entity_is_ever_read(gateway: Gateway, kind: str, prologue: str) -> None:
    await control(gateway, kind)
    body = _PROLOGUES[prologue] + DOCUMENTS[kind].replace(">k<", ">&x;<").replace(">e<", ">&x;<")
    if "DOCTYPE" not in body or "ENTITY x" not in body:
        body = body.replace("&x;", "x")
    await refused(gateway, document(gateway, kind, body.encode()), 400, "MalformedXML")


_BOMBS = {
    "depth": b"<Delete>" + b"<a>" * 100_000,
    "attributes": b"<Delete " + b" ".join(b"a%d=''" % n for n in range(60_000)) + b"/>",
    "text": b"<Delete><Object><Key>" + b"x" * 1_000_000 + b"</Key></Object></Delete>",
    "elements": b"<Delete>" + b"<Object><Key>k</Key></Object>" * 30_000 + b"</Delete>",
    "comments": b"<Delete><Object><Key>" + b"k<!---->" * 100_000 + b"</Key></Object></Delete>",
    "character references": b"<Delete><Object><Key>" + b"&#65;" * 180_000 + b"</Key></Object></Delete>",
    "namespaces": b"<Delete " + b" ".join(b"xmlns:a%d='x'" % n for n in range(30_000)) + b"/>",
}


@pytest.mark.parametrize("bomb", _BOMBS)
async def test_xml_233_bombs_cost_little(gateway: Gateway, bomb: str) -> None:
    await control(gateway, "delete")
    started = time.process_time()
    await refused(gateway, document(gateway, "delete", _BOMBS[bomb]), 400, ("MalformedXML", "KeyTooLongError"))
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize("te", [False, True], ids=["content-length", "transfer-encoding"])
@pytest.mark.parametrize(
    ("kind", "limit"), [("delete", DELETE_LIMIT), ("complete", COMPLETE_LIMIT), ("create bucket", LOCATION_LIMIT)]
)
async def test_xml_236_documents_are_bounded(gateway: Gateway, kind: str, limit: int, te: bool) -> None:
    """Announced or not, no more is read than the limit and a little. No limit is above 2 MiB."""
    assert limit <= 2 << 20
    await control(gateway, kind)
    body = DOCUMENTS[kind].encode() + b" " * (4 * limit)
    finished = len(gateway.traces.finished)
    await refused(
        gateway,
        document(gateway, kind, body, te=te),
        400,
        ("MaxMessageLengthExceeded", "MalformedXML", "EntityTooLarge"),
    )
    assert gateway.traces.finished[finished].bytes_in <= limit + (320 << 10)


async def test_xml_236_one_object_more_than_a_thousand(gateway: Gateway) -> None:
    def body(count: int) -> bytes:
        entries = "".join(f"<Object><Key>k{number}</Key></Object>" for number in range(count))
        return f"<Delete>{entries}</Delete>".encode()

    await accepted(gateway, document(gateway, "delete", body(1000)))
    await refused(gateway, document(gateway, "delete", body(1001)), 400, "MalformedXML")


_ODD_KEYS = ["a<b>&\"'c", "]]>", "😀é", "a&amp;b", "\x7f", " lead", "tab\tkey", "line\nkey"]


@pytest.mark.parametrize("key", _ODD_KEYS)
async def test_xml_238_odd_keys_stay_themselves(gateway: Gateway, key: str) -> None:
    """In listings, in the answer to a multi-delete, in errors: well-formed, and the same key."""
    path = wire.path_of("alpha", key)
    await accepted(gateway, gateway.signed("PUT", path, body=b"x"))
    listing = await accepted(gateway, gateway.signed("GET", "/alpha?list-type=2&encoding-type=url"))
    tree = read_xml(listing.body)
    assert wire.encode(key.encode(), "/") in [node.text for node in tree.iter(f"{{{NS}}}Key")]
    missing = await gateway.send(gateway.signed("GET", path + "-missing"))
    assert missing.status == 404
    assert read_xml(missing.body).findtext("Key") == (key + "-missing").replace("\r", "\n")
    escaped = key.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", "&#10;")
    body = f"<Delete><Object><Key>{escaped}</Key></Object></Delete>".replace("\t", "&#9;").encode()
    deleted = await accepted(gateway, document(gateway, "delete", body))
    assert read_xml(deleted.body).find(f"{{{NS}}}Deleted/{{{NS}}}Key") is not None
    assert gateway.backend.body_of("t1--alpha", key) is None


@pytest.mark.parametrize("byte", ["%01", "%1F", "%EF%BF%BE", "%ED%A0%80", "%FF", "%00"])
async def test_xml_238_errors_about_unprintable_keys_are_xml(gateway: Gateway, byte: str) -> None:
    """A key that XML cannot hold: the refusal or the 404 is still well-formed."""
    reply = await gateway.send(gateway.signed("GET", f"/alpha/a{byte}b"))
    assert reply.status in (400, 404)
    assert read_xml(reply.body).tag == "Error"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("delete", DELETE.replace("</Object>", "<Kye>k</Kye></Object>")),
        ("delete", DELETE.replace("Key>", "key>")),
        ("delete", DELETE.replace("Delete", "delete")),
        ("delete", DELETE.replace("<Object>", "<Quiet>maybe</Quiet><Object>")),
        ("delete", DELETE.replace("</Object>", "<Key>other</Key></Object>")),
        ("delete", DELETE.replace("<Key>k</Key>", "")),
        ("delete", DELETE.replace("<Key>k</Key>", "<Key></Key>")),
        ("delete", DELETE.replace("<Object><Key>k</Key></Object>", "")),
        ("delete", DELETE + "x"),
        ("delete", DELETE + DELETE),
        ("delete", DELETE.removesuffix("</Delete>")),
        ("complete", COMPLETE.replace("ETag", "Etag")),
        ("complete", COMPLETE.replace("<PartNumber>1</PartNumber>", "")),
        ("complete", "<CompleteMultipartUpload/>"),
        ("create bucket", LOCATION.replace("LocationConstraint", "LocationConstrain")),
    ],
)
async def test_xml_240_what_is_not_understood_is_not_ignored(gateway: Gateway, kind: str, body: str) -> None:
    await control(gateway, kind)
    await refused(gateway, document(gateway, kind, body.encode()), 400, ("MalformedXML", "InvalidArgument"))


async def test_xml_the_clients_text_never_goes_on(gateway: Gateway) -> None:
    """What the backend parses was written here, from what was authorized."""
    body = DELETE.replace("<Key>", "<!-- canary --><Key>").encode()
    await accepted(gateway, document(gateway, "delete", body))
    sent = bytes(gateway.backend.requests[-1].body)
    assert b"canary" not in sent
    assert b"<Key>k</Key>" in sent
