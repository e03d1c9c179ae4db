"""The evaluator: denied unless a statement allows, and the decision names it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from policies.statement import Effect, Statement, decide

READ = Statement("read-a", frozenset({"s3:GetObject", "s3:ListBucket"}), frozenset({"a"}))
EVERYWHERE = Statement("list-all", frozenset({"s3:HeadBucket"}), None)


def test_nothing_allows_nothing() -> None:
    decision = decide((), "s3:GetObject", "a")
    assert (decision.effect, decision.allowed, decision.sid) == (Effect.NO_MATCH, False, None)
    assert decision.reason == "bucket_scope"


def test_the_statement_that_allowed_is_named() -> None:
    decision = decide((EVERYWHERE, READ), "s3:GetObject", "a")
    assert (decision.allowed, decision.sid, decision.reason) == (True, "read-a", None)


def test_a_refusal_says_whether_the_bucket_or_the_action_was_the_cause() -> None:
    assert decide((READ,), "s3:PutObject", "a").reason == "permission"
    assert decide((READ,), "s3:GetObject", "b").reason == "bucket_scope"
    assert decide((READ, EVERYWHERE), "s3:GetObject", "b").reason == "permission"


def test_names_match_whole_and_exactly() -> None:
    """No prefix, no pattern, no case."""
    for action, bucket in (
        ("s3:GetObject", "A"),
        ("s3:GetObject", "ab"),
        ("s3:GetObject", ""),
        ("s3:getobject", "a"),
        ("s3:GetObjectVersion", "a"),
        ("s3:Get*", "a"),
        ("s3:GetObject", "*"),
    ):
        assert not decide((READ,), action, bucket).allowed


ACTIONS = st.sampled_from(["s3:GetObject", "s3:PutObject", "s3:ListBucket", "s3:DeleteObject"])
BUCKETS = st.sampled_from(["a", "b", "c"])
STATEMENTS = st.builds(
    Statement, st.text(min_size=1), st.frozensets(ACTIONS), st.one_of(st.none(), st.frozensets(BUCKETS))
)


@given(st.lists(STATEMENTS, max_size=5), ACTIONS, BUCKETS)
def test_allowed_exactly_when_some_statement_says_so(policy: list[Statement], action: str, bucket: str) -> None:
    expected = any(action in one.actions and (one.buckets is None or bucket in one.buckets) for one in policy)
    assert decide(policy, action, bucket).allowed is expected
