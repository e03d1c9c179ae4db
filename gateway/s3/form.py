"""multipart/form-data of a browser upload, taken apart while it arrives (F1, F2, PST-076, PST-079, PST-082).

Only what S3 means by such a form is understood: fields, then one file, then nothing of importance. Everything
before the file is bounded and kept, because the policy decides on it; the file is passed on in views of what came
in; what follows the file is bounded, looked at for a second file, and forgotten.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from gateway.errors import S3Error

MAX_PREAMBLE = 20 * 1024  # bytes: all fields with their boundaries, without the file (F2)
MAX_FIELDS = 100
MAX_PART_HEADER = 1024  # bytes

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]").fullmatch  # RFC 2046, 5.1.1
# A parameter of a header: a token, or a quoted text in which \" stands for a quote and \ alone for itself, as
# browsers have it and not RFC 822.
_PARAMETER = re.compile(r';[ \t]*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:\\"|[^"])*)"|([^\s;"]+))[ \t]*')
_HEADER_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x1f\x7f]*)").fullmatch
_IDENTITY_ENCODINGS = frozenset({"7bit", "8bit", "binary"})


class _Place(Enum):
    """What the next byte belongs to."""

    DELIMITER = auto()
    HEADER = auto()
    VALUE = auto()
    FILE = auto()
    END = auto()


class FormParser:
    """Takes the body of one form in pieces of any size.

    Feed the body until `file_begun`; then `fields` and `filename` are complete and can be judged. What `feed`
    returned by then, and returns after, are the file's bytes. They are the whole file only if `finish` does not
    raise. How long the file is cannot be known before its end: the Content-Length of the request, if there is
    one, includes fields and boundaries, and parts may follow the file.

    Attributes:
        fields: lower-cased name to value, wire text, those before the file. White space of values is kept.
        filename: the file's name as sent, without any path before it; empty if none was sent.
        file_begun: whether all fields have been read.

    Args:
        content_type: the request's Content-Type.

    Raises:
        S3Error: PreconditionFailed if that is not multipart/form-data, MalformedPOSTRequest without a usable
            boundary. The methods raise S3Error too; the parser is of no use afterwards.
    """

    def __init__(self, content_type: str) -> None:
        self.fields: dict[str, str] = {}
        self.filename = ""
        self.file_begun = False
        # A delimiter begins with the end of the line before it; the body's first has none, so it is lent one.
        self._delimiter = b"\r\n--" + _read_boundary(content_type).encode()
        self._pending = b"\r\n"
        self._place = _Place.DELIMITER
        self._room = MAX_PREAMBLE + len(self._pending)  # bytes that may still come outside the file
        self._parts = 0
        self._name = ""  # of the field being read
        self._file_at = 0  # offset of the file's first byte in the body

    def feed(self, data: bytes) -> list[memoryview]:
        """Take the next bytes of the body; returns those of the file among them.

        Raises:
            S3Error: MaxPostPreDataLengthExceededError for more than 20 KB before the file; InvalidArgument for
                no file or two; MalformedPOSTRequest.
        """
        data = self._pending + data if self._pending else data
        view = memoryview(data)
        file: list[memoryview] = []
        at = 0
        while at < len(data):
            place = self._place
            end = self._read(data, at)
            if place is _Place.FILE and end > at:
                file.append(view[at:end])
            if end == at and place is self._place:
                break
            at = end
        self._pending = data[at:]
        if self._place is not _Place.FILE and len(self._pending) > self._room:
            raise self._too_large()
        return file

    def expected_file_length(self, content_length: int) -> int:
        """How long the file is if it is the last part and the form ends as browsers end it (F10).

        Args:
            content_length: of the whole request. To be asked once `file_begun`.
        """
        return content_length - self._file_at - len(self._delimiter) - len(b"--\r\n")

    def finish(self) -> None:
        """Say that the body has ended.

        Raises:
            S3Error: MalformedPOSTRequest if it ended before the closing boundary.
        """
        if self._place is not _Place.END:
            raise _malformed("ended early")

    def _read(self, data: bytes, at: int) -> int:
        """Read what stands at `at`; returns where that ends, or `at` if more of it must come first."""
        match self._place:
            case _Place.DELIMITER:
                return self._read_delimiter(data, at)
            case _Place.HEADER:
                return self._read_header(data, at)
            case _Place.VALUE:
                return self._read_value(data, at)
            case _Place.FILE:
                return self._read_file(data, at)
            case _Place.END:
                if not b"\r\n".startswith(data[at:]):
                    raise _malformed("bytes after the closing boundary")
                return at

    def _read_delimiter(self, data: bytes, at: int) -> int:
        size = len(self._delimiter)
        found = data[at : at + size + 2]
        if not self._delimiter.startswith(found[:size]):
            raise _malformed("no boundary where one must be")
        if len(found) < size + 2:
            return at
        if found.endswith(b"\r\n"):
            self._place = _Place.HEADER
        elif found.endswith(b"--"):
            self._place = _Place.END
            if not self.file_begun:
                raise _not_one_file(0)
        else:
            # Some readers would take this for content. Nobody honest has such a boundary.
            raise _malformed("a longer boundary")
        self._spend(len(found))
        return at + len(found)

    def _read_header(self, data: bytes, at: int) -> int:
        end = data.find(b"\r\n\r\n", at, at + MAX_PART_HEADER + 4)
        if end < 0:
            if len(data) - at >= MAX_PART_HEADER + 4:
                raise _malformed("part header too long")
            return at
        self._spend(end + 4 - at)
        self._parts += 1
        if self._parts > MAX_FIELDS:
            raise self._too_large()
        name, filename = _read_disposition(data[at:end].decode("latin-1"))
        self._place = _Place.VALUE
        if name == "file":
            if self.file_begun:
                raise _not_one_file(2)
            self._place = _Place.FILE
            self._file_at = MAX_PREAMBLE - self._room
            self.file_begun = True
            self.filename = filename
        elif not self.file_begun and name in self.fields:
            raise _malformed("a field twice")
        self._name = name
        return end + 4

    def _read_value(self, data: bytes, at: int) -> int:
        end = data.find(self._delimiter, at)
        if end < 0:
            return at
        self._spend(end - at)
        if not self.file_begun:
            self.fields[self._name] = data[at:end].decode("latin-1")
        self._place = _Place.DELIMITER
        return end

    def _read_file(self, data: bytes, at: int) -> int:
        end = data.find(self._delimiter, at)
        if end >= 0:
            self._place = _Place.DELIMITER
            self._room = MAX_PREAMBLE
            self._parts = 0
            return end
        # Only the last CR can begin a delimiter that the data breaks off: there is no other CR in one.
        tail = data.rfind(b"\r", max(at, len(data) - len(self._delimiter)))
        return tail if tail >= 0 and self._delimiter.startswith(data[tail:]) else len(data)

    def _spend(self, count: int) -> None:
        self._room -= count
        if self._room < 0:
            raise self._too_large()

    def _too_large(self) -> S3Error:
        if self.file_begun:
            return _malformed("too much after the file")
        return S3Error("MaxPostPreDataLengthExceededError", reason="malformed_body")


def _read_boundary(content_type: str) -> str:
    """The boundary in a Content-Type; the type and parameter names are read without regard to case (PST-079)."""
    media_type, parameters = _read_parameters(content_type)
    if media_type != "multipart/form-data":
        raise S3Error(
            "PreconditionFailed",
            reason="malformed_header",
            Condition="Bucket POST must be of the enclosure-type multipart/form-data",
        )
    boundary = parameters.get("boundary", "")
    if _BOUNDARY(boundary) is None:
        raise _malformed("boundary")
    return boundary


def _read_disposition(header: str) -> tuple[str, str]:
    """The field's lower-case name and the bare file name, from the header of a part."""
    lines: dict[str, str] = {}
    for line in header.split("\r\n"):
        match = _HEADER_LINE(line)
        if match is None or match[1].lower() in lines:
            raise _malformed("part header")
        lines[match[1].lower()] = match[2]
    # The content is taken as it is; whoever sent base64 means something else.
    if lines.get("content-transfer-encoding", "binary").lower() not in _IDENTITY_ENCODINGS:
        raise _malformed("content-transfer-encoding")
    kind, parameters = _read_parameters(lines.get("content-disposition", ""))
    name = parameters.get("name", "").lower()
    if kind != "form-data" or not name:
        raise _malformed("content-disposition")
    # Some browsers send the path on the user's disk; a name is what follows the last separator (F3).
    return name, re.split(r"[/\\]", parameters.get("filename", ""))[-1]


def _read_parameters(text: str) -> tuple[str, dict[str, str]]:
    """A header value `kind; name=value; ...`: the kind and names lower-cased, no name twice."""
    kind, _, rest = text.partition(";")
    parameters: dict[str, str] = {}
    at = 0
    rest = (";" + rest).rstrip("; \t") if rest else ""
    while at < len(rest):
        match = _PARAMETER.match(rest, at)
        if match is None or match[1].lower() in parameters:
            raise _malformed("header parameters")
        quoted, token = match[2], match[3]
        parameters[match[1].lower()] = token if quoted is None else quoted.replace('\\"', '"')
        at = match.end()
    return kind.strip(" \t").lower(), parameters


def _not_one_file(count: int) -> S3Error:
    return S3Error(
        "InvalidArgument",
        "POST requires exactly one file upload per request.",
        reason="malformed_body",
        ArgumentName="file",
        ArgumentValue=str(count),
    )


def _malformed(detail: str) -> S3Error:
    return S3Error("MalformedPOSTRequest", reason="malformed_body", detail=f"form: {detail}")
