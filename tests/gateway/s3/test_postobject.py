"""An accepted form becomes a PutObject that carries exactly what the policy allowed."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest

from gateway.errors import S3Error
from gateway.s3.postobject import AcceptedForm, accept_form, redirect_target

NOW = datetime(2026, 1, 2, 3, 10, tzinfo=UTC)
STATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TAGGING = (
    "<Tagging><TagSet><Tag><Key>a b</Key><Value>&amp;é</Value></Tag><Tag><Key>c</Key><Value/></Tag></TagSet></Tagging>"
)


def accept(fields: dict[str, str], filename: str = "f.txt", *conditions: object) -> AcceptedForm:
    wanted = [{"bucket": "b"}, *conditions]
    wanted += [["starts-with", f"${name}", ""] for name in fields if not conditions]
    document = {"expiration": "2026-01-02T04:00:00Z", "conditions": wanted}
    policy = base64.b64encode(json.dumps(document).encode()).decode()
    return accept_form(fields | {"policy": policy}, filename, bucket="b", stated=STATED, now=NOW)


def refusal(fields: dict[str, str], *conditions: object) -> S3Error:
    with pytest.raises(S3Error) as caught:
        accept({"key": "k"} | fields, "f.txt", *conditions)
    return caught.value


def test_fields_become_the_headers_of_a_put() -> None:
    form = accept(
        {
            "key": "u/${filename}",
            "acl": "private",
            "content-type": "text/x-a",
            "content-disposition": "inline",
            "cache-control": "no-store",
            "expires": "0",
            "content-encoding": "gzip",
            "x-amz-meta-a": "v 1",
            "x-amz-meta-empty": "",
            "x-amz-storage-class": "STANDARD",
            "x-amz-server-side-encryption": "AES256",
            "x-amz-checksum-crc32": "AAAAAA==",
            "tagging": TAGGING.encode().decode("latin-1"),
            "x-amz-algorithm": "AWS4-HMAC-SHA256",
            "x-amz-credential": "c",
            "x-amz-date": "d",
            "submit": "Upload",
            "bucket": "b",
        }
    )
    assert form.key == "u/f.txt"
    assert dict(form.headers) == {
        "x-amz-acl": "private",
        "content-type": "text/x-a",
        "content-disposition": "inline",
        "cache-control": "no-store",
        "expires": "0",
        "content-encoding": "gzip",
        "x-amz-meta-a": "v 1",
        "x-amz-meta-empty": "",
        "x-amz-storage-class": "STANDARD",
        "x-amz-server-side-encryption": "AES256",
        "x-amz-checksum-crc32": "AAAAAA==",
        "x-amz-tagging": "a%20b=%26%C3%A9&c=",
    }
    assert (form.success_status, form.success_url, form.length_range) == (204, None, None)


def test_a_field_left_empty_was_not_filled_in() -> None:
    assert dict(accept({"key": "k", "content-type": "", "acl": "", "tagging": ""}).headers) == {}


def test_the_policy_judges_the_key_that_is_written() -> None:
    form = accept({"key": "${filename}"}, "safe/f.txt", ["starts-with", "$key", "safe/"])
    assert form.key == "safe/f.txt"
    with pytest.raises(S3Error) as caught:
        accept({"key": "${filename}"}, "evil.txt", ["starts-with", "$key", "safe/"])
    assert caught.value.code == "AccessDenied"
    with pytest.raises(S3Error):
        accept({"key": "${filename}"}, "x", ["eq", "$key", "${filename}"])


def test_the_file_name_is_put_in_once() -> None:
    assert accept({"key": "a/${filename}"}, "${filename}").key == "a/${filename}"


@pytest.mark.parametrize(("fields", "filename"), [({}, "f"), ({"key": ""}, "f"), ({"key": "${filename}"}, "")])
def test_a_form_needs_a_key(fields: dict[str, str], filename: str) -> None:
    with pytest.raises(S3Error) as caught:
        accept(fields, filename, ["starts-with", "$key", ""])
    assert (caught.value.code, caught.value.fields) == ("InvalidArgument", {"ArgumentName": "key"})


@pytest.mark.parametrize("value", ["a\r\nx-amz-acl: public-read", "a\nb", "a\0b", "a\x7f", " a", "a ", "\ta", " "])
@pytest.mark.parametrize("name", ["x-amz-meta-a", "content-type", "acl", "x-amz-storage-class"])
def test_a_value_that_no_header_carries_unchanged_is_refused(name: str, value: str) -> None:
    error = refusal({name: value})
    assert (error.code, error.fields) == ("InvalidArgument", {"ArgumentName": name})


@pytest.mark.parametrize(
    "fields",
    [
        {"x-amz-meta-a b": "1"},
        {"x-amz-meta-a\r\nb": "1"},
        {"x-amz-meta-\0": "1"},
        {"x-amz-copy-source": "/b/secret"},
        {"x-amz-copy-source-range": "bytes=0-1"},
        {"acl": "private", "x-amz-acl": "public-read"},
        {"x-amz-tagging": "a=b", "tagging": TAGGING.encode().decode("latin-1")},
    ],
)
def test_a_field_that_would_smuggle_is_refused(fields: dict[str, str]) -> None:
    assert refusal(fields).code == "InvalidArgument"


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ("a=b", "MalformedXML"),
        ("<Tagging/>", "MalformedXML"),
        ("<Tagging><TagSet>a</TagSet></Tagging>", "MalformedXML"),
        ("<Tagging><TagSet><Tga/></TagSet></Tagging>", "MalformedXML"),
        ("<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>", "MalformedXML"),
        ("<Tagging><TagSet><Tag><Key></Key><Value>v</Value></Tag></TagSet></Tagging>", "InvalidTag"),
        (f"<Tagging><TagSet><Tag><Key>{'k' * 129}</Key><Value/></Tag></TagSet></Tagging>", "InvalidTag"),
        ("<Tagging><TagSet>" + "<Tag><Key>k</Key><Value/></Tag>" * 2 + "</TagSet></Tagging>", "InvalidTag"),
        (
            "<Tagging><TagSet>"
            + "".join(f"<Tag><Key>{n}</Key><Value/></Tag>" for n in range(11))
            + "</TagSet></Tagging>",
            "InvalidTag",
        ),
    ],
)
def test_tags_that_are_none_are_refused(document: str, code: str) -> None:
    assert refusal({"tagging": document}).code == code


@pytest.mark.parametrize(
    ("fields", "status", "url"),
    [
        ({"success_action_status": "201"}, 201, None),
        ({"success_action_status": "200"}, 200, None),
        ({"success_action_status": "204"}, 204, None),
        ({"success_action_status": "500"}, 204, None),
        ({"success_action_status": "٢٠١"}, 204, None),
        ({"success_action_redirect": "http://a.test/ok"}, 204, "http://a.test/ok"),
        ({"redirect": "https://a.test/"}, 204, "https://a.test/"),
        ({"success_action_redirect": "javascript:alert(1)"}, 204, None),
        ({"success_action_redirect": "//a.test/"}, 204, None),
        ({"success_action_redirect": "http://a.test/\r\nx: y"}, 204, None),
    ],
)
def test_what_success_looks_like(fields: dict[str, str], status: int, url: str | None) -> None:
    form = accept({"key": "k"} | fields)
    assert (form.success_status, form.success_url) == (status, url)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://a.test/ok", "http://a.test/ok?bucket=b&key=a%20%26&etag=%22e%22"),
        ("http://a.test/ok?x=1#top", "http://a.test/ok?x=1&bucket=b&key=a%20%26&etag=%22e%22#top"),
    ],
)
def test_a_redirect_says_what_was_stored(url: str, target: str) -> None:
    assert redirect_target(url, bucket="b", key="a &", etag='"e"') == target


def test_the_length_range_of_the_policy_is_handed_on() -> None:
    form = accept({"key": "k"}, "f", ["starts-with", "$key", ""], ["content-length-range", 1, 100])
    assert form.length_range is not None
    assert (form.length_range.minimum, form.length_range.maximum) == (1, 100)


def test_an_expired_policy_allows_nothing() -> None:
    with pytest.raises(S3Error):
        accept_form({"key": "k", "policy": "e30="}, "f", bucket="b", stated=STATED, now=NOW)
