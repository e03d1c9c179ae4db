"""Who does the request say it comes from? Reads the claim; believes nothing of it.

A `Claim` is made of the request alone: no key, no clock. `gateway.sigv4.verify` turns it into a `Verified`, and
what comes after takes only that, so nothing unverified can reach a decision by mistake. The mechanism is chosen
by where the credential stands and never by the payload mode (S1: CVE-2025-31489, CVE-2026-41145).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import NoReturn

from gateway.errors import S3Error
from gateway.messages import Headers, RequestHead
from gateway.sigv4.encoding import canonical_path, canonical_query, parse_query
from gateway.sigv4.payload import UNSIGNED, Payload, parse_payload
from gateway.sigv4.scope import ALGORITHM, SERVICE, TERMINAL, Scope, is_day, parse_timestamp

MAX_EXPIRES = 604_800  # seconds: a week (P2)

_AUTH_PARAMETERS = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Signature",
    "X-Amz-Date",
    "X-Amz-SignedHeaders",
    "X-Amz-Expires",
)
_PRESIGN_NAMES = {name.lower(): name for name in (*_AUTH_PARAMETERS, "X-Amz-Security-Token", "X-Amz-Content-Sha256")}
_SIGV2_PARAMETERS = frozenset({"AWSAccessKeyId", "Signature"})

# Field values that are lists may come in several lines and are joined (C14, O11). For everything else that is
# signed or acted upon, two lines mean two readings; nobody honest sends them (SIG-010).
_SINGLE = frozenset(
    "authorization cache-control content-disposition content-encoding content-language content-length content-md5 "
    "content-type date expect expires host if-match if-modified-since if-none-match if-unmodified-since range "
    "transfer-encoding".split()
)
_LISTS = ("x-amz-meta-", "x-amz-trailer", "x-amz-object-attributes", "x-amz-optional-object-attributes")

# Present but unsigned x-amz-* fields are refused, because re-signing would launder them (C17). The payload hash
# is in the signature anyway; the other two are put on by CDNs on the way and are never forwarded.
_MAY_BE_UNSIGNED = frozenset({"x-amz-content-sha256", "x-amz-cf-id", "x-amz-te"})

_BLANKS = re.compile(r"[ \t]{2,}|\t")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_DIGITS = re.compile(r"-?[0-9]{1,20}").fullmatch
_AUTHORIZATION = re.compile(r"Credential=([^,]*), *SignedHeaders=([^,]*), *Signature=([^, ]*)").fullmatch


class Mechanism(Enum):
    """Where the credential stands in the request."""

    HEADER = "header"
    QUERY = "presigned"
    FORM = "form"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of itself, read but not believed.

    `string_to_sign` is ours, computed from the request; `signature` is theirs. `hoisted` holds the `x-amz-*` fields
    that a presigner moved from headers into the query (P5), `parameters` the rest of the query, both decoded once.
    """

    mechanism: Mechanism
    access_key_id: str
    scope: Scope
    timestamp: str
    time: datetime
    expires: int | None
    signed_headers: tuple[str, ...]
    signature: str
    payload: Payload
    canonical_request: str
    string_to_sign: str
    parameters: tuple[tuple[str, str], ...]
    hoisted: tuple[tuple[str, str], ...] = ()


def read_claim(head: RequestHead) -> Claim:
    """Read the claim of a header-signed or presigned request.

    Raises:
        S3Error: AccessDenied if there is no credential at all; otherwise what AWS says of the first thing wrong
            (section 6 of the wire facts). Nothing that was not understood is ever treated as anonymous.
    """
    query = parse_query(head.query)
    _refuse_repeated(head.headers)
    presigned = _presign_parameters(query)
    authorization = head.headers.get("authorization")
    if authorization is not None:
        if presigned or any(name in _SIGV2_PARAMETERS for name, _ in query):
            raise S3Error(
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string "
                "parameter or the Authorization header should be specified",
                reason="malformed_header",
                ArgumentName="Authorization",
            )
        return _read_header(head, authorization, query)
    if presigned:
        return _read_presigned(head, query, presigned)
    if any(name in _SIGV2_PARAMETERS for name, _ in query):
        raise _sigv2()
    raise S3Error("AccessDenied", reason="missing_auth")


def _refuse_repeated(headers: Headers) -> None:
    for name in headers.repeated():
        if name in _SINGLE or (name.startswith("x-amz-") and not name.startswith(_LISTS)):
            raise S3Error(
                "InvalidArgument",
                "A header that may occur once occurs more than once.",
                reason="malformed_header",
                ArgumentName=name,
            )


def _presign_parameters(query: list[tuple[str, str]]) -> dict[str, str]:
    """The parameters that make a presigned URL; any one of them does (P1)."""
    found: dict[str, str] = {}
    for name, value in query:
        known = _PRESIGN_NAMES.get(name.lower())
        if known is None:
            continue
        # Some servers look these up without regard to case (C13); two readings are none.
        if name != known or name in found:
            raise S3Error(
                "AuthorizationQueryParametersError",
                f"The query parameter {known} is misspelt or occurs more than once.",
                reason="malformed_query",
            )
        found[name] = value
    return found if any(name in found for name in _AUTH_PARAMETERS) else {}


def _sigv2() -> S3Error:
    return S3Error(
        "InvalidRequest",
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        reason="sigv2_rejected",
    )


# --- Authorization header ---------------------------------------------------------------------------------


def _malformed(text: str) -> NoReturn:
    raise S3Error(
        "AuthorizationHeaderMalformed",
        f"The authorization header is malformed; {text}",
        reason="malformed_header",
    )


def _read_header(head: RequestHead, authorization: str, query: list[tuple[str, str]]) -> Claim:
    algorithm, _, fields = authorization.partition(" ")
    if algorithm == "AWS":
        raise _sigv2()
    if algorithm != ALGORITHM:
        raise S3Error(
            "InvalidArgument",
            "Unsupported Authorization Type",
            reason="unsupported_algorithm",
            ArgumentName="Authorization",
        )
    match = _AUTHORIZATION(fields.strip(" "))
    if match is None:
        _malformed("the authorization header requires three components: Credential, SignedHeaders, and Signature.")
    credential, signed, signature = match.groups()

    timestamp, time = _header_time(head.headers)
    access_key_id, scope = _read_credential(credential, _malformed)
    literal = head.headers.get("x-amz-content-sha256")
    if literal is None:
        raise S3Error(
            "InvalidRequest",
            "Missing required header for this request: x-amz-content-sha256",
            reason="malformed_header",
        )
    payload = parse_payload(literal)
    names = _signed_names(signed, head.headers, _malformed)
    _refuse_token(head.headers.get("x-amz-security-token"))
    canonical = _canonical_request(head, canonical_query(query), names, payload)
    return Claim(
        mechanism=Mechanism.HEADER,
        access_key_id=access_key_id,
        scope=scope,
        timestamp=timestamp,
        time=time,
        expires=None,
        signed_headers=names,
        signature=signature,
        payload=payload,
        canonical_request=canonical,
        string_to_sign=string_to_sign(timestamp, scope, canonical),
        parameters=tuple(query),
    )


def _header_time(headers: Headers) -> tuple[str, datetime]:
    """The request's time: x-amz-date wins over Date (C24); returns the text that is signed and the instant."""
    stated = headers.get("x-amz-date")
    if stated is not None:
        time = parse_timestamp(stated)
        if time is not None:
            return stated, time
    elif (date := headers.get("date")) is not None:
        time = parse_timestamp(date)
        if time is None:
            try:
                time = parsedate_to_datetime(date).astimezone(UTC)
            except (ValueError, OverflowError):
                time = None
        if time is not None:
            return time.strftime("%Y%m%dT%H%M%SZ"), time
    raise S3Error(
        "AccessDenied",
        "AWS authentication requires a valid Date or x-amz-date header",
        reason="malformed_header",
    )


# --- presigned query --------------------------------------------------------------------------------------


def _bad_query(text: str) -> NoReturn:
    raise S3Error("AuthorizationQueryParametersError", text, reason="malformed_query")


def _bad_query_credential(text: str) -> NoReturn:
    _bad_query(f"Error parsing the X-Amz-Credential parameter; {text}")


def _read_presigned(head: RequestHead, query: list[tuple[str, str]], given: dict[str, str]) -> Claim:
    if any(name not in given for name in _AUTH_PARAMETERS):
        _bad_query(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, "
            "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
        )
    if given["X-Amz-Algorithm"] != ALGORITHM:
        _bad_query('X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"')
    timestamp = given["X-Amz-Date"]
    time = parse_timestamp(timestamp)
    if time is None:
        _bad_query("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    access_key_id, scope = _read_credential(given["X-Amz-Credential"], _bad_query_credential)
    expires = _read_expires(given["X-Amz-Expires"])
    payload = _presigned_payload(given.get("X-Amz-Content-Sha256"), head.headers.get("x-amz-content-sha256"))
    names = _signed_names(given["X-Amz-SignedHeaders"], head.headers, _bad_query)
    _refuse_token(given.get("X-Amz-Security-Token") or head.headers.get("x-amz-security-token"))
    hoisted, parameters = _hoist(query, head.headers)
    canonical = _canonical_request(
        head, canonical_query([pair for pair in query if pair[0] != "X-Amz-Signature"]), names, payload
    )
    return Claim(
        mechanism=Mechanism.QUERY,
        access_key_id=access_key_id,
        scope=scope,
        timestamp=timestamp,
        time=time,
        expires=expires,
        signed_headers=names,
        signature=given["X-Amz-Signature"],
        payload=payload,
        canonical_request=canonical,
        string_to_sign=string_to_sign(timestamp, scope, canonical),
        parameters=parameters,
        hoisted=hoisted,
    )


def _read_expires(text: str) -> int:
    if _DIGITS(text) is None:
        _bad_query("X-Amz-Expires should be a number")
    expires = int(text)
    if expires < 0:
        _bad_query("X-Amz-Expires must be non-negative")
    if expires > MAX_EXPIRES:
        _bad_query(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less "
            "than 604800 seconds"
        )
    if expires == 0:
        _bad_query("X-Amz-Expires must be at least one second")
    return expires


def _presigned_payload(in_query: str | None, in_header: str | None) -> Payload:
    """P4. The header, signed or not, is taken at its word: if it is not what was signed, the signature fails."""
    if in_query is not None and in_header is not None and in_query != in_header:
        raise S3Error(
            "InvalidRequest",
            "x-amz-content-sha256 is given twice, with different values.",
            reason="malformed_query",
        )
    literal = in_query if in_query is not None else in_header
    return UNSIGNED if literal is None else parse_payload(literal)


def _hoist(
    query: list[tuple[str, str]], headers: Headers
) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """Split the query into `x-amz-*` fields that mean headers (P5) and true parameters."""
    hoisted: dict[str, str] = {}
    parameters = []
    for name, value in query:
        lower = name.lower()
        if not lower.startswith("x-amz-"):
            parameters.append((name, value))
        elif lower not in _PRESIGN_NAMES:
            if lower in hoisted or headers.get(lower, value) != value:
                raise S3Error(
                    "InvalidRequest",
                    f"{lower} is given twice.",
                    reason="malformed_query",
                )
            hoisted[lower] = value
    return tuple(hoisted.items()), tuple(parameters)


# --- both -------------------------------------------------------------------------------------------------


Complain = Callable[[str], NoReturn]


def _read_credential(text: str, complain: Complain) -> tuple[str, Scope]:
    """Five parts, no more: the ids that we issue hold no "/" (C28). Region and day are judged later."""
    parts = text.split("/")
    if len(parts) != 5 or not parts[0]:
        complain('the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".')
    access_key_id, day, region, service, terminal = parts
    if not is_day(day):
        complain(f'incorrect date format "{day}". This date in the credential must be in the format "yyyyMMdd".')
    if service != SERVICE:
        complain(f'incorrect service "{service}". This endpoint belongs to "s3".')
    if terminal != TERMINAL:
        complain(f'incorrect terminal "{terminal}". This endpoint uses "aws4_request".')
    if not region:
        complain("the region is missing.")
    return access_key_id, Scope(day, region)


def _signed_names(text: str, headers: Headers, complain: Complain) -> tuple[str, ...]:
    """The names in SignedHeaders: `host` among them (C16), each present (C15), every x-amz-* field covered (C17)."""
    names = tuple(text.split(";"))
    if any(_NAME(name) is None for name in names) or len(set(names)) != len(names):
        complain("SignedHeaders is mal-formed; expecting lower-case names separated by semicolons.")
    if "host" not in names:
        raise S3Error(
            "AccessDenied",
            "The host header must be signed.",
            reason="unsigned_header",
            HeadersNotSigned="host",
        )
    unsigned = [
        name
        for name in headers.names()
        if name.startswith("x-amz-") and name not in names and name not in _MAY_BE_UNSIGNED
    ]
    if unsigned:
        raise S3Error(
            "AccessDenied",
            "There were headers present in the request which were not signed",
            reason="unsigned_header",
            HeadersNotSigned=", ".join(unsigned),
        )
    absent = [name for name in names if name not in headers]
    if absent:
        raise S3Error(
            "AccessDenied",
            "SignedHeaders names headers that are not in the request",
            reason="malformed_header",
            detail=f"signed but absent: {', '.join(absent)[:200]}",
        )
    return names


def _canonical_request(head: RequestHead, query: str, names: tuple[str, ...], payload: Payload) -> str:
    lines = [head.method, canonical_path(head.path), query]
    lines += [f"{name}:{canonical_value(head.headers.joined(name) or '')}" for name in names]
    lines += ["", ";".join(names), payload.literal]
    return "\n".join(lines)


def canonical_value(value: str) -> str:
    """A header value as it is signed: trimmed, every run of white space one blank, also inside quotes (C14)."""
    value = value.strip(" \t")
    return _BLANKS.sub(" ", value) if "  " in value or "\t" in value else value


def string_to_sign(timestamp: str, scope: Scope, canonical_request: str) -> str:
    """The string to sign of a request (section 1); no final line feed."""
    digest = hashlib.sha256(canonical_request.encode("latin-1")).hexdigest()
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{digest}"


def _refuse_token(token: str | None) -> None:
    """A session token that nobody issued (C29). Not ignored: its sender believes that it limits something."""
    if token is not None:
        raise S3Error("InvalidToken", reason="malformed_header")
