import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, TokenId, UserId
from storage import audit
from storage.agents import agents
from storage.devices import devices
from storage.devices.tokens import (
    AGENT_TOKENS,
    OPERATOR_TOKENS,
    AgentTokenRow,
    OperatorTokenRow,
    TooManyAgentTokens,
    create_agent_token,
    list_agent_tokens,
)
from storage.kernel.migrate import broken_rows
from storage.schema import operator_tokens
from tests.storage.rows import AT, ME, declare, make_agent, some
from tests.support.coded import coded

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


INBOX = AgentId("agent-inbox")


@pytest.fixture(autouse=True)
def _inbox(c: sa.Connection) -> None:
    make_agent(c)


def make(
    c: sa.Connection,
    id: str = "t-1",
    *,
    token_hash: bytes = HASH,
    agent_id: AgentId = INBOX,
    at: int = AT,
    most: int = 2,
) -> AgentTokenRow:
    return create_agent_token(
        c,
        id=TokenId(id),
        token_hash=token_hash,
        agent_id=agent_id,
        last4="aB3x",
        most=most,
        actor="operator:7",
        at=at,
        expires_at=at + 1_000,
    )


def find(c: sa.Connection) -> AgentTokenRow:
    return some(AGENT_TOKENS.find(c, HASH))


def test_a_token_is_found_by_its_hash_with_its_agent_and_user(c: sa.Connection) -> None:
    made = make(c)
    assert find(c) == made == AGENT_TOKENS.find_by_id(c, made.id)
    assert (made.agent_id, made.agent_name, made.user_id, made.user_name, made.is_removed) == (
        *(INBOX, "inbox"),
        *(ME, "me", False),
    )
    assert (made.last4, made.created_by, made.expires_at, made.last_used_at) == (
        *("aB3x", "operator:7"),
        *(LATER, None),
    )
    assert AGENT_TOKENS.find(c, b"\x02" * 32) is None


def test_a_revoked_token_is_still_found_is_revoked_once_and_is_not_used_any_more(c: sa.Connection) -> None:
    token = make(c)
    AGENT_TOKENS.use(c, token.id, AT + 3)
    assert AGENT_TOKENS.revoke(c, token.id, at=AT + 5, actor="operator:7")
    assert not AGENT_TOKENS.revoke(c, token.id, at=AT + 9, actor="operator:7")
    AGENT_TOKENS.use(c, token.id, AT + 9)
    assert (find(c).revoked_at, find(c).last_used_at) == (AT + 5, AT + 3)


def test_the_token_of_an_agent_that_was_removed_or_ended_is_marked(c: sa.Connection) -> None:
    make(c)
    agents.move(c, INBOX, "lifecycle", "terminated", at=AT, actor="operator:7", reason="done")
    assert find(c).is_removed
    declare(c)
    assert find(c).is_removed
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_AGENT)):
        make(c, "t-2", token_hash=b"\x02" * 32)


def test_an_agent_has_as_many_tokens_as_may_count_at_once(c: sa.Connection) -> None:
    first = make(c, most=1)
    with pytest.raises(TooManyAgentTokens, match="agent_tokens_per_agent"):
        make(c, "t-2", token_hash=b"\x02" * 32, most=1)
    AGENT_TOKENS.revoke(c, first.id, at=AT, actor="operator:7")
    second = make(c, "t-2", token_hash=b"\x02" * 32, most=1)
    assert [row.id for row in list_agent_tokens(c, INBOX)] == ["t-1", "t-2"]
    make(c, "t-3", token_hash=b"\x03" * 32, at=(second.expires_at + AGENT_TOKENS.retention_ms), most=1)
    assert [row.id for row in list_agent_tokens(c, INBOX)] == ["t-3"], "the old ones went"


def test_the_maker_and_the_revoker_of_a_token_are_in_the_audit_log(c: sa.Connection) -> None:
    AGENT_TOKENS.revoke(c, make(c).id, at=AT, actor="operator:7")
    told = [entry.event for entry in audit.list_entries(c, limit=2)]
    assert told == ["agent_token.revoked", "agent_token.created"]
