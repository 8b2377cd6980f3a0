"""What hub.toml declares is taken up at once: agents, their waiting runs, and the entry that tells of it."""

from collections.abc import Sequence

import msgspec
import pytest
import sqlalchemy as sa

from protocol.ids import BootId, NodeId, UserId
from protocol.lifecycles import RunState
from storage import audit, leases
from storage.agents import agents, declared_agents, templates
from storage.agents.agents import list_agents
from storage.agents.declared_agents import DeclaredAgent, NameTaken
from storage.agents.templates import WrittenTemplate
from storage.audit import AuditEntry
from storage.connectors import connectors
from storage.connectors.connectors import DeclaredConnector, Reconciled
from storage.coordination import gateways
from storage.coordination.gateways import DeclaredGateway
from storage.devices import nodes, users
from storage.effects import declaring, node_declarations
from storage.effects.declaring import AppliedDeclarations
from storage.runs import runs
from storage.schema import agents as agent_table
from storage.schema import nodes as node_table
from tests.storage.rows import AT, ME, make_run

INBOX = DeclaredAgent(
    name="inbox", device_name="laptop", paths=("notes",), data_types=("tasks",), prompt="Find."
)
ENTRY = AuditEntry(at=AT, actor="operator:7", event="settings.applied", detail={"live": "agents.inbox"})


@pytest.fixture
def me(c: sa.Connection) -> UserId:
    return users.ensure_user(c, ME, "me", AT)


def take_up(c: sa.Connection, me: UserId, *declared: DeclaredAgent, at: int = AT) -> AppliedDeclarations:
    fresh: Sequence[str] = [f"{at}-{n}" for n in range(declared_agents.IDS_PER_AGENT * len(declared))]
    return declaring.apply_declarations(
        c, user_id=me, declared=declared, at=at, fresh_ids=fresh, entries=[ENTRY]
    )


def test_applied_settings_write_an_audit_entry_with_the_agents(c: sa.Connection, me: UserId) -> None:
    assert take_up(c, me, INBOX).agents == Reconciled(created=("inbox",))
    (entry,) = audit.list_entries(c, limit=9)
    assert (entry.actor, entry.event, entry.detail) == (
        "operator:7",
        "settings.applied",
        '{"live":"agents.inbox"}',
    )


def test_waiting_run_moves_with_the_agent_and_is_cancelled_on_archival(c: sa.Connection, me: UserId) -> None:
    take_up(c, me, INBOX)
    (inbox,) = agents.list_agents(c)
    run = make_run(c, agent=inbox)
    moved = take_up(c, me, msgspec.structs.replace(INBOX, device_name="desktop"), at=AT + 1)
    assert moved.followed == (run.id,)
    assert runs.get_run(c, run.id).device_id != run.device_id
    gone = take_up(c, me, at=AT + 2)
    assert (gone.agents.archived, gone.orphaned) == (("inbox",), (run.id,))
    assert runs.get_run(c, run.id).state is RunState.CANCELLED


def test_declaration_with_the_name_of_an_api_agent_changes_nothing(c: sa.Connection, me: UserId) -> None:
    take_up(c, me, INBOX)
    c.execute(sa.update(agent_table).values(source="api"))
    with pytest.raises(NameTaken) as taken, c.begin_nested():
        take_up(c, me, msgspec.structs.replace(INBOX, name="other"), INBOX, at=AT + 1)
    assert (taken.value.name, [agent.name for agent in agents.list_agents(c)]) == ("inbox", ["inbox"])
    assert len(audit.list_entries(c, limit=9)) == 1


EAST, WEST = NodeId("east"), NodeId("west")
INBOX_OF_NODE = DeclaredAgent(name="inbox", prompt="Find.")
NOTES = DeclaredAgent(name="notes", prompt="Find.")
MAILS = WrittenTemplate(name="mails", prompt_template="Find.")
GATEWAY = DeclaredGateway(name="claw", user_name="me_at_node", main_agent=None)
MAILBOX = DeclaredConnector(name="mail", user_name="me_at_node", provider="imap")


@pytest.fixture
def me_at_node(c: sa.Connection) -> UserId:
    for node in (EAST, WEST):
        nodes.begin_boot(c, node, BootId(f"boot of {node}"), AT, name=f"{node}.example")
        leases.beat(c, node, BootId(f"boot of {node}"), ttl_ms=30_000)
    return users.ensure_user(c, ME, users.OWNER, AT)


def applies(
    c: sa.Connection,
    me_at_node: UserId,
    node: NodeId,
    *agents: DeclaredAgent,
    others: bool = False,
    at: int = AT,
) -> AppliedDeclarations:
    """The node applies a hub.toml with these agents; *others*: and one of each other kind."""
    return declaring.apply_declarations(
        c,
        user_id=me_at_node,
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
        *(one.name for one in templates.list_templates(c)),
        *(one.name for one in gateways.list_gateways(c)),
        *(one.name for one in connectors.list_connectors(c)),
    ]


def test_node_archives_only_agents_declared_by_no_other_node(c: sa.Connection, me_at_node: UserId) -> None:
    applies(c, me_at_node, EAST, INBOX_OF_NODE, NOTES, others=True)
    assert applies(c, me_at_node, WEST, NOTES).agents.archived == ()
    everything = ["inbox", "notes", "mails", "claw", "mail"]
    assert active(c) == everything
    assert (
        applies(c, me_at_node, EAST, INBOX_OF_NODE, others=True).agents.archived == ()
    )  # the other node declares the notes
    assert (active(c), applies(c, me_at_node, WEST).agents.archived) == (everything, ("notes",))
    assert (applies(c, me_at_node, EAST).agents.archived, active(c)) == (("inbox",), [])


def test_agent_declared_only_by_a_removed_node_is_archived(c: sa.Connection, me_at_node: UserId) -> None:
    applies(c, me_at_node, EAST, INBOX_OF_NODE)
    nodes.end_boot(c, EAST, BootId(f"boot of {EAST}"), AT)
    assert applies(c, me_at_node, WEST, NOTES).agents.archived == ()  # it may only be restarting
    nodes.remove_node(c, EAST)
    assert applies(c, me_at_node, WEST, NOTES).agents.archived == ("inbox",)


def test_node_archives_nothing_while_a_node_of_an_older_release_lives(
    c: sa.Connection, me_at_node: UserId
) -> None:
    applies(c, me_at_node, EAST, INBOX_OF_NODE, others=True)
    c.execute(sa.update(node_table).values(declared=None))
    assert (applies(c, me_at_node, WEST).agents.archived, active(c)) == (
        (),
        ["inbox", "mails", "claw", "mail"],
    )
    nodes.end_boot(c, EAST, BootId(f"boot of {EAST}"), AT)
    assert applies(c, me_at_node, WEST).agents.archived == ("inbox",)


def test_agent_declared_for_another_user_does_not_prevent_archival(
    c: sa.Connection, me_at_node: UserId
) -> None:
    applies(c, me_at_node, EAST, INBOX_OF_NODE)
    applies(c, me_at_node, WEST, msgspec.structs.replace(INBOX_OF_NODE, user_name="anna"))
    assert applies(c, me_at_node, EAST, at=AT + 1).agents.archived == ("inbox",)
    (annas,) = (one for one in list_agents(c) if one.archived_at is None)
    assert annas.user_id != me_at_node


def test_declarations_are_equal_if_and_only_if_the_files_say_the_same(
    c: sa.Connection, me_at_node: UserId
) -> None:
    applies(c, me_at_node, EAST, INBOX_OF_NODE, NOTES)
    applies(c, me_at_node, WEST, msgspec.structs.replace(INBOX_OF_NODE, prompt="Find all."), NOTES)
    east, west = node_declarations.list_declarations(c)
    assert (east.name, east.is_alive) == ("east.example", True)
    assert east.declared is not None and west.declared is not None
    assert east.declared.differing(west.declared) == ["agent owner/inbox"]
    assert east.declared.beyond([west.declared]) == []
    assert east.declared.beyond([]) == ["agent owner/inbox", "agent owner/notes"]
