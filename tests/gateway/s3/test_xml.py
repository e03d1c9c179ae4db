"""Hostile documents are refused, honest ones understood; what we write is well-formed; names are rewritten."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET  # the independent reader
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import S3Error
from gateway.s3.xml import (
    NAMESPACE,
    DeleteRequest,
    Part,
    XmlRewriter,
    escape,
    parse,
    parse_complete,
    parse_delete,
    parse_location,
    render_complete,
    render_delete,
    render_error,
    render_list_buckets,
    render_location,
    render_post_response,
)

NS = f"{{{NAMESPACE}}}"


def wire(text: str) -> str:
    return text.encode().decode("latin-1")


def code_of(function: object, data: str | bytes) -> str:
    with pytest.raises(S3Error) as caught:
        function(data.encode() if isinstance(data, str) else data)  # type: ignore[operator]
    return caught.value.code


def delete(content: str) -> str:
    return f"<Delete>{content}</Delete>"


OBJECT = "<Object><Key>k</Key></Object>"


# --- hostile documents ------------------------------------------------------------------------------------

LAUGHS = '<!DOCTYPE l [<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{i + 1} "{f"&a{i};" * 10}">' for i in range(9)) + "]>"
HOSTILE = {
    "external entity": '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    + delete("<Object><Key>&e;</Key></Object>"),
    "external DTD": '<!DOCTYPE Delete SYSTEM "http://127.0.0.1:1/x.dtd">' + delete(OBJECT),
    "parameter entity": '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://127.0.0.1:1/"> %p;]>' + delete(OBJECT),
    "billion laughs": LAUGHS + delete("<Object><Key>&a9;</Key></Object>"),
    "quadratic": f'<!DOCTYPE l [<!ENTITY a "{"x" * 50_000}">]>' + delete(f"<Object><Key>{'&a;' * 2000}</Key></Object>"),
    "doctype without entities": "<!DOCTYPE Delete>" + delete(OBJECT),
    "undefined entity": delete("<Object><Key>&e;</Key></Object>"),
    "processing instruction": "<?x y?>" + delete(OBJECT),
    "depth": delete("<a>" * 100_000 + "</a>" * 100_000),
    "attributes": "<Delete" + "".join(f' a{i}="1"' for i in range(20_000)) + f">{OBJECT}</Delete>",
    "one attribute": '<Delete a="1">' + OBJECT + "</Delete>",
    "foreign namespace": '<Delete xmlns="http://example.test/">' + OBJECT + "</Delete>",
    "foreign namespace inside": delete('<Object xmlns:x="u:x"><x:Key>k</x:Key></Object>'),
    "elements": delete("<a/>" * 400_000),
    "other root": "<Remove>" + OBJECT + "</Remove>",
    "text beside elements": delete("text" + OBJECT),
    "text after the end": delete(OBJECT) + "x",
    "two roots": delete(OBJECT) * 2,
    "open": "<Delete>" + OBJECT,
    "empty": "",
    "blank": " ",
    "NUL": delete("<Object><Key>a\0</Key></Object>"),
    "control character": delete("<Object><Key>&#1;</Key></Object>"),
    "surrogate": delete("<Object><Key>&#xD800;</Key></Object>"),
    "XML 1.1": '<?xml version="1.1"?>' + delete(OBJECT),
    "another encoding": '<?xml version="1.0" encoding="ISO-8859-1"?>' + delete(OBJECT),
    "JSON": "{}",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_document_is_malformed_and_cheap(case: str) -> None:
    start = time.thread_time()
    assert code_of(parse_delete, HOSTILE[case]) == "MalformedXML"
    assert time.thread_time() - start < 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_only_utf_8_is_read(encoding: str) -> None:
    assert code_of(parse_delete, delete("<Object><Key>é</Key></Object>").encode(encoding)) == "MalformedXML"


def test_a_comment_after_every_character_costs_no_more_than_its_bytes() -> None:
    start = time.thread_time()
    (entry,) = parse_delete(delete(f"<Object><Key>{'a<!---->' * 250_000}</Key></Object>").encode()).objects
    assert entry == ("a" * 250_000, None)
    assert time.thread_time() - start < 1


@given(st.binary(max_size=300))
def test_garbage_is_refused_and_nothing_else_happens(data: bytes) -> None:
    for read in (parse_delete, parse_complete, parse_location):
        with pytest.raises(S3Error):
            read(data)


# --- DeleteObjects ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("namespace", ["", f' xmlns="{NAMESPACE}"'])
def test_a_delete_document_is_understood(namespace: str) -> None:
    text = f"""<?xml version="1.0" encoding="UTF-8"?>
        <Delete{namespace}><!-- two --><Object><Key>a &amp; &#x10;é</Key></Object>
        <Object><VersionId>v1</VersionId><Key><![CDATA[<b>]]></Key></Object><Quiet>true</Quiet></Delete>"""
    text = text.replace("&#x10;", "&#10;")
    assert parse_delete(text.encode()) == DeleteRequest([(wire("a & \né"), None), ("<b>", "v1")], quiet=True)


def test_quiet_is_off_unless_it_is_true() -> None:
    assert not parse_delete(delete(OBJECT).encode()).quiet
    assert not parse_delete(delete("<Quiet>false</Quiet>" + OBJECT).encode()).quiet


def test_an_empty_version_id_is_none() -> None:
    data = delete("<Object><Key>k</Key><VersionId></VersionId></Object>").encode()
    assert parse_delete(data).objects == [("k", None)]


@pytest.mark.parametrize(
    "content",
    [
        "",
        OBJECT * 1001,
        "<Object></Object>",
        "<Object><Key></Key></Object>",
        "<Object><VersionId>v</VersionId></Object>",
        "<Object><Key>a</Key><Key>b</Key></Object>",
        "<Object><Key>a<Key>b</Key></Key></Object>",
        "<Object><Kye>a</Kye></Object>",
        "<Object><Key>a</Key><Bypass>true</Bypass></Object>",
        OBJECT + "<Quite>true</Quite>",
        OBJECT + "<Quiet>yes</Quiet>",
        OBJECT + "<Quiet>true</Quiet><Quiet>false</Quiet>",
    ],
)
def test_an_unknown_or_incomplete_delete_document_is_malformed(content: str) -> None:
    assert code_of(parse_delete, delete(content)) == "MalformedXML"


@pytest.mark.parametrize("name", ["ETag", "LastModifiedTime", "Size"])
def test_a_condition_on_a_delete_is_refused_and_never_dropped(name: str) -> None:
    assert code_of(parse_delete, delete(f"<Object><Key>k</Key><{name}>1</{name}></Object>")) == "NotImplemented"


SPEAKABLE = st.text(
    st.characters(codec="utf-8", exclude_characters="\ufffe\uffff", exclude_categories=["Cc"])
    | st.sampled_from("\t\n\r"),
    min_size=1,
    max_size=20,
)


@given(st.lists(st.tuples(SPEAKABLE, st.none() | SPEAKABLE), min_size=1, max_size=5), st.booleans())
def test_what_is_sent_to_the_backend_means_what_was_understood(
    objects: list[tuple[str, str | None]], quiet: bool
) -> None:
    request = [(wire(key), None if version is None else wire(version)) for key, version in objects]
    assert parse_delete(render_delete(request, quiet=quiet)) == DeleteRequest(request, quiet)


# --- CompleteMultipartUpload ------------------------------------------------------------------------------


def complete(*parts: tuple[object, str]) -> str:
    inner = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{e}</ETag></Part>" for n, e in parts)
    return f"<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>"


def test_parts_are_understood_with_their_checksums() -> None:
    text = (
        f'<CompleteMultipartUpload xmlns="{NAMESPACE}">'
        "<Part><ETag>&quot;ab-1&quot;</ETag><PartNumber> 1 </PartNumber></Part>"
        "<Part><PartNumber>10000</PartNumber><ETag>cd</ETag><ChecksumCRC32>NhCmhg==</ChecksumCRC32></Part>"
        "</CompleteMultipartUpload>"
    )
    parts = parse_complete(text.encode())
    assert parts == [Part(1, '"ab-1"'), Part(10000, "cd", (("ChecksumCRC32", "NhCmhg=="),))]
    assert parse_complete(render_complete(parts)) == parts
    assert parts[1].without_checksums() == Part(10000, "cd")


def test_ten_thousand_parts_are_allowed() -> None:
    assert len(parse_complete(complete(*((n, "e" * 32) for n in range(1, 10_001))).encode())) == 10_000


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([(2, "e"), (1, "e")], "InvalidPartOrder"),
        ([(1, "e"), (1, "e")], "InvalidPartOrder"),
        ([(0, "e")], "InvalidPart"),
        ([(10001, "e")], "InvalidPart"),
        ([(-1, "e")], "MalformedXML"),
        ([("1.0", "e")], "MalformedXML"),
        ([("", "e")], "MalformedXML"),
        ([("٣", "e")], "MalformedXML"),  # a digit to int(), not to S3
        ([("9" * 5000, "e")], "MalformedXML"),
        ([(1, "")], "MalformedXML"),
        ([(1, '"e"&quot;&gt;&lt;Part&gt;')], "InvalidPart"),
        ([(1, "a" * (1 << 20))], "InvalidPart"),
        ([(1, "é")], "InvalidPart"),
        ([(1, "&#10;e&#10;f")], "InvalidPart"),
        ([], "MalformedXML"),
        ([(n, "e") for n in range(1, 10_002)], "MalformedXML"),
    ],
)
def test_a_wrong_list_of_parts_is_refused(parts: list[tuple[object, str]], code: str) -> None:
    assert code_of(parse_complete, complete(*parts)) == code


@pytest.mark.parametrize(
    "inner",
    [
        "<Part><ETag>e</ETag></Part>",
        "<Part><PartNumber>1</PartNumber></Part>",
        "<Part><PartNumber>1</PartNumber><ETag>e</ETag><Size>1</Size></Part>",
        "<Part><PartNumber>1</PartNumber><ETag>e</ETag><ChecksumCRC32>!</ChecksumCRC32></Part>",
        "<Prat><PartNumber>1</PartNumber><ETag>e</ETag></Prat>",
    ],
)
def test_an_unknown_or_incomplete_part_is_malformed(inner: str) -> None:
    assert code_of(parse_complete, f"<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>") == "MalformedXML"


# --- CreateBucket -----------------------------------------------------------------------------------------


def location(inner: str) -> str:
    return f"<CreateBucketConfiguration>{inner}</CreateBucketConfiguration>"


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        ("<LocationConstraint>eu-west-1</LocationConstraint>", "eu-west-1"),
        ("<LocationConstraint> </LocationConstraint>", None),
        ("", None),
    ],
)
def test_a_location_is_understood(inner: str, expected: str | None) -> None:
    assert parse_location(location(inner).encode()) == expected


@pytest.mark.parametrize(
    ("inner", "code"),
    [
        (
            "<LocationConstraint>a</LocationConstraint><LocationConstraint>b</LocationConstraint>",
            "MalformedXML",
        ),
        ("<LocationConstraint><a/></LocationConstraint>", "MalformedXML"),
        ("<LocationConstriant>a</LocationConstriant>", "MalformedXML"),
        ("eu-west-1", "MalformedXML"),
        ("<LocationConstraint>&lt;x&gt;</LocationConstraint>", "InvalidLocationConstraint"),
        ("<Tags><Tag/></Tags>", "NotImplemented"),
        ("<Location><Type>AvailabilityZone</Type></Location>", "NotImplemented"),
    ],
)
def test_a_configuration_that_is_not_understood_is_refused(inner: str, code: str) -> None:
    assert code_of(parse_location, location(inner)) == code


# --- writing ----------------------------------------------------------------------------------------------


@given(st.binary(max_size=60))
def test_whatever_is_written_is_well_formed(data: bytes) -> None:
    text = data.decode("latin-1")
    for document in (
        render_error(S3Error("NoSuchKey", text, Key=text), text, text, text),
        render_list_buckets(text, text, [(text, text)], continuation_token=text),
        render_location(text),
        render_post_response(text, text, text, text),
        render_delete([(text, text)], quiet=False),
    ):
        ET.fromstring(document)  # noqa: S314


@given(SPEAKABLE)
def test_text_that_xml_can_carry_comes_back_as_it_was(text: str) -> None:
    assert ET.fromstring(f"<a>{escape(wire(text))}</a>").text == text  # noqa: S314


@pytest.mark.parametrize("text", ["\x01", "\x1f", wire("\ufffe"), "\xed\xa0\x80", "\xff"])
def test_text_that_xml_cannot_carry_becomes_the_replacement_character(text: str) -> None:
    assert set(escape(text)) == {"\ufffd"}


def test_an_error_has_its_elements_in_aws_order() -> None:
    error = S3Error("AccessDenied", HeadersNotSigned="a, b")
    document = render_error(error, "/b/k&", "id", "host")
    assert [(child.tag, child.text) for child in ET.fromstring(document)] == [  # noqa: S314
        ("Code", "AccessDenied"),
        ("Message", "Access Denied"),
        ("HeadersNotSigned", "a, b"),
        ("Resource", "/b/k&"),
        ("RequestId", "id"),
        ("HostId", "host"),
    ]


def test_the_list_of_buckets() -> None:
    document = render_list_buckets("1", "me", [("a", "2026-01-02T03:04:05.000Z"), ("b", "x")], continuation_token="b")
    root = ET.fromstring(document)  # noqa: S314
    assert root.tag == NS + "ListAllMyBucketsResult"
    assert root.findtext(f"{NS}Owner/{NS}DisplayName") == "me"
    assert [name.text for name in root.iter(NS + "Name")] == ["a", "b"]
    assert root.findtext(NS + "ContinuationToken") == "b"


@pytest.mark.parametrize(("region", "text"), [("eu-central-1", "eu-central-1"), ("us-east-1", None)])
def test_us_east_1_is_the_region_without_a_name(region: str, text: str | None) -> None:
    assert ET.fromstring(render_location(region)).text == text  # noqa: S314


# --- rewriting --------------------------------------------------------------------------------------------

LISTING = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>backend--b</Name><Prefix></Prefix>
<Contents><Key>&lt;Name&gt;backend--b&lt;/Name&gt; a>b</Key>
<Owner><ID>root</ID><DisplayName>r</DisplayName></Owner>
<ETag>&quot;x&quot;</ETag></Contents><Contents><Key>Name</Key><Owner/></Contents>
<HostId>node7</HostId></ListBucketResult>
"""
NAMES = {"Name": "mine", "Owner": "<ID>1</ID>", "HostId": None}
REWRITTEN = (
    LISTING.replace(b"<Name>backend--b<", b"<Name>mine<")
    .replace(b"<ID>root</ID><DisplayName>r</DisplayName>", b"<ID>1</ID>")
    .replace(b"<Owner/>", b"<Owner><ID>1</ID></Owner>")
    .replace(b"<HostId>node7</HostId>", b"")
)


def rewrite(data: bytes, names: dict[str, str | None], cuts: list[int] | int = 1 << 30) -> bytes:
    if isinstance(cuts, int):
        cuts = list(range(cuts, len(data), cuts))
    rewriter = XmlRewriter(names)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return b"".join(rewriter.feed(data[a:b]) for a, b in pairwise(edges)) + rewriter.finish()


@pytest.mark.parametrize("cuts", [1 << 30, 1, 2, 3, 7, 50])
def test_named_elements_are_replaced_and_nothing_else(cuts: int) -> None:
    assert rewrite(LISTING, NAMES, cuts) == REWRITTEN


def test_every_single_split_gives_the_same() -> None:
    for cut in range(len(LISTING)):
        assert rewrite(LISTING, NAMES, [cut]) == REWRITTEN


@pytest.mark.parametrize("cuts", [1 << 30, 1, 5])
def test_without_replacements_nothing_changes(cuts: int) -> None:
    assert rewrite(LISTING, {}, cuts) == LISTING
    assert rewrite(LISTING, {"Nam": "x", "Names": "x", "wner": None}, cuts) == LISTING


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"<r><Name >x</Name ></r>", b"<r><Name >N</Name ></r>"),
        (b'<r><Name a="1"\n>x</Name></r>', b'<r><Name a="1"\n>N</Name></r>'),
        (b'<r><Name a="1" /></r>', b'<r><Name a="1" >N</Name></r>'),
        (b"<r><s:Name>x</s:Name></r>", b"<r><s:Name>N</s:Name></r>"),
        (b"<r><Name>x<Name>y</Name>z<Name/></Name>t</r>", b"<r><Name>N</Name>t</r>"),
        (b"<r><Name>x<Drop>y</Drop></Name><Drop>x<Name>y</Name></Drop></r>", b"<r><Name>N</Name></r>"),
        (b"<r><Drop/>a<Drop></Drop></r>", b"<r>a</r>"),
        (b"<r><Named>x</Named><name>x</name></r>", b"<r><Named>x</Named><name>x</name></r>"),
        (b"<Name>x</Name>", b"<Name>N</Name>"),
    ],
)
@pytest.mark.parametrize("cuts", [1 << 30, 1])
def test_spellings_of_tags(data: bytes, expected: bytes, cuts: int) -> None:
    assert rewrite(data, {"Name": "N", "Drop": None}, cuts) == expected


def test_white_space_that_keeps_the_connection_alive_passes_at_once() -> None:
    rewriter = XmlRewriter(NAMES)
    assert rewriter.feed(b'<?xml version="1.0"?>\n') == b'<?xml version="1.0"?>\n'
    assert rewriter.feed(b"  \n") == b"  \n"


@pytest.mark.parametrize(
    "data",
    [
        b"<r><![CDATA[<Name>x</Name>]]></r>",
        b"<r><!-- <Name> --></r>",
        b"<r></Name></r>",
        b"<r><Name>x</r>",
        b"<r><Name>x</Name </r><a/>",  # found by fuzzing: a tag that holds the beginning of another
        b"<r><Name>" + b"x" * 70_000 + b"</Name></r>",
    ],
)
@pytest.mark.parametrize("cuts", [1 << 30, 1])
def test_what_stores_do_not_write_is_refused(data: bytes, cuts: int) -> None:
    with pytest.raises(S3Error) as caught:
        rewrite(data, {"Name": "N"}, cuts)
    assert caught.value.code == "InternalError"


def test_a_tag_without_an_end_is_not_collected() -> None:
    rewriter = XmlRewriter(NAMES)
    rewriter.feed(b"<r><" + b"x" * 4000)
    with pytest.raises(S3Error):
        rewriter.feed(b"x" * 100)


UNSPEAKABLE = [
    b"\x01",
    b"\x1f",
    b"&#1;",
    b"&#x1F;",
    b"&#000031;",
    b"&#xFFFE;",
    b"&#xd800;",
    b"\xef\xbf\xbf",
    b"\xed\xa0\x80",
]


@pytest.mark.parametrize("bad", UNSPEAKABLE)
def test_what_a_strict_reader_refuses_is_replaced_at_every_split(bad: bytes) -> None:
    data = b"<r><Key>a" + bad + b"b&#13;&amp;\xc3\xa9\xed\x9f\xbf\xef\xbf\xbd\t\n</Key></r>"
    expected = data.replace(bad, "\ufffd".encode())
    ET.fromstring(expected)  # noqa: S314
    assert rewrite(data, {}) == expected
    assert rewrite(data, {}, 1) == expected
    for cut in range(len(data)):
        assert rewrite(data, {}, [cut]) == expected


def test_a_reference_longer_than_any_store_writes_passes_alike_at_every_split() -> None:
    """Found by fuzzing: whole it was replaced, cut in half it was not."""
    data = b"<r><Key>&#000000000000031;a</Key></r>"
    assert {rewrite(data, {}, [cut]) for cut in range(len(data))} == {data}


names = st.sampled_from(["Name", "Owner", "HostId", "Key", "a"])
trees = st.recursive(
    st.text(alphabet='<>&"NameKey ]', max_size=8),
    lambda inner: st.lists(st.tuples(names, inner), max_size=4),
    max_leaves=12,
)


def write(name: str, content: object) -> str:
    if isinstance(content, str):
        return f"<{name}>{escape(content)}</{name}>" if content else f"<{name}/>"
    return f"<{name}>{''.join(write(*child) for child in content)}</{name}>"  # type: ignore[attr-defined]


def expected_tree(name: str, content: object) -> str:
    if name in NAMES:
        return "" if NAMES[name] is None else f"<{name}>{NAMES[name]}</{name}>"
    if isinstance(content, str):
        return write(name, content)
    return f"<{name}>{''.join(expected_tree(*child) for child in content)}</{name}>"  # type: ignore[attr-defined]


@settings(max_examples=300)
@given(trees, st.lists(st.integers(0, 500), max_size=10))
def test_any_document_is_rewritten_at_any_split(content: object, cuts: list[int]) -> None:
    assert rewrite(write("r", content).encode(), NAMES, cuts) == expected_tree("r", content).encode()


def test_parse_gives_a_tree_of_wire_text() -> None:
    tree = parse("<a><b>é</b><c/></a>".encode(), "a")
    assert [(child.name, child.text) for child in tree.children] == [("b", wire("é")), ("c", "")]
