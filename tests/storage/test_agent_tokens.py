"""Tokens of agents: found by their hash, of one agent each, of no use when it is gone."""

import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, TokenId
from storage import audit
from storage.agents import agent_moves
from storage.devices.tokens import (
    AGENT_TOKENS,
    AgentTokenRow,
    TooManyAgentTokens,
    create_agent_token,
    list_agent_tokens,
)
from tests.storage.rows import AT, ME, declare, make_agent, some
from tests.support.coded import coded

HASH = b"\x01" * 32
LATER = AT + 1_000
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
    agent_moves.move(c, INBOX, "lifecycle", "terminated", at=AT, actor="operator:7", reason="done")
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
