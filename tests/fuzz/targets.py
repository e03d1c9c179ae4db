"""What is promised of each parser of untrusted bytes, as functions that fail when it is not kept.

Always: nothing but S3Error is raised; nothing comes out that is larger than what went in; and a parser that takes
its input in pieces gives the same for any pieces.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TypeVar

from gateway.errors import S3Error
from gateway.messages import Headers, RequestHead
from gateway.s3.address import is_bucket_name, locate, parse_copy_source
from gateway.s3.checksums import Digests, declared_trailers
from gateway.s3.form import MAX_PREAMBLE, FormParser
from gateway.s3.postobject import accept_form
from gateway.s3.xml import (
    XmlRewriter,
    escape,
    parse_complete,
    parse_delete,
    parse_location,
    parse_tagging,
    render_complete,
    render_delete,
)
from gateway.sigv4.chunked import ChunkedDecoder, ChunkSigner
from gateway.sigv4.claim import read_claim
from gateway.sigv4.encoding import canonical_path, canonical_query, decode, encode, parse_query
from gateway.sigv4.postpolicy import parse_policy
from tests.fuzz.engine import Target

Result = TypeVar("Result")


def _or_refusal(run: Callable[[], Result]) -> Result | None:
    """The result, or None for a refusal; anything else that is raised is a finding."""
    try:
        return run()
    except S3Error as error:
        refusal = error
    assert refusal.code != "InternalError"
    return None


def _pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    return [data[a:b] for a, b in pairwise([0, *sorted(cuts), len(data)])]


def _splits(data: bytes) -> list[list[bytes]]:
    """The input whole, cut at places that depend on nothing but itself, and byte by byte."""
    rng = random.Random(hashlib.sha256(data).digest())  # noqa: S311
    cuts = [rng.randrange(len(data) + 1) for _ in range(rng.choice((1, 1, 2, 8)))]
    return [[data], _pieces(data, cuts), [data[i : i + 1] for i in range(len(data))]]


def _same_at_any_split(data: bytes, run: Callable[[list[bytes]], Result]) -> Result | None:
    whole, *others = [_or_refusal(lambda split=split: run(split)) for split in _splits(data)]  # type: ignore[misc]
    assert all(other == whole for other in others)
    return whole


# --- aws-chunked ------------------------------------------------------------------------------------------

KEY, DATE, SCOPE, SEED = b"k" * 32, "20260102T030405Z", "20260102/us-east-1/s3/aws4_request", "5e" * 32
CRC = "x-amz-checksum-crc32"
EMPTY = hashlib.sha256(b"").hexdigest()
CHUNK_WORDS = [b"\r\n", b"\n", b"0", b"0\r\n", b"0\r\n\r\n", b"FFFFFFFFFFFFFFFF", b"-1", b"0x5", b";", b" "]
CHUNK_WORDS += [b";chunk-signature=", CRC.encode() + b":", b"NhCmhg==", b"x-amz-trailer-signature:", b"0" * 64]


def _sign(*lines: str) -> str:
    return hmac.digest(KEY, "\n".join(lines).encode(), "sha256").hex()


def _signed(chunks: list[bytes], *, trailer: bool) -> bytes:
    out, previous = b"", SEED
    for data in [*chunks, b""]:
        previous = _sign("AWS4-HMAC-SHA256-PAYLOAD", DATE, SCOPE, previous, EMPTY, hashlib.sha256(data).hexdigest())
        out += b"%x;chunk-signature=%b\r\n" % (len(data), previous.encode()) + (data + b"\r\n" if data else b"")
    if trailer:
        line = f"{CRC}:NhCmhg=="
        digest = hashlib.sha256(f"{line}\n".encode()).hexdigest()
        signature = _sign("AWS4-HMAC-SHA256-TRAILER", DATE, SCOPE, previous, digest)
        out += f"{line}\r\nx-amz-trailer-signature:{signature}\r\n".encode()
    return out + b"\r\n"


def _chunked(data: bytes, *, signed: bool, trailer: bool) -> tuple[bytes, dict[str, str]] | None:
    def run(split: list[bytes]) -> tuple[bytes, dict[str, str]]:
        decoder = ChunkedDecoder(
            decoded_length=None,
            trailers=frozenset([CRC]) if trailer else frozenset(),
            signer=ChunkSigner(KEY, DATE, SCOPE, SEED) if signed else None,
            minimum_chunk=4,
        )
        out = b"".join(bytes(view) for piece in split for view in decoder.feed(piece))
        assert len(out) == decoder.decoded <= len(data)
        return out, decoder.finish()

    return _same_at_any_split(data, run)


SIGNED = [[b"hello"], [b"hello", b"world", b"x"], []]


def signed_stream(data: bytes) -> None:
    """Only what was signed comes out, whatever was done to it."""
    result = _chunked(data, signed=True, trailer=False)
    assert result is None or result[0] in [b"".join(chunks) for chunks in SIGNED]


def signed_trailer(data: bytes) -> None:
    """Only what was signed comes out, with the trailer that was signed."""
    result = _chunked(data, signed=True, trailer=True)
    assert result is None or (result[0] in [b"".join(chunks) for chunks in SIGNED] and result[1] == {CRC: "NhCmhg=="})


def unsigned_trailer(data: bytes) -> None:
    """The declared trailer and no other comes out."""
    result = _chunked(data, signed=False, trailer=True)
    assert result is None or result[1].keys() == {CRC}


def trailer_block(data: bytes) -> None:
    """What follows the last chunk: one line of ours, whatever its spelling."""
    result = _chunked(b"0\r\n" + data, signed=False, trailer=True)
    assert result is None or (result[0] == b"" and result[1].keys() == {CRC})


# --- forms and policies -----------------------------------------------------------------------------------

BOUNDARY = "xYz"


def _part(name: str, value: str, extra: str = "") -> str:
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n{value}\r\n'


FORM = _part("key", "a/${filename}") + _part("file", "content", '; filename="f.txt"\r\nContent-Type: text/plain')
FORM_WORDS = [
    b"\r\n",
    b"--xYz",
    b"\r\n--xYz",
    b"--xYz--",
    b'name="file"',
    b"\r\n\r\n",
    b'"',
    b"; ",
    b"filename=",
    b"\\",
]


def form(data: bytes) -> None:
    """Fields are bounded, and the file lies in the body in one piece."""

    def run(split: list[bytes]) -> tuple[dict[str, str], str, bytes]:
        parser = FormParser(f"multipart/form-data; boundary={BOUNDARY}")
        file = b"".join(bytes(view) for piece in split for view in parser.feed(piece))
        parser.finish()
        return parser.fields, parser.filename, file

    if (result := _same_at_any_split(data, run)) is not None:
        fields, _, file = result
        assert file in data
        assert sum(map(len, fields.values())) <= MAX_PREAMBLE


def content_type(data: bytes) -> None:
    """A boundary is found or the form is refused."""
    _or_refusal(lambda: FormParser(data.decode("latin-1")))


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
POLICY = json.dumps(
    {
        "expiration": "2026-01-02T04:00:00.000Z",
        "conditions": [
            {"bucket": "b"},
            ["starts-with", "$key", "a/"],
            ["eq", "$x-amz-meta-a", "v"],
            ["content-length-range", 0, "100"],
        ],
    }
)
POLICY_WORDS = [b'"', b"[", b"]", b"{", b"}", b",", b":", b"null", b"true", b"1e9", b"-1", b"\\u0000", b"\\ud800"]
POLICY_WORDS += [b"9" * 30, b"$", b'"eq"', b'"starts-with"', b'"content-length-range"', b"NaN", b"Z", b"9999"]


def policy(data: bytes) -> None:
    """What is accepted names its time and conditions, and does not cover what it does not name."""
    text = base64.b64encode(data).decode()
    if (found := _or_refusal(lambda: parse_policy(text))) is not None:
        assert found.length_range is None or 0 <= found.length_range.minimum <= found.length_range.maximum
        fields = {"key": "a/x", "x-amz-meta-a": "v", "policy": text}
        _or_refusal(lambda: accept_form(fields, "f", bucket="b", stated=NOW, now=NOW))
        fields["never-named"] = "x"
        named = any(condition.field == "never-named" for condition in found.conditions)
        assert named or _or_refusal(lambda: accept_form(fields, "f", bucket="b", stated=NOW, now=NOW)) is None


def policy_text(data: bytes) -> None:
    """The base64 around it."""
    _or_refusal(lambda: parse_policy(data.decode("latin-1")))


# --- XML --------------------------------------------------------------------------------------------------

XML_WORDS = [
    b"<Object>",
    b"</Object>",
    b"<Key>",
    b"</Key>",
    b"<!DOCTYPE a [<!ENTITY e 'x'>]>",
    b"&e;",
    b"&amp;",
    b"&#0;",
]
XML_WORDS += [b"<![CDATA[", b"]]>", b"<!--", b"-->", b"<?x?>", b' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"']
XML_WORDS += [
    b' xmlns:a="b"',
    b"a:",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"<Part>",
    b"</Part>",
    b"<ETag>e</ETag>",
    b"<a>" * 20,
]
DELETE = b"<Delete><Quiet>true</Quiet><Object><Key>a &amp; b</Key><VersionId>v</VersionId></Object></Delete>"
COMPLETE = b'<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"e"</ETag></Part></CompleteMultipartUpload>'
LOCATION = b"<CreateBucketConfiguration><LocationConstraint>eu</LocationConstraint></CreateBucketConfiguration>"
TAGGING = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"


def documents(data: bytes) -> None:
    """What we understand another reader finds well-formed, and what we write anew we understand the same."""
    accepted = False
    if (deletion := _or_refusal(lambda: parse_delete(data))) is not None:
        accepted = True
        assert parse_delete(render_delete(deletion.objects, quiet=deletion.quiet)) == deletion
    if (parts := _or_refusal(lambda: parse_complete(data))) is not None:
        accepted = True
        assert parse_complete(render_complete(parts)) == parts
    accepted = _or_refusal(lambda: (parse_location(data),)) is not None or accepted
    accepted = _or_refusal(lambda: parse_tagging(data)) is not None or accepted
    if accepted:
        ET.fromstring(data)  # noqa: S314


LISTING = (
    b'<?xml version="1.0"?><R xmlns="n"><Name>b</Name><C><Key>a&lt;</Key><Owner><ID>1</ID></Owner></C><HostId/></R>'
)
LISTING_WORDS = [
    b"<Name>",
    b"</Name>",
    b"<Name/>",
    b"<Owner>",
    b"</Owner>",
    b"<HostId>",
    b"</HostId>",
    b"<",
    b">",
    b"/",
]
LISTING_WORDS += [b"\x01", b"&#x1;", b"&#000000000000031;", b"\xef\xbf\xbe", b"\xed\xa0\x80", b"&amp", b"\xc3\xa9"]
LISTING_WORDS += [b"<Key>", b"</Key>", b' a=">"', b"<!--", b"<![CDATA[", b"x:", b"&lt;Name&gt;", b" "]


def rewriting(data: bytes) -> None:
    """Nothing of a replaced element comes out, and without replacements all that a strict reader takes does."""

    def run(split: list[bytes], names: dict[str, str | None]) -> bytes | None:
        rewriter = XmlRewriter(names)
        try:
            return b"".join(map(rewriter.feed, split)) + rewriter.finish()
        except S3Error:
            return None

    whole, *others = [run(split, {"Name": "mine", "Owner": "<ID>0</ID>", "HostId": None}) for split in _splits(data)]
    assert all(other == whole for other in others)
    assert whole is None or b"<HostId>" not in whole
    unchanged = run([data], {})
    assert unchanged is None or unchanged == data or not _is_well_formed(data)


def _is_well_formed(data: bytes) -> bool:
    try:
        ET.fromstring(data)  # noqa: S314
    except (ET.ParseError, ValueError, LookupError):
        return False
    return True


def escaping(data: bytes) -> None:
    """Any bytes become text that a strict reader takes."""
    ET.fromstring(f"<a>{escape(data.decode('latin-1'))}</a>")  # noqa: S314


# --- heads ------------------------------------------------------------------------------------------------

CREDENTIAL = "AKID/20260102/us-east-1/s3/aws4_request"
HEAD = f"""GET
/b/k%20x?list-type=2
host: h
x-amz-date: 20260102T030405Z
x-amz-content-sha256: UNSIGNED-PAYLOAD
authorization: AWS4-HMAC-SHA256 Credential={CREDENTIAL}, SignedHeaders=host;x-amz-content-sha256;x-amz-date, \
Signature={"0" * 64}"""
PRESIGNED = f"""GET
/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={CREDENTIAL.replace("/", "%2F")}&X-Amz-Date=20260102T030405Z\
&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature={"0" * 64}
host: h"""
HEAD_WORDS = [b"\n", b"/", b"%", b"%2F", b"%00", b"%zz", b"?", b"&", b"=", b"+", b"..", b"//", b",", b";", b":", b" "]
HEAD_WORDS += [b"host", b"x-amz-date", b"x-amz-security-token", b"AWS ", b"STREAMING-UNSIGNED-PAYLOAD-TRAILER", b"\xff"]
HEAD_WORDS += [b"X-Amz-Signature=", b"x-amz-signature=", b"date: Fri, 02 Jan 2026 03:04:05 GMT", b"99999999T999999Z"]


def head(data: bytes) -> None:
    """A claim is read or refused."""
    lines = data.decode("latin-1").replace("\r", "").split("\n")
    path, _, query = (lines[1] if len(lines) > 1 else "/").partition("?")
    pairs = [(name.strip().lower(), value.strip(" ")) for name, _, value in (line.partition(":") for line in lines[2:])]
    request = RequestHead(lines[0], path, query, Headers(pairs))
    if (claim := _or_refusal(lambda: read_claim(request))) is not None:
        assert "host" in claim.signed_headers
        assert claim.scope.service == "s3"


def query_text(data: bytes) -> None:
    """The canonical query means the same as the query it was made of."""
    text = data.decode("latin-1")
    if (pairs := _or_refusal(lambda: parse_query(text))) is not None:
        canonical = canonical_query(pairs)
        assert sorted(parse_query(canonical)) == sorted(pairs)
        assert canonical_query(parse_query(canonical)) == canonical


def path_text(data: bytes) -> None:
    """The canonical path means the same as the path it was made of, and is its own canonical form."""
    text = data.decode("latin-1")
    if (canonical := _or_refusal(lambda: canonical_path(text))) is not None:
        assert decode(canonical) == (decode(text) or "/")
        assert canonical_path(canonical) == canonical
    if (address := _or_refusal(lambda: locate("b.s3.test", "/" + text, ("s3.test",)))) is not None:
        assert address.bucket == "b"
    if (address := _or_refusal(lambda: locate("h", "/" + text, ()))) is not None:
        assert address.bucket is None or is_bucket_name(address.bucket)


def copy_source(data: bytes) -> None:
    """A source that is accepted means the same when it is written anew (W3)."""
    if (source := _or_refusal(lambda: parse_copy_source(data.decode("latin-1")))) is not None:
        assert is_bucket_name(source.bucket)
        version = "" if source.version_id is None else f"?versionId={encode(source.version_id)}"
        assert parse_copy_source(f"/{source.bucket}/{encode(source.key, slash=True)}{version}") == source


def checksum_headers(data: bytes) -> None:
    """Declarations are understood or refused."""
    lines = (line.partition(":") for line in data.decode("latin-1").split("\n"))
    headers = Headers([(name.lower(), value) for name, _, value in lines])

    def run() -> None:
        digests = Digests.expected(headers, declared_trailers(headers))
        digests.update(b"hello")
        digests.check(dict.fromkeys(declared_trailers(headers), "NhCmhg=="))

    _or_refusal(run)


SUM_WORDS = [
    b"content-md5:",
    b"x-amz-checksum-",
    b"crc32",
    b"crc64nvme",
    b"sha256",
    b":",
    b"\n",
    b"=",
    b"x-amz-trailer:",
]
SUM_WORDS += [b"x-amz-sdk-checksum-algorithm:CRC32", b",", b"NhCmhg==", b"XUFAKrxLKna5cZ2REBfFkg=="]

TARGETS = [
    Target("signed stream", signed_stream, [_signed(c, trailer=False) for c in SIGNED], CHUNK_WORDS),
    Target("signed trailer", signed_trailer, [_signed(c, trailer=True) for c in SIGNED], CHUNK_WORDS),
    Target(
        "unsigned trailer",
        unsigned_trailer,
        [b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", b"0\r\nx-amz-checksum-crc32:AAAAAA==\n\r\n\r\n"],
        CHUNK_WORDS,
    ),
    Target("trailer", trailer_block, [b"x-amz-checksum-crc32:NhCmhg==\r\n\r\n"], CHUNK_WORDS),
    Target("form", form, [(FORM + f"--{BOUNDARY}--\r\n").encode()], FORM_WORDS),
    Target(
        "content type",
        content_type,
        [b"multipart/form-data; boundary=x", b'Multipart/Form-Data; charset=utf-8; boundary="a b"'],
        [b";", b"=", b'"', b"boundary", b"\\", b" ", b"'", b"multipart/form-data"],
    ),
    Target("policy", policy, [POLICY.encode()], POLICY_WORDS),
    Target("policy text", policy_text, [base64.b64encode(POLICY.encode())], [b"=", b"e30=", b"\n", b"\xff", b"W3s="]),
    Target("documents", documents, [DELETE, COMPLETE, LOCATION, TAGGING], XML_WORDS),
    Target("rewriting", rewriting, [LISTING], LISTING_WORDS, longest=2048),
    Target(
        "escaping", escaping, [b"a&<>\"']]>", b"\xc3\xa9\xed\xa0\x80\xef\xbf\xbe"], [b"\r", b"\0", b"\xf0\x9f\x98\x80"]
    ),
    Target("head", head, [HEAD.encode(), PRESIGNED.encode()], HEAD_WORDS),
    Target("query", query_text, [b"a=b&c&d=&=e&a+b=%20%2B"], HEAD_WORDS),
    Target("path", path_text, [b"b/k", b"bucket/a%20b/../c//%C3%A9"], HEAD_WORDS),
    Target("copy source", copy_source, [b"/bucket/k?versionId=v", b"bucket/a%3FversionId%3Db"], HEAD_WORDS),
    Target(
        "checksums",
        checksum_headers,
        [b"content-md5:XUFAKrxLKna5cZ2REBfFkg==\nx-amz-checksum-crc32:NhCmhg==", b"x-amz-trailer:x-amz-checksum-crc32"],
        SUM_WORDS,
    ),
]
