"""Is it really them? Turns a `Claim` into a `Verified`, or refuses.

Pure: the time is an argument. The work is the same for a key that exists and one that does not: the caller passes
a stand-in secret for the latter, and the refusal is chosen after the comparison (KEY-258).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.errors import S3Error
from gateway.sigv4.claim import Claim, Mechanism
from gateway.sigv4.compare import same_signature
from gateway.sigv4.scope import cached_signing_key, hex_signature

MAX_SKEW = timedelta(minutes=15)  # inclusive, both directions (C25)


@dataclass(frozen=True, slots=True)
class Verified:
    """A claim whose signature was checked. `signing_key` continues the chain of a chunked body (K3, K6)."""

    claim: Claim
    signing_key: bytes


def check_clock(claim: Claim, now: datetime) -> None:
    """Header signatures live 15 minutes around their date; a presigned URL from its date for `X-Amz-Expires` (C25, P3).

    Raises:
        S3Error: RequestTimeTooSkewed, AccessDenied for a URL that has expired or is not yet valid, and
            AuthorizationHeaderMalformed or AuthorizationQueryParametersError if the scope is of another day.
    """
    if claim.mechanism is Mechanism.FORM:
        return  # the policy has its own times: `PostPolicy.check_time`
    _check_window(claim, now)
    if claim.scope.day != claim.timestamp[:8]:
        raise _bad_scope(claim, "Invalid credential date. Date is not the same as X-Amz-Date.")


def _check_window(claim: Claim, now: datetime) -> None:
    if claim.expires is None:
        if abs(now - claim.time) > MAX_SKEW:
            raise S3Error(
                "RequestTimeTooSkewed",
                reason="time_skew",
                RequestTime=claim.timestamp,
                ServerTime=_as_text(now),
                MaxAllowedSkewMilliseconds="900000",
            )
        return
    until = claim.time + timedelta(seconds=claim.expires)
    if claim.time - now > MAX_SKEW:
        raise S3Error(
            "AccessDenied",
            "Request is not yet valid",
            reason="not_yet_valid",
            extra={"X-Amz-Date": str(int(claim.time.timestamp() * 1000))},
            Expires=_as_text(until),
            ServerTime=_as_text(now),
        )
    if now > until:
        raise S3Error(
            "AccessDenied",
            "Request has expired",
            reason="presign_expired",
            extra={"X-Amz-Expires": str(claim.expires)},
            Expires=_as_text(until),
            ServerTime=_as_text(now),
        )


def _as_text(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def check_region(claim: Claim, expected: str | None) -> None:
    """Refuse another region than `expected`, naming it so that SDKs sign again with it (C27); None takes any.

    Raises:
        S3Error: AuthorizationHeaderMalformed or AuthorizationQueryParametersError with the right `Region`.
    """
    if expected is not None and claim.scope.region != expected:
        raise _bad_scope(
            claim,
            f"the region '{claim.scope.region}' is wrong; expecting '{expected}'",
            "wrong_region",
            Region=expected,
        )


def _bad_scope(claim: Claim, text: str, reason: str | None = None, **fields: str) -> S3Error:
    """The refusal of a credential scope, in the words of the mechanism."""
    if claim.mechanism is Mechanism.HEADER:
        message = f"The authorization header is malformed; {text}"
        return S3Error("AuthorizationHeaderMalformed", message, reason=reason or "malformed_header", extra=fields)
    message = f"Error parsing the X-Amz-Credential parameter; {text}"
    return S3Error("AuthorizationQueryParametersError", message, reason=reason or "malformed_query", extra=fields)


def verify(claim: Claim, secret: str) -> Verified | None:
    """Compare the claimed signature with the one that `secret` makes; None if they differ."""
    signing_key = cached_signing_key(secret, claim.scope)
    expected = hex_signature(signing_key, claim.string_to_sign)
    return Verified(claim, signing_key) if same_signature(claim.signature, expected) else None


def mismatch(claim: Claim, *, explain: bool) -> S3Error:
    """The refusal of a wrong signature, with what was computed here if `explain`; never the right signature."""
    fields = {"AWSAccessKeyId": claim.access_key_id}
    if explain:
        fields |= {
            "StringToSign": claim.string_to_sign,
            "SignatureProvided": claim.signature,
            "StringToSignBytes": claim.string_to_sign.encode("latin-1").hex(" "),
        }
        if claim.mechanism is not Mechanism.FORM:
            fields |= {
                "CanonicalRequest": claim.canonical_request,
                "CanonicalRequestBytes": claim.canonical_request.encode("latin-1").hex(" "),
            }
    return S3Error("SignatureDoesNotMatch", reason="signature_mismatch", extra=fields)
