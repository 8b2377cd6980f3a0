"""What is posted is kept once, waits until it is settled, and then loses its body and keeps its key."""

from typing import Any

import pytest
import sqlalchemy as sa

from protocol.ids import AgentId, RunId
from storage.connectors import connectors, seen_messages
from storage.connectors.connectors import DeclaredConnector
from storage.connectors.seen_messages import TooManyPosted
from storage.schema import agents as agent_table
from storage.schema import posted as table
from tests.storage.rows import AT, make_agent

INBOX = AgentId("agent-inbox")


@pytest.fixture
def hook(c: sa.Connection) -> str:
    """A webhook that the agent *inbox* reads."""
    make_agent(c)
    one = DeclaredConnector(name="builds", user_name="owner", provider="webhook")
    connectors.reconcile_connectors(c, declared=[one], at=AT, fresh_ids=["hook", "somebody"])
    id = connectors.get_connector(c, "builds").id
    c.execute(sa.update(agent_table).where(agent_table.c.id == INBOX).values(connector_id=id))
    return id


def post(c: sa.Connection, hook: str, *keys: str, most: int = 10, since: int = 0, at: int = AT) -> bool:
    told: dict[str, Any] = {"event": "push", "media_type": "text/plain", "body": keys[0].encode()}
    return seen_messages.take_in(
        c, hook, id=f"row-{keys[0]}", keys=keys, since=since, most_waiting=most, at=at, **told
    )


def waiting(c: sa.Connection, hook: str, after: str = "", most: int = 10) -> list[str]:
    return [row.key for row in seen_messages.settle_and_list(c, hook, after=after, most=most, at=AT + 9)]


def test_delivery_posted_repeatedly_is_a_single_row(c: sa.Connection, hook: str) -> None:
    assert [post(c, hook, "a"), post(c, hook, "a"), post(c, hook, "b")] == [True, False, True]
    assert (waiting(c, hook), seen_messages.connectors_with_news(c)) == (["a", "b"], [hook])


def test_delivery_under_an_alternative_key_is_a_duplicate_for_limited_time(
    c: sa.Connection, hook: str
) -> None:
    assert post(c, hook, "body:1") and not post(c, hook, "body:2", "body:1", since=AT)
    assert post(c, hook, "body:2", "body:1", since=AT + 1, at=AT + 1)


def test_full_delivery_queue_refuses_new_deliveries_and_recognizes_known_ones(
    c: sa.Connection, hook: str
) -> None:
    assert post(c, hook, "a", most=1) and not post(c, hook, "a", most=1)
    with pytest.raises(TooManyPosted, match="posted_waiting"):
        post(c, hook, "b", most=1)


def test_page_of_waiting_deliveries_continues_after_the_last_row(c: sa.Connection, hook: str) -> None:
    for key in "abc":
        post(c, hook, key)
    assert (waiting(c, hook, most=2), waiting(c, hook, after="row-b", most=2)) == (["a", "b"], ["c"])


def test_settled_delivery_loses_the_body_and_is_recognized_when_posted_again(
    c: sa.Connection, hook: str
) -> None:
    for key in "abcd":
        post(c, hook, key)
    run = RunId("run")
    seen_messages.note_seen(c, INBOX, seen_messages.message_key_of("a"), "planned", run_id=run, at=AT)
    seen_messages.note_seen(c, INBOX, seen_messages.message_key_of("b"), "left_out", run_id=run, at=AT)
    seen_messages.note_failed(c, INBOX, seen_messages.message_key_of("c"), run_id=run, reason="busy", at=AT)
    assert waiting(c, hook) == ["c", "d"]
    rows = c.execute(sa.select(table.c.dedupe_key, table.c.body, table.c.settled_at)).all()
    assert {tuple(row) for row in rows} == {
        ("a", None, AT + 9),
        ("b", None, AT + 9),
        ("c", b"c", None),
        ("d", b"d", None),
    }
    assert not post(c, hook, "a")
