import sqlalchemy as sa

from protocol.ids import TokenId, UserId
from storage import audit
from storage.devices import devices
from storage.devices.tokens import OPERATOR_TOKENS, OperatorTokenRow
from storage.kernel.migrate import broken_rows
from storage.schema import operator_tokens
from tests.storage.rows import AT

HASH = b"\x01" * 32
LATER = AT + 1_000


def make_token(
    c: sa.Connection, id: str = "t-1", *, token_hash: bytes = HASH, user_id: UserId | None = None
) -> OperatorTokenRow:
    return OPERATOR_TOKENS.create(
        c,
        id=TokenId(id),
        token_hash=token_hash,
        name="backup job",
        role="operator",
        scopes=["read", "run"],
        user_id=user_id,
        last4="aB3x",
        actor="operator:7",
        at=AT,
        expires_at=LATER,
    )


def test_a_token_is_found_by_its_hash_with_all_that_it_may(c: sa.Connection) -> None:
    made = make_token(c, user_id=devices.ensure_user(c, UserId("u-1"), "anna", AT))
    assert OPERATOR_TOKENS.find(c, HASH) == made
    assert (made.role, made.scopes, made.user_id, made.user_name) == (
        "operator",
        ("read", "run"),
        "u-1",
        "anna",
    )
    assert (made.last4, made.created_by, made.expires_at, made.last_used_at) == (
        "aB3x",
        "operator:7",
        LATER,
        None,
    )
    assert OPERATOR_TOKENS.find(c, b"\x02" * 32) is None


def test_limits_of_a_token_are_broken_only_if_one_is_no_list(c: sa.Connection) -> None:
    limits = {"devices": [], "tables": ["tasks"], "roots": [], "scopes": ["read"]}
    change = sa.update(operator_tokens).where(operator_tokens.c.id == make_token(c).id)
    c.execute(change.values(limits=limits))
    assert broken_rows(c) == []
    c.execute(change.values(limits=limits | {"tables": {"tasks": 1}}))
    assert [row.what for row in broken_rows(c)] == ["limits has a value that is no JSON array"]


def test_tokens_of_one_user_are_listed_apart(c: sa.Connection) -> None:
    anna = devices.ensure_user(c, UserId("u-1"), "anna", AT)
    everybodys, annas = make_token(c), make_token(c, "t-2", token_hash=b"\x02" * 32, user_id=anna)
    assert (OPERATOR_TOKENS.page(c), OPERATOR_TOKENS.page(c, user_id=anna)) == ([everybodys, annas], [annas])


def test_only_tokens_that_open_something_are_counted(c: sa.Connection) -> None:
    make_token(c)
    OPERATOR_TOKENS.revoke(c, make_token(c, "t-2", token_hash=b"\x02" * 32).id, at=AT, actor="hub")
    assert (OPERATOR_TOKENS.count(c, AT), OPERATOR_TOKENS.count(c, LATER)) == (1, 0)


def test_what_a_token_was_made_with_and_its_end_stand_in_the_audit(c: sa.Connection) -> None:
    OPERATOR_TOKENS.revoke(c, make_token(c).id, at=AT + 5, actor="token:t-9")
    made, revoked = c.execute(audit.ONWARDS, {"after": 0})
    assert (made.event, made.actor, made.subject, made.detail) == (
        "operator_token.created",
        "operator:7",
        "t-1",
        '{"name":"backup job","role":"operator","scopes":"read run","user":null}',
    )
    assert (revoked.event, revoked.actor) == ("operator_token.revoked", "token:t-9")
