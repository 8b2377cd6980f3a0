"""Nodes with a hub.toml each, on one database: no node archives what another one declares."""

import msgspec
import pytest
import sqlalchemy as sa

from protocol.ids import BootId, NodeId, UserId
from storage.agents import agent_snapshot, declared_agents, declaring
from storage.agents.agent_snapshot import WrittenTemplate
from storage.agents.agents import list_agents
from storage.agents.declared_agents import DeclaredAgent
from storage.agents.declaring import TakenUp
from storage.connectors import connectors
from storage.connectors.connectors import DeclaredConnector
from storage.coordination import gateways
from storage.coordination.gateways import DeclaredGateway
from storage.devices import devices, nodes
from storage.schema import nodes as node_table
from tests.storage.rows import AT, ME

EAST, WEST = NodeId("east"), NodeId("west")
INBOX = DeclaredAgent(name="inbox", prompt="Find.")
NOTES = DeclaredAgent(name="notes", prompt="Find.")
MAILS = WrittenTemplate(name="mails", prompt_template="Find.")
GATEWAY = DeclaredGateway(name="claw", user_name="me", main_agent=None)
MAILBOX = DeclaredConnector(name="mail", user_name="me", provider="imap")


@pytest.fixture
def me(c: sa.Connection) -> UserId:
    for node in (EAST, WEST):
        nodes.begin_boot(c, node, BootId(f"boot of {node}"), AT, name=f"{node}.example")
        nodes.beat(c, node, BootId(f"boot of {node}"), ttl_ms=30_000)
    return devices.ensure_user(c, ME, devices.OWNER, AT)


def applies(
    c: sa.Connection, me: UserId, node: NodeId, *agents: DeclaredAgent, others: bool = False, at: int = AT
) -> TakenUp:
    """The node applies a hub.toml with these agents; *others*: and one of each other kind."""
    return declaring.take_up(
        c,
        user_id=me,
        declared=agents,
        at=at,
        fresh_ids=[f"{node}-{at}-{n}" for n in range(declared_agents.IDS_PER_AGENT * len(agents) + 9)],
        templates=[MAILS] if others else [],
        declared_gateways=[GATEWAY] if others else [],
        declared_connectors=[MAILBOX] if others else [],
        node_id=node,
    )


def active(c: sa.Connection) -> list[str]:
    """Everything that is declared, and not archived."""
    return [
        *(one.name for one in list_agents(c) if one.archived_at is None and one.executor != "gateway"),
        *(one.name for one in agent_snapshot.list_templates(c)),
        *(one.name for one in gateways.list_gateways(c)),
        *(one.name for one in connectors.list_connectors(c)),
    ]


def test_a_node_archives_what_its_own_file_declared_and_nothing_of_another_node(
    c: sa.Connection, me: UserId
) -> None:
    applies(c, me, EAST, INBOX, NOTES, others=True)
    assert applies(c, me, WEST, NOTES).agents.archived == ()
    everything = ["inbox", "notes", "mails", "claw", "mail"]
    assert active(c) == everything
    assert applies(c, me, EAST, INBOX, others=True).agents.archived == ()  # the other node declares the notes
    assert (active(c), applies(c, me, WEST).agents.archived) == (everything, ("notes",))
    assert (applies(c, me, EAST).agents.archived, active(c)) == (("inbox",), [])


def test_what_only_a_node_declared_that_was_removed_is_archived_by_the_next_one(
    c: sa.Connection, me: UserId
) -> None:
    applies(c, me, EAST, INBOX)
    nodes.end_boot(c, EAST, BootId(f"boot of {EAST}"), AT)
    assert applies(c, me, WEST, NOTES).agents.archived == ()  # it may only be restarting
    nodes.remove_node(c, EAST)
    assert applies(c, me, WEST, NOTES).agents.archived == ("inbox",)


def test_beside_a_living_node_of_an_older_release_nothing_is_archived(c: sa.Connection, me: UserId) -> None:
    applies(c, me, EAST, INBOX, others=True)
    c.execute(sa.update(node_table).values(declared=None))
    assert (applies(c, me, WEST).agents.archived, active(c)) == ((), ["inbox", "mails", "claw", "mail"])
    nodes.end_boot(c, EAST, BootId(f"boot of {EAST}"), AT)
    assert applies(c, me, WEST).agents.archived == ("inbox",)


def test_an_agent_of_another_user_is_another_agent(c: sa.Connection, me: UserId) -> None:
    applies(c, me, EAST, INBOX)
    applies(c, me, WEST, msgspec.structs.replace(INBOX, user_name="anna"))
    assert applies(c, me, EAST, at=AT + 1).agents.archived == ("inbox",)
    (annas,) = (one for one in list_agents(c) if one.archived_at is None)
    assert annas.user_id != me


def test_declarations_are_equal_if_and_only_if_the_files_say_the_same(c: sa.Connection, me: UserId) -> None:
    applies(c, me, EAST, INBOX, NOTES)
    applies(c, me, WEST, msgspec.structs.replace(INBOX, prompt="Find all."), NOTES)
    east, west = declaring.list_declarations(c)
    assert (east.name, east.is_alive) == ("east.example", True)
    assert east.declared is not None and west.declared is not None
    assert east.declared.differing(west.declared) == ["agent owner/inbox"]
    assert east.declared.beyond([west.declared]) == []
    assert east.declared.beyond([]) == ["agent owner/inbox", "agent owner/notes"]
