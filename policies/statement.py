"""The one form that every permission is compiled to, and the one function that decides.

Denied by default: a decision names the statement that allowed it, and "nothing matched" is a value of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Effect(Enum):
    """What came out. `NO_MATCH` denies like `DENY` but says that nobody decided."""

    ALLOW = "allow"
    DENY = "deny"
    NO_MATCH = "no_match"


@dataclass(frozen=True, slots=True)
class Statement:
    """Allow `actions` on `buckets`; `buckets` None means every bucket of the key's tenant, also future ones."""

    sid: str
    actions: frozenset[str]
    buckets: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome, the statement that decided (if one did), and for a refusal the word for it."""

    effect: Effect
    sid: str | None = None
    reason: str | None = None

    @property
    def allowed(self) -> bool:
        return self.effect is Effect.ALLOW


def decide(policy: Sequence[Statement], action: str, bucket: str | None) -> Decision:
    """May `action` be done in `bucket` (None: on no bucket in particular)?

    A refusal's reason is "bucket_scope" when no statement reaches the bucket, else "permission".
    """
    reached = False
    for statement in policy:
        if bucket is None or statement.buckets is None or bucket in statement.buckets:
            reached = True
            if action in statement.actions:
                return Decision(Effect.ALLOW, statement.sid)
    return Decision(Effect.NO_MATCH, reason="permission" if reached else "bucket_scope")
