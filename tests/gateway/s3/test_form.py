"""Browser forms: fields and file come out at any split, everything that readers disagree on is refused."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import S3Error
from gateway.s3.form import FormParser

BOUNDARY = "----WebKitFormBoundaryABC"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def part(
    name: str, value: bytes = b"", filename: str | None = None, headers: str = "", boundary: str = BOUNDARY
) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'
    head += f'; filename="{filename}"' if filename is not None else ""
    return (head + "\r\n" + headers + "\r\n").encode("latin-1") + value + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
FILE = part("file", b"content", "f.txt", "Content-Type: text/plain\r\n")
GOOD = part("key", b"a/b") + part("Content-Type", b"text/x") + FILE + END


def read(body: bytes, cuts: list[int] | int = 1 << 30, content_type: str = TYPE) -> tuple[FormParser, bytes]:
    if isinstance(cuts, int):
        cuts = list(range(cuts, len(body), cuts))
    parser = FormParser(content_type)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    file = b"".join(bytes(view) for a, b in pairwise(edges) for view in parser.feed(body[a:b]))
    parser.finish()
    return parser, file


def refusal(body: bytes, content_type: str = TYPE) -> S3Error:
    errors = []
    for cuts in (1 << 30, 1 << 12, 13):
        with pytest.raises(S3Error) as caught:
            read(body, cuts, content_type)
        errors.append(caught.value)
    assert len({error.code for error in errors}) == 1
    return errors[0]


@pytest.mark.parametrize("cuts", [1 << 30, 1, 2, 3, 7, 30, 64])
def test_fields_and_file_come_out_at_any_split(cuts: int) -> None:
    parser, file = read(GOOD, cuts)
    assert parser.fields == {"key": "a/b", "content-type": "text/x"}
    assert (parser.filename, file) == ("f.txt", b"content")


def test_every_single_split_gives_the_same() -> None:
    for cut in range(len(GOOD)):
        assert read(GOOD, [cut])[1] == b"content"


NEARLY = [b"\r\n--", b"\r\n--" + BOUNDARY.encode()[:-1], b"\r", b"\n", b"--", b"x", BOUNDARY.encode()]
tricky = (st.binary(max_size=60) | st.lists(st.sampled_from(NEARLY), max_size=6).map(b"".join)).filter(
    lambda value: b"\r\n--" + BOUNDARY.encode() not in value
)


@settings(max_examples=300, deadline=None)
@given(
    fields=st.dictionaries(
        st.text("abcdefgh-", min_size=1, max_size=8).filter(lambda name: name != "file"), tricky, max_size=4
    ),
    file=tricky,
    cuts=st.lists(st.integers(0, 900), max_size=12),
    rest=st.sampled_from([b"", part("key", b"evil"), part("submit", b"Upload") + part("a")]),
    close=st.sampled_from([b"", b"\r\n"]),
)
def test_any_form_comes_out_of_any_split(
    fields: dict[str, bytes], file: bytes, cuts: list[int], rest: bytes, close: bytes
) -> None:
    body = b"".join(part(name, value) for name, value in fields.items())
    body += part("file", file, "x") + rest + END[:-2] + close
    parser, got = read(body, cuts)
    assert got == file
    assert {name: value.encode("latin-1") for name, value in parser.fields.items()} == fields


def test_the_file_is_handed_on_before_it_is_complete() -> None:
    parser = FormParser(TYPE)
    at = GOOD.index(b"content")
    assert parser.feed(GOOD[:at]) == []
    assert parser.file_begun
    assert parser.fields == {"key": "a/b", "content-type": "text/x"}
    assert [bytes(view) for view in parser.feed(b"cont")] == [b"cont"]


def test_a_large_file_is_not_collected() -> None:
    parser = FormParser(TYPE)
    parser.feed(GOOD[: GOOD.index(b"content")])
    start = time.thread_time()
    block = b"\r" * (1 << 20)
    sent = sum(len(view) for _ in range(64) for view in parser.feed(block))
    assert (64 << 20) - sent <= len(BOUNDARY) + 4
    assert time.thread_time() - start < 1


def test_what_comes_after_the_file_is_ignored() -> None:
    body = GOOD.removesuffix(END) + part("key", b"evil") + part("acl", b"public-read") + END
    assert read(body)[0].fields == {"key": "a/b", "content-type": "text/x"}


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (part("key", b"k") + END, "0"),
        (END, "0"),
        (GOOD.removesuffix(END) + FILE + END, "2"),
        (GOOD.removesuffix(END) + part("a", b"b") + part("FILE", b"x") + END, "2"),
    ],
)
def test_there_is_exactly_one_file(body: bytes, count: str) -> None:
    error = refusal(body)
    assert (error.code, error.fields["ArgumentValue"]) == ("InvalidArgument", count)


def test_the_file_needs_no_file_name() -> None:
    parser, file = read(part("key", b"k") + part("file", b"x") + END)
    assert (parser.filename, file) == ("", b"x")


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("f.txt", "f.txt"),
        ("", ""),
        ("C:\\Users\\me\\f.txt", "f.txt"),
        ("a/b/../f.txt", "f.txt"),
        ("..", ".."),
        ('a\\"b;c=d.txt', 'a"b;c=d.txt'),
        ("a%22b.txt", "a%22b.txt"),
        ("\xc3\xa9.txt", "\xc3\xa9.txt"),
        ("dir\\", ""),
    ],
)
def test_a_file_name_is_what_follows_the_last_separator(sent: str, name: str) -> None:
    assert read(part("file", b"x", sent) + END)[0].filename == name


@pytest.mark.parametrize(
    "content_type",
    [
        f"Multipart/Form-Data; Boundary={BOUNDARY}",
        f'multipart/form-data; boundary="{BOUNDARY}"',
        f"multipart/form-data;charset=utf-8;boundary={BOUNDARY} ; ",
    ],
)
def test_spellings_of_the_content_type(content_type: str) -> None:
    assert read(GOOD, content_type=content_type)[1] == b"content"


@pytest.mark.parametrize(
    ("content_type", "code"),
    [
        ("", "PreconditionFailed"),
        ("application/x-www-form-urlencoded", "PreconditionFailed"),
        (f"multipart/mixed; boundary={BOUNDARY}", "PreconditionFailed"),
        (f"multipart/form-data, multipart/form-data; boundary={BOUNDARY}", "PreconditionFailed"),
        ("multipart/form-data", "MalformedPOSTRequest"),
        ("multipart/form-data; boundary=", "MalformedPOSTRequest"),
        ('multipart/form-data; boundary=""', "MalformedPOSTRequest"),
        ('multipart/form-data; boundary="x', "MalformedPOSTRequest"),
        ('multipart/form-data; boundary="x "', "MalformedPOSTRequest"),
        ('multipart/form-data; boundary="a\r\nb"', "MalformedPOSTRequest"),
        ("multipart/form-data; boundary=\xe9", "MalformedPOSTRequest"),
        (f"multipart/form-data; boundary={'b' * 71}", "MalformedPOSTRequest"),
        (f"multipart/form-data; boundary={'b' * 10_000}", "MalformedPOSTRequest"),
        (f"multipart/form-data; boundary={BOUNDARY}; boundary=x", "MalformedPOSTRequest"),
        (f"multipart/form-data; boundary={BOUNDARY}, x", "MalformedPOSTRequest"),
    ],
)
def test_a_content_type_that_is_no_form_is_refused(content_type: str, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        FormParser(content_type)
    assert caught.value.code == code


def test_a_boundary_of_seventy_characters_is_allowed() -> None:
    boundary = "b" * 70
    body = part("file", b"x", "f", boundary=boundary) + f"--{boundary}--".encode()
    assert read(body, content_type=f"multipart/form-data; boundary={boundary}")[1] == b"x"


MALFORMED = {
    "empty": b"",
    "preamble": b"hello\r\n" + GOOD,
    "cut in the file": GOOD[: GOOD.index(b"content") + 3],
    "cut in the boundary": GOOD[:-8],
    "no closing boundary": GOOD.removesuffix(END),
    "cut in a field": GOOD[:90],
    "epilogue": GOOD + b"x",
    "second form": GOOD + GOOD,
    "longer boundary": GOOD.replace(b"a/b\r\n--" + BOUNDARY.encode(), b"a/b\r\n--" + BOUNDARY.encode() + b"x"),
    "line feeds only": GOOD.replace(b"\r\n", b"\n"),
    "blank after boundary": GOOD.replace(BOUNDARY.encode() + b"\r\n", BOUNDARY.encode() + b" \r\n"),
    "no disposition": f"--{BOUNDARY}\r\nContent-Type: x\r\n\r\n".encode() + GOOD,
    "no headers": f"--{BOUNDARY}\r\n\r\nvalue\r\n\r\n".encode() + GOOD,
    "two dispositions": part("a", headers='Content-Disposition: form-data; name="b"\r\n') + GOOD,
    "attachment": GOOD.replace(b"form-data;", b"attachment;", 1),
    "no name": GOOD.replace(b'; name="key"', b""),
    "empty name": GOOD.replace(b'name="key"', b'name=""'),
    "two names": GOOD.replace(b'name="key"', b'name="key"; name="file"'),
    "folded header": GOOD.replace(b'form-data; name="key"', b'form-data;\r\n name="key"'),
    "NUL in a name": GOOD.replace(b'name="key"', b'name="k\0ey"'),
    "bare CR in a name": GOOD.replace(b'name="key"', b'name="k\rey"'),
    "field twice": part("KEY", b"x") + GOOD,
    "base64": GOOD.replace(b"Content-Type: text/plain", b"Content-Transfer-Encoding: base64"),
    "long part header": GOOD.replace(b'name="key"', b'name="key"; x="' + b"a" * (1 << 20) + b'"'),
    "too much after the file": GOOD.removesuffix(END) + part("a", b"x" * (1 << 20)) + END,
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_form_that_readers_would_disagree_on_is_refused(case: str) -> None:
    assert refusal(MALFORMED[case]).code == "MalformedPOSTRequest"


TOO_LARGE = {
    "1000 fields": b"".join(part(f"x-ignore-{n}", b"1") for n in range(1000)) + GOOD,
    "101 small fields": b"".join(part(f"a{n}") for n in range(101)) + GOOD,
    "one large field": part("x-amz-meta-a", b"a" * (1 << 20)) + GOOD,
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_what_precedes_the_file_is_limited(case: str) -> None:
    start = time.thread_time()
    assert refusal(TOO_LARGE[case]).code == "MaxPostPreDataLengthExceededError"
    assert time.thread_time() - start < 1


def test_twenty_kilobytes_of_fields_are_allowed_and_no_more() -> None:
    overhead = len(part("a")) + GOOD.index(b"content")
    assert read(part("a", b"x" * (20 * 1024 - overhead)) + GOOD)[1] == b"content"
    body = part("a", b"x" * (20 * 1024 - overhead + 1)) + GOOD
    assert refusal(body).code == "MaxPostPreDataLengthExceededError"


def test_a_nested_form_is_content_and_not_read() -> None:
    inner = b"--zz\r\nContent-Disposition: file; filename=x\r\n\r\nevil\r\n--zz--"
    body = part("key", b"k") + part("file", inner, "f", "Content-Type: multipart/mixed; boundary=zz\r\n") + END
    assert read(body)[1] == inner


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_nothing_else_happens(data: bytes) -> None:
    with pytest.raises(S3Error):
        read(data)
    with pytest.raises(S3Error):
        read(GOOD[:150] + data)
