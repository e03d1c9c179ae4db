"""XML as S3 speaks it: clients' documents read strictly, ours written, the backend's rewritten in passing.

Text that goes in and comes out is wire text (one character per byte of UTF-8), like all text of a request;
only `escape` makes text as people read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from xml.parsers import expat

from gateway.errors import S3Error

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
MAX_DELETE_OBJECTS = 1000
MAX_PARTS = 10_000

# Bounds of a tree. The largest honest document is 10 000 parts with three elements each.
_MAX_DEPTH = 16
_MAX_ELEMENTS = 65_536

_BLANKS = " \t\r\n"


# --- reading ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Element:
    """An element without attributes: a local name, and either text or children."""

    name: str
    text: str = ""
    children: list[Element] = field(default_factory=list)


def parse(data: bytes, root: str) -> Element:
    """Read a document whose outermost element is `root`.

    Refused as MalformedXML: a DOCTYPE, and with it every entity but the five built in (XML-232, XML-233);
    processing instructions; attributes; namespaces other than S3's or none; text beside children; encodings
    other than UTF-8; more than 16 levels or 65 536 elements. The caller bounds `data`.

    Raises:
        S3Error: MalformedXML.
    """
    return _TreeBuilder().build(data, root)


class _TreeBuilder:
    """Receives expat's events and refuses what no S3 document has."""

    def __init__(self) -> None:
        self._document = Element("")
        # Text is collected in lists: a comment after every character must not make this quadratic.
        self._open: list[tuple[Element, list[str]]] = [(self._document, [])]
        self._count = 0

    def build(self, data: bytes, root: str) -> Element:
        # The encoding is given, not guessed: what is no UTF-8 does not parse. A byte order mark would win over it.
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise malformed("UTF-16")
        parser = expat.ParserCreate(encoding="utf-8", namespace_separator=" ")
        parser.buffer_text = True
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._refuse
        parser.ProcessingInstructionHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.CharacterDataHandler = self._text
        parser.EndElementHandler = self._end
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise malformed(str(error)) from None
        (top,) = self._document.children
        if top.name != root:
            raise malformed(f"the root is not {root}")
        return top

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        if version != "1.0" or (encoding is not None and encoding.lower() not in ("utf-8", "utf8", "us-ascii")):
            raise malformed("version or encoding")

    def _refuse(self, *_: object) -> None:
        raise malformed("DOCTYPE or processing instruction")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        self._count += 1
        if attributes or namespace not in ("", NAMESPACE):
            raise malformed("attribute or foreign namespace")
        if len(self._open) > _MAX_DEPTH or self._count > _MAX_ELEMENTS:
            raise malformed("too deep or too many elements")
        element = Element(local)
        self._open[-1][0].children.append(element)
        self._open.append((element, []))

    def _text(self, text: str) -> None:
        self._open[-1][1].append(text)

    def _end(self, name: str) -> None:
        element, pieces = self._open.pop()
        text = "".join(pieces)
        if not element.children:
            element.text = text.encode().decode("latin-1")
        elif text.strip(_BLANKS):
            raise malformed("text beside elements")


def malformed(detail: str) -> S3Error:
    """The refusal of a document; `detail` is for the operator."""
    return S3Error("MalformedXML", reason="malformed_body", detail=f"xml: {detail}")


def _fields(element: Element, allowed: frozenset[str]) -> dict[str, str]:
    """The texts of the children by name: each a leaf, known, and there once (XML-240)."""
    found: dict[str, str] = {}
    for child in element.children:
        if child.name not in allowed or child.name in found or child.children:
            raise malformed(f"{element.name}: an unknown, repeated or nested child")
        found[child.name] = child.text
    return found


# --- DeleteObjects ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeleteRequest:
    """The body of DeleteObjects: (key, version id or None) in order; `quiet` asks for the failures only."""

    objects: list[tuple[str, str | None]]
    quiet: bool


_DELETE_FIELDS = frozenset({"Key", "VersionId"})
_DELETE_CONDITIONS = frozenset({"ETag", "LastModifiedTime", "Size"})


def parse_delete(data: bytes) -> DeleteRequest:
    """Read a `Delete` document of 1 to 1000 objects. An empty VersionId means none, as in a query.

    Raises:
        S3Error: MalformedXML; NotImplemented for a condition on an object (ETag, LastModifiedTime, Size):
            most stores ignore them, and would delete what the client wanted spared.
    """
    objects: list[tuple[str, str | None]] = []
    quiet: bool | None = None
    for child in parse(data, "Delete").children:
        if child.name == "Object":
            objects.append(_read_delete_object(child))
        elif child.name == "Quiet" and quiet is None and child.text.strip() in ("true", "false"):
            quiet = child.text.strip() == "true"
        else:
            raise malformed("Delete: an unknown, repeated or invalid child")
    if not 1 <= len(objects) <= MAX_DELETE_OBJECTS:
        raise malformed("Delete: not 1 to 1000 objects")
    return DeleteRequest(objects, quiet or False)


def _read_delete_object(element: Element) -> tuple[str, str | None]:
    fields = _fields(element, _DELETE_FIELDS | _DELETE_CONDITIONS)
    if not _DELETE_CONDITIONS.isdisjoint(fields):
        raise S3Error("NotImplemented", "Conditional deletes are not implemented.", reason="malformed_body")
    if not fields.get("Key"):
        raise malformed("Object: no Key")
    return fields["Key"], fields.get("VersionId") or None


def render_delete(objects: Iterable[tuple[str, str | None]], *, quiet: bool) -> bytes:
    """The `Delete` document that goes to the backend."""
    entries = [
        f"<Object><Key>{escape(key)}</Key>"
        + (f"<VersionId>{escape(version)}</VersionId>" if version is not None else "")
        + "</Object>"
        for key, version in objects
    ]
    return _document("Delete", ("<Quiet>true</Quiet>" if quiet else "") + "".join(entries))


# --- CompleteMultipartUpload ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """A part to assemble. `checksums` has the elements present, e.g. ("ChecksumCRC32", base64)."""

    number: int
    etag: str
    checksums: tuple[tuple[str, str], ...] = ()

    def without_checksums(self) -> Part:
        """The part as a store knows it that kept no checksum (K16)."""
        return replace(self, checksums=())


_CHECKSUMS = frozenset({"ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME", "ChecksumSHA1", "ChecksumSHA256"})
_PART_FIELDS = _CHECKSUMS | {"PartNumber", "ETag"}
_PART_NUMBER = re.compile(r"[0-9]{1,9}").fullmatch
_ETAG = re.compile(r'"?[0-9A-Za-z._+/=-]{1,128}"?').fullmatch
_CHECKSUM = re.compile(r"[A-Za-z0-9+/]{4,64}={0,2}").fullmatch


def parse_complete(data: bytes) -> list[Part]:
    """Read a `CompleteMultipartUpload` document of 1 to 10 000 parts in ascending order (CPY-159).

    Raises:
        S3Error: MalformedXML; InvalidPart for a number outside 1 to 10 000 or an ETag that cannot be one;
            InvalidPartOrder.
    """
    children = parse(data, "CompleteMultipartUpload").children
    if not 1 <= len(children) <= MAX_PARTS or any(child.name != "Part" for child in children):
        raise malformed("CompleteMultipartUpload: not 1 to 10 000 parts")
    parts = [_read_part(child) for child in children]
    if any(first.number >= second.number for first, second in pairwise(parts)):
        raise S3Error("InvalidPartOrder", reason="malformed_body")
    return parts


def _read_part(element: Element) -> Part:
    fields = {name: text.strip() for name, text in _fields(element, _PART_FIELDS).items()}
    number = fields.pop("PartNumber", "")
    etag = fields.pop("ETag", "")
    if _PART_NUMBER(number) is None or not etag:
        raise malformed("Part: no PartNumber or ETag")
    if not 1 <= int(number) <= MAX_PARTS or _ETAG(etag) is None:
        raise S3Error("InvalidPart", reason="malformed_body")
    if any(_CHECKSUM(value) is None for value in fields.values()):
        raise malformed("Part: a checksum that is none")
    return Part(int(number), etag, tuple(fields.items()))


def render_complete(parts: Iterable[Part]) -> bytes:
    """The `CompleteMultipartUpload` document that goes to the backend."""
    entries = [
        f"<Part><PartNumber>{part.number}</PartNumber><ETag>{escape(part.etag)}</ETag>"
        + "".join([f"<{name}>{escape(value)}</{name}>" for name, value in part.checksums])
        + "</Part>"
        for part in parts
    ]
    return _document("CompleteMultipartUpload", "".join(entries))


# --- CreateBucket -----------------------------------------------------------------------------------------

_LOCATION = re.compile(r"[A-Za-z0-9._:-]{1,128}").fullmatch


def parse_location(data: bytes) -> str | None:
    """The LocationConstraint of a `CreateBucketConfiguration`, or None if it states none.

    Raises:
        S3Error: MalformedXML; InvalidLocationConstraint for text that names no place; NotImplemented for the
            other things that AWS lets one configure here (Location, Bucket, Tags).
    """
    location: str | None = None
    document = parse(data, "CreateBucketConfiguration")
    if document.text.strip(_BLANKS):
        raise malformed("CreateBucketConfiguration: text in place of elements")
    for child in document.children:
        if child.name in ("Location", "Bucket", "Tags"):
            raise S3Error("NotImplemented", f"{child.name} is not implemented.", reason="malformed_body")
        if child.name != "LocationConstraint" or child.children or location is not None:
            raise malformed("CreateBucketConfiguration: an unknown or repeated child")
        location = child.text.strip()
        if location and _LOCATION(location) is None:
            raise S3Error("InvalidLocationConstraint", reason="malformed_body")
    return location or None


# --- Tagging ----------------------------------------------------------------------------------------------

MAX_TAGS = 10
_TAG_FIELDS = frozenset({"Key", "Value"})


def parse_tagging(data: bytes) -> list[tuple[str, str]]:
    """Read a `Tagging` document of an object: (key, value) of up to 10 tags.

    Raises:
        S3Error: MalformedXML; InvalidTag for more tags, an empty or repeated key, or text longer than AWS takes
            (128 and 256 characters).
    """
    sets = parse(data, "Tagging").children
    if len(sets) != 1 or sets[0].name != "TagSet" or sets[0].text.strip(_BLANKS):
        raise malformed("Tagging: not one TagSet")
    tags: dict[str, str] = {}
    for element in sets[0].children:
        if element.name != "Tag":
            raise malformed("TagSet: an unknown child")
        fields = _fields(element, _TAG_FIELDS)
        if fields.keys() != _TAG_FIELDS:
            raise malformed("Tag: no Key or Value")
        key, value = fields["Key"], fields["Value"]
        if not key or key in tags or len(_readable(key)) > 128 or len(_readable(value)) > 256 or len(tags) == MAX_TAGS:
            raise S3Error("InvalidTag", reason="malformed_body")
        tags[key] = value
    return list(tags.items())


# --- writing ----------------------------------------------------------------------------------------------

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
# What XML 1.0 cannot carry, even as a character reference (XML-238).
_UNSPEAKABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# CR too: a reader would make LF of a raw one.
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;", "\r": "&#13;"})


def escape(text: str) -> str:
    """Wire text as XML text: decoded as UTF-8, markup escaped, what XML cannot carry replaced by U+FFFD."""
    return _UNSPEAKABLE.sub("\ufffd", _readable(text)).translate(_ESCAPES)


def _readable(text: str) -> str:
    """Wire text as people read it."""
    return text if text.isascii() else text.encode("latin-1").decode("utf-8", "replace")


def _document(root: str, content: str) -> bytes:
    return f'{_HEAD}<{root} xmlns="{NAMESPACE}">{content}</{root}>'.encode()


def _elements(pairs: Iterable[tuple[str, str]]) -> str:
    return "".join([f"<{name}>{escape(text)}</{name}>" for name, text in pairs])


def render_error(error: S3Error, resource: str, request_id: str, host_id: str) -> bytes:
    """The document of a refusal (section 6); `resource` is the path as the client sent it."""
    fields = [("Code", error.code), ("Message", error.message), *error.fields.items()]
    fields += [("Resource", resource), ("RequestId", request_id), ("HostId", host_id)]
    return f"{_HEAD}<Error>{_elements(fields)}</Error>".encode()


def render_list_buckets(
    owner_id: str,
    owner_name: str,
    buckets: Iterable[tuple[str, str]],
    *,
    continuation_token: str | None = None,
) -> bytes:
    """The answer to ListBuckets; `buckets` are (name, creation time in ISO 8601)."""
    entries = [f"<Bucket>{_elements([('Name', name), ('CreationDate', made)])}</Bucket>" for name, made in buckets]
    owner = _elements([("ID", owner_id), ("DisplayName", owner_name)])
    rest = _elements([("ContinuationToken", continuation_token)]) if continuation_token else ""
    return _document("ListAllMyBucketsResult", f"<Owner>{owner}</Owner><Buckets>{''.join(entries)}</Buckets>{rest}")


def render_location(region: str) -> bytes:
    """The answer to GetBucketLocation; us-east-1 is the region without a name (W7)."""
    return _document("LocationConstraint", "" if region == "us-east-1" else escape(region))


def render_post_response(location: str, bucket: str, key: str, etag: str) -> bytes:
    """The answer to a form with success_action_status 201 (F9); AWS gives it no namespace."""
    fields = [("Location", location), ("Bucket", bucket), ("Key", key), ("ETag", etag)]
    return f"{_HEAD}<PostResponse>{_elements(fields)}</PostResponse>".encode()


# --- rewriting --------------------------------------------------------------------------------------------

_MAX_TAG = 4096  # bytes of one tag; a backend's longest are a root with its namespaces
_MAX_REPLACED = 65_536  # bytes of an element that is replaced

# What a strict reader refuses though stores write it, for keys that hold such characters: control characters, U+FFFE,
# U+FFFF and surrogates, raw or as references. Clients that need such keys ask for encoding-type=url (XML-238).
# References with more zeros in front than any store writes stay: what may be cut in half must have a bound.
_NOT_XML = re.compile(
    rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]|\xed[\xa0-\xbf][\x80-\xbf]"
    rb"|&#(?:x0{0,6}(?:[0-8bcef]|1[0-9a-f]|d[89a-f][0-9a-f]{2}|fff[ef])|0{0,6}(?:[0-8]|1[124-9]|2[0-9]|3[01]));",
    re.IGNORECASE,
)
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\r")
_CUT_IN_HALF = re.compile(rb"(?:&#?\w{0,11}|\xef\xbf?|\xed[\xa0-\xbf]?)\Z")


def _clean(data: bytes) -> bytes:
    """`data` with U+FFFD for what XML 1.0 cannot carry. The look-out before the search is what makes it cheap."""
    suspect = b"&#" in data or b"\xef\xbf" in data or b"\xed" in data
    if suspect or len(data.translate(None, _CONTROLS)) != len(data):
        return _NOT_XML.sub("\ufffd".encode(), data)
    return data


class XmlRewriter:
    """Replaces or deletes elements of a backend's answer while it streams; all else stays as it is, if it is XML.

    A scan of bytes is enough, and safe: "<" cannot stand in XML text or in an attribute, so every "<" begins
    markup, and a key named `</Key><Name>` arrives escaped. The two forms of which this is not true, comments
    and CDATA, are refused; no store writes them.

    Args:
        replacements: element name to its new content, markup ready to insert (see `escape`); None deletes the
            element. What lies inside a replaced element goes with it.
    """

    def __init__(self, replacements: Mapping[str, str | None]) -> None:
        self._contents = {
            name.encode(): None if content is None else content.encode() for name, content in replacements.items()
        }
        names = b"|".join(map(re.escape, self._contents)) or b"(?!)"
        self._tag = re.compile(rb"<(/?)((?:[\w.-]+:)?(" + names + rb"))(\s[^<>]*?)?(/?)>")
        self._carry = b""  # a tag whose end has not come
        self._inside: bytes | None = None  # the name of the element being replaced
        self._depth = 0  # of elements of that name
        self._swallowed = 0

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of the answer; returns those that can go to the client.

        Raises:
            S3Error: InternalError for an answer that is not what stores write.
        """
        data = self._carry + data
        self._carry = b""
        start = data.rfind(b"<")
        if start >= 0 and data.find(b">", start) < 0:
            data, self._carry = data[:start], data[start:]
        elif half := _CUT_IN_HALF.search(data):
            data, self._carry = data[: half.start()], data[half.start() :]
        if len(self._carry) > _MAX_TAG or b"<!" in data:
            raise _unreadable()
        return self._rewrite(_clean(data))

    def finish(self) -> bytes:
        """Say that the answer has ended; returns what was still held.

        Raises:
            S3Error: InternalError if it ended inside an element that is to be replaced.
        """
        if self._inside is not None:
            raise _unreadable()
        return self._carry

    def _rewrite(self, data: bytes) -> bytes:
        """Rewrite `data`, which ends outside any tag."""
        out: list[bytes] = []
        at = 0
        for match in self._tag.finditer(data):
            if self._inside is None:
                out += data[at : match.start()], self._outer_tag(match)
            else:
                self._swallow(match.end() - at)
                out.append(self._inner_tag(match))
            at = match.end()
        if self._inside is None:
            out.append(data[at:])
        else:
            self._swallow(len(data) - at)
        return b"".join(out)

    def _outer_tag(self, tag: re.Match[bytes]) -> bytes:
        """What stands for a tag that begins an element to be replaced."""
        closing, qualified, name, attributes, empty = tag.groups()
        if closing:
            raise _unreadable()
        content = self._contents[name]
        if not empty:
            self._inside = name
            self._depth = 1
            self._swallowed = 0
            return b"" if content is None else tag[0] + content
        if content is None:
            return b""
        return b"<" + qualified + (attributes or b"") + b">" + content + b"</" + qualified + b">"

    def _inner_tag(self, tag: re.Match[bytes]) -> bytes:
        """What stands for a tag inside such an element: nothing, unless it is its end."""
        closing, _, name, _, empty = tag.groups()
        if name == self._inside and not empty:
            self._depth += -1 if closing else 1
        if self._depth:
            return b""
        self._inside = None
        return b"" if self._contents[name] is None else tag[0]

    def _swallow(self, count: int) -> None:
        self._swallowed += count
        if self._swallowed > _MAX_REPLACED:
            raise _unreadable()


def _unreadable() -> S3Error:
    return S3Error("InternalError", reason="internal_error", detail="the backend's XML is not what stores write")
