"""The credential and the policy of a browser upload (F3 to F8).

The signature of a form is over the base64 text of its policy and nothing else (F4), so every right that the form
claims must come from the policy: a field that no condition covers is refused (F7).

Times: a policy ends at its `expiration`, and at the latest seven days after the form's `x-amz-date`, as a
presigned URL does. A policy that names the year 9999 is therefore no key for ever (PST-070).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from gateway.errors import S3Error
from gateway.sigv4.claim import MAX_EXPIRES, Claim, Mechanism
from gateway.sigv4.payload import UNSIGNED
from gateway.sigv4.scope import ALGORITHM, SERVICE, TERMINAL, Scope, is_day, parse_timestamp

MAX_CONDITIONS = 200

_AUTH_FIELDS = ("policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature")
_SIGV2_FIELDS = ("awsaccesskeyid", "signature")
_NEED_NO_CONDITION = frozenset({"x-amz-signature", "file", "policy"})
_MAX_AGE = timedelta(seconds=MAX_EXPIRES)
_MAX_SKEW = timedelta(minutes=15)

_EXPIRATION = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]{1,9})?Z").fullmatch
_LENGTH = re.compile(r"[0-9]{1,19}").fullmatch


# --- the claim --------------------------------------------------------------------------------------------


def read_form_claim(fields: Mapping[str, str]) -> Claim:
    """The claim of a form; `gateway.sigv4.verify.verify` takes it like any other.

    Its clock is the policy's (`PostPolicy.check_time`), not the skew of a signed request: a form is made long before
    it is sent.

    Args:
        fields: lower-cased name to value, wire text, as `FormParser` gives them.

    Raises:
        S3Error: AccessDenied for a form without any credential (PST-069); InvalidArgument for a missing or
            malformed field (F5, F8); InvalidRequest for SigV2; InvalidToken for a session token.
    """
    if any(name in fields for name in _SIGV2_FIELDS):
        raise S3Error(
            "InvalidRequest",
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
            reason="sigv2_rejected",
        )
    if not any(name in fields for name in _AUTH_FIELDS):
        raise S3Error("AccessDenied", reason="missing_auth")
    for name in _AUTH_FIELDS:
        if name not in fields:
            raise _bad_field(
                name,
                f"Bucket POST must contain a field named '{name}'. If it is specified, please check the order of "
                "the fields.",
            )
    if fields["x-amz-algorithm"] != ALGORITHM:
        raise _bad_field("x-amz-algorithm", f'X-Amz-Algorithm only supports "{ALGORITHM}"', "unsupported_algorithm")
    if "x-amz-security-token" in fields:
        raise S3Error("InvalidToken", reason="malformed_body")
    timestamp = fields["x-amz-date"]
    time = parse_timestamp(timestamp)
    if time is None:
        raise _bad_field("x-amz-date", "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    access_key_id, scope = _read_credential(fields["x-amz-credential"], timestamp)
    return Claim(
        mechanism=Mechanism.FORM,
        access_key_id=access_key_id,
        scope=scope,
        timestamp=timestamp,
        time=time,
        expires=None,
        signed_headers=(),
        signature=fields["x-amz-signature"],
        payload=UNSIGNED,
        canonical_request="",
        string_to_sign=fields["policy"],
        parameters=(),
    )


def _read_credential(text: str, timestamp: str) -> tuple[str, Scope]:
    parts = text.split("/")
    if len(parts) != 5 or not parts[0] or not parts[2]:
        raise _bad_credential('expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".')
    access_key_id, day, region, service, terminal = parts
    if not is_day(day):
        raise _bad_credential(f'incorrect date format "{day}". The date must be in the format "yyyyMMdd".')
    if service != SERVICE:
        raise _bad_credential(f'incorrect service "{service}". This endpoint belongs to "{SERVICE}".')
    if terminal != TERMINAL:
        raise _bad_credential(f'incorrect terminal "{terminal}". This endpoint uses "{TERMINAL}".')
    if day != timestamp[:8]:
        raise _bad_credential("the date is not the same as X-Amz-Date.")
    return access_key_id, Scope(day, region)


def _bad_field(name: str, message: str, reason: str = "malformed_body") -> S3Error:
    return S3Error("InvalidArgument", message, reason=reason, ArgumentName=name)


def _bad_credential(text: str) -> S3Error:
    return _bad_field("x-amz-credential", f"Error parsing the X-Amz-Credential parameter; {text}")


# --- the policy -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LengthRange:
    """How many bytes a file may have, both ends included."""

    minimum: int
    maximum: int

    def check_growing(self, size: int) -> None:
        """Raises S3Error EntityTooLarge as soon as `size` bytes have been seen and are too many."""
        if size > self.maximum:
            raise S3Error(
                "EntityTooLarge",
                reason="policy_condition",
                ProposedSize=str(size),
                MaxSizeAllowed=str(self.maximum),
            )

    def check_complete(self, size: int) -> None:
        """Raises S3Error EntityTooLarge or EntityTooSmall for a file of `size` bytes."""
        self.check_growing(size)
        if size < self.minimum:
            raise S3Error(
                "EntityTooSmall",
                reason="policy_condition",
                ProposedSize=str(size),
                MinSizeAllowed=str(self.minimum),
            )


@dataclass(frozen=True, slots=True)
class Condition:
    """`operator` is "eq" or "starts-with"; `field` is lower-case, without "$"; `value` is wire text."""

    operator: str
    field: str
    value: str

    def holds(self, given: str) -> bool:
        """Whether the field's value `given` is as it must be."""
        if self.operator == "eq":
            return given == self.value
        if self.field == "content-type":  # several types in one field: each must fit (F6)
            return all(item.strip(" \t").startswith(self.value) for item in given.split(","))
        return given.startswith(self.value)


@dataclass(frozen=True, slots=True)
class PostPolicy:
    """What a signed policy allows: until when, with which fields, and how many bytes (None: no limit of its own)."""

    expiration: datetime
    conditions: tuple[Condition, ...]
    length_range: LengthRange | None

    def check_time(self, stated: datetime, now: datetime) -> None:
        """Refuse a policy whose time is over or has not come.

        Args:
            stated: the form's x-amz-date.
            now: timezone-aware.

        Raises:
            S3Error: AccessDenied.
        """
        if stated - now > _MAX_SKEW:
            raise _denied("Policy is not yet valid.", "not_yet_valid")
        if now >= min(self.expiration, stated + _MAX_AGE):
            raise _denied("Policy expired.", "presign_expired")

    def check_fields(self, fields: Mapping[str, str], bucket: str) -> None:
        """Hold the form against the policy.

        Args:
            fields: the form's, lower-case names, with `key` expanded (F3).
            bucket: the bucket in the URL, under the name that the client uses (F7). A form field `bucket` counts
                for nothing beside it, and must not contradict it (PST-068).

        Raises:
            S3Error: AccessDenied for a condition that fails or a field without one.
        """
        given = {**fields, "bucket": bucket}
        for condition in self.conditions:
            if not condition.holds(given.get(condition.field, "")):
                shown = json.dumps([condition.operator, f"${condition.field}", condition.value], ensure_ascii=False)
                raise _denied(f"Policy Condition failed: {shown}", "policy_condition")
        if fields.get("bucket", bucket) != bucket:
            raise _denied("Policy Condition failed: the form names another bucket", "policy_condition")
        covered = {condition.field for condition in self.conditions} | _NEED_NO_CONDITION
        extra = sorted(name for name in given if name not in covered and not name.startswith("x-ignore-"))
        if extra:
            raise _denied(f"Extra input fields: {', '.join(extra)}", "policy_condition")


def _denied(text: str, reason: str) -> S3Error:
    return S3Error("AccessDenied", f"Invalid according to Policy: {text}", reason=reason)


def parse_policy(text: str) -> PostPolicy:
    """Read the base64 text of a policy strictly (F6): nothing unknown, nothing twice, nothing of another type.

    AWS's escape `\\$` inside JSON strings, which is no JSON, is not understood.

    Raises:
        S3Error: InvalidPolicyDocument.
    """
    document = _load(text)
    if not isinstance(document, dict) or document.keys() != {"expiration", "conditions"}:
        raise _invalid("it must have the members 'expiration' and 'conditions', and no others.")
    conditions: list[Condition] = []
    length_range: LengthRange | None = None
    if not isinstance(document["conditions"], list) or len(document["conditions"]) > MAX_CONDITIONS:
        raise _invalid(f"'conditions' must be a list of at most {MAX_CONDITIONS}.")
    for item in document["conditions"]:
        condition = _read_condition(item)
        if isinstance(condition, Condition):
            conditions.append(condition)
        elif length_range is None:
            length_range = condition
        else:
            raise _invalid("content-length-range is given twice.")
    return PostPolicy(_read_expiration(document["expiration"]), tuple(conditions), length_range)


def _load(text: str) -> Any:
    try:
        data = base64.b64decode(text, validate=True).decode("utf-8")
        return json.loads(
            data, object_pairs_hook=_unique_members, parse_float=_refuse_number, parse_constant=_refuse_number
        )
    # RecursionError: brackets by the thousand. ValueError is also what bad base64, UTF-8 and JSON raise.
    except (binascii.Error, ValueError, RecursionError):
        raise _invalid("it must be base64 of JSON in UTF-8, no member twice, no fractions.") from None


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member twice")
    return members


def _refuse_number(text: str) -> NoReturn:
    raise ValueError("a number that is no integer")


def _read_expiration(value: object) -> datetime:
    match = _EXPIRATION(value) if isinstance(value, str) else None
    if match is None:
        raise _invalid("'expiration' must be a time like 2030-01-02T03:04:05.000Z.")
    try:
        return datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    except ValueError:
        raise _invalid("'expiration' is no time.") from None


def _read_condition(item: object) -> Condition | LengthRange:
    """One of the forms of F6. Operators and field names are read without regard to case."""
    if isinstance(item, dict) and len(item) == 1:
        ((field, value),) = item.items()
        return _condition("eq", field, value)
    if isinstance(item, list) and len(item) == 3 and isinstance(item[0], str):
        operator, field, value = item[0].lower(), item[1], item[2]
        if operator == "content-length-range":
            return _length_range(field, value)
        if operator in ("eq", "starts-with") and isinstance(field, str) and field.startswith("$"):
            return _condition(operator, field[1:], value)
    raise _invalid("a condition is of no known form.")


def _condition(operator: str, field: str, value: object) -> Condition:
    if not field or not isinstance(value, str):
        raise _invalid("a condition must compare a field with a string.")
    return Condition(operator, _wire(field).lower(), _wire(value))


def _wire(text: str) -> str:
    try:
        return text.encode("utf-8").decode("latin-1")
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can write and UTF-8 cannot
        raise _invalid("a string that is no text.") from None


def _length_range(low: object, high: object) -> LengthRange:
    minimum, maximum = _length(low), _length(high)
    if minimum > maximum:
        raise _invalid("content-length-range is empty.")
    return LengthRange(minimum, maximum)


def _length(value: object) -> int:
    """An integer, plain or quoted. JSON's true is one to Python, but its text is not."""
    if isinstance(value, (int, str)) and _LENGTH(str(value)):
        return int(value)
    raise _invalid("content-length-range needs two numbers of bytes.")


def _invalid(text: str) -> S3Error:
    return S3Error("InvalidPolicyDocument", f"Invalid Policy: {text}", reason="malformed_body")
