"""What hub.toml declares is taken up at once: agents, their waiting runs, and the entry that tells of it."""

from collections.abc import Sequence

import msgspec
import pytest
import sqlalchemy as sa

from protocol.ids import UserId
from protocol.lifecycles import RunState
from storage import audit
from storage.agents import agents, declared_agents, declaring
from storage.agents.declared_agents import DeclaredAgent, NameTaken
from storage.agents.declaring import TakenUp
from storage.audit import Entry
from storage.connectors.connectors import Reconciled
from storage.devices import devices
from storage.runs import runs
from storage.schema import agents as agent_table
from tests.storage.rows import AT, ME, make_run

INBOX = DeclaredAgent(
    name="inbox", device_name="laptop", paths=("notes",), data_types=("tasks",), prompt="Find."
)
ENTRY = Entry(at=AT, actor="operator:7", event="settings.applied", detail={"live": "agents.inbox"})


@pytest.fixture
def me(c: sa.Connection) -> UserId:
    return devices.ensure_user(c, ME, "me", AT)


def take_up(c: sa.Connection, me: UserId, *declared: DeclaredAgent, at: int = AT) -> TakenUp:
    fresh: Sequence[str] = [f"{at}-{n}" for n in range(declared_agents.IDS_PER_AGENT * len(declared))]
    return declaring.take_up(c, user_id=me, declared=declared, at=at, fresh_ids=fresh, entries=[ENTRY])


def test_the_entry_is_written_with_the_agents(c: sa.Connection, me: UserId) -> None:
    assert take_up(c, me, INBOX).agents == Reconciled(created=("inbox",))
    (entry,) = audit.list_entries(c, limit=9)
    assert (entry.actor, entry.event, entry.detail) == (
        "operator:7",
        "settings.applied",
        '{"live":"agents.inbox"}',
    )


def test_a_waiting_run_goes_where_its_agent_goes_and_ends_with_it(c: sa.Connection, me: UserId) -> None:
    take_up(c, me, INBOX)
    (inbox,) = agents.list_agents(c)
    run = make_run(c, agent=inbox)
    moved = take_up(c, me, msgspec.structs.replace(INBOX, device_name="desktop"), at=AT + 1)
    assert moved.followed == (run.id,)
    assert runs.get_run(c, run.id).device_id != run.device_id
    gone = take_up(c, me, at=AT + 2)
    assert (gone.agents.archived, gone.orphaned) == (("inbox",), (run.id,))
    assert runs.get_run(c, run.id).state is RunState.CANCELLED


def test_a_name_of_an_agent_made_over_the_api_takes_up_nothing(c: sa.Connection, me: UserId) -> None:
    take_up(c, me, INBOX)
    c.execute(sa.update(agent_table).values(source="api"))
    with pytest.raises(NameTaken) as taken, c.begin_nested():
        take_up(c, me, msgspec.structs.replace(INBOX, name="other"), INBOX, at=AT + 1)
    assert (taken.value.name, [agent.name for agent in agents.list_agents(c)]) == ("inbox", ["inbox"])
    assert len(audit.list_entries(c, limit=9)) == 1
