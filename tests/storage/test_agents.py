import msgspec
import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, DeviceId, RunId
from protocol.lifecycles import RunState
from storage.agents import agents, declared_agents
from storage.agents.agent_states import agent_history
from storage.agents.declared_agents import DeclaredAgent, NameTaken, Reconciled
from storage.devices import devices
from storage.runs import run_moves
from storage.schedules import schedule_rows
from storage.schedules.schedule_rows import DeclaredSchedule
from storage.schema import agents as agent_table
from tests.storage.rows import AT, ME, claim, declare, make_agent, make_run, some
from tests.support.coded import coded

INBOX = DeclaredAgent(
    name="inbox",
    device_name="laptop",
    paths=("notes", "mail"),
    file_extensions=(".md",),
    data_types=("tasks",),
    prompt="Find tasks.",
    schedule=DeclaredSchedule(kind="cron", expr="0 * * * *", tz="Europe/Rome"),
    timezone="Europe/Rome",
)


def enabled_schedules(c: sa.Connection) -> list[str]:
    return [
        schedule_rows.time_text(row.expr, row.every_ms, row.at_ms)
        for row in schedule_rows.list_schedules(c)
        if row.enabled
    ]


@pytest.fixture
def inbox(c: sa.Connection) -> None:
    """The declared agent."""
    declare(c, INBOX)


def test_a_declared_agent_comes_with_its_device_its_configs_and_its_schedule(c: sa.Connection) -> None:
    assert declare(c, INBOX) == Reconciled(created=("inbox",))
    agent = some(agents.find_agent_by_name(c, "inbox"))
    assert (
        agent.device_name,
        agent.paths,
        agent.file_extensions,
        agent.data_types,
        agent.prompt,
        agent.source,
    ) == ("laptop", ("notes", "mail"), (".md",), ("tasks",), "Find tasks.", "file")
    assert (agent.schedule, agent.timezone, agent.lifecycle) == ("every hour", "Europe/Rome", "active")
    assert [device.name for device in devices.list_devices(c)] == ["laptop"]


def test_two_users_may_each_have_an_agent_and_a_device_of_one_name(c: sa.Connection) -> None:
    def read(*declared: DeclaredAgent, at: int) -> Reconciled:
        fresh = [f"{at}-{number}" for number in range(4 * len(declared))]
        return declared_agents.reconcile_declared(c, user_id=me, declared=declared, at=at, fresh_ids=fresh)

    me = devices.ensure_user(c, ME, "me", AT)
    mine, annas = INBOX, msgspec.structs.replace(INBOX, user_name="anna")
    assert read(mine, annas, at=AT) == Reconciled(created=("inbox", "inbox"))
    assert read(mine, annas, at=AT + 1) == Reconciled()

    anna = some(devices.find_user_by_name(c, "anna"))
    assert {row.user_id for row in agents.list_agents(c)} == {me, anna.id}
    assert {row.user_id for row in devices.devices_called(c, "laptop")} == {me, anna.id}

    assert read(annas, at=AT + 2) == Reconciled(archived=("inbox",))
    assert [row.user_id for row in agents.list_agents(c)] == [anna.id]


@pytest.mark.usefixtures("inbox")
def test_reading_the_same_file_again_changes_nothing(c: sa.Connection) -> None:
    before = agents.list_agents(c)
    assert (declare(c, INBOX, at=AT + 1), agents.list_agents(c)) == (Reconciled(), before)


@pytest.mark.usefixtures("inbox")
@pytest.mark.parametrize(
    "changed",
    [
        {"prompt": "Find notes."},
        {"title": "Mail of mine"},
        {"paths": ("mail",)},
        {"file_extensions": ()},
        {"data_types": ("notes",)},
        {"device_name": "desktop"},
        {"timezone": "UTC"},
    ],
)
def test_a_change_in_the_file_is_a_new_revision_of_the_agent(
    c: sa.Connection, changed: dict[str, str]
) -> None:
    fields = {name: getattr(INBOX, name) for name in INBOX.__struct_fields__}
    assert declare(c, DeclaredAgent(**(fields | changed)), at=AT + 1) == Reconciled(updated=("inbox",))
    agent = agents.list_agents(c)[0]
    assert (agent.config_rev, {name: getattr(agent, name) for name in changed}) == (2, changed)


@pytest.mark.usefixtures("inbox")
def test_a_new_schedule_is_a_new_revision_of_the_agent_and_nothing_else_of_it_changes(
    c: sa.Connection,
) -> None:
    often = msgspec.structs.replace(INBOX, schedule=DeclaredSchedule(kind="every", every_ms=900_000))
    assert declare(c, often, at=AT + 1) == Reconciled(updated=("inbox",))
    agent = agents.list_agents(c)[0]
    assert (agent.config_rev, agent.schedule, agent.prompt) == (2, "every 15 minutes", "Find tasks.")


@pytest.mark.usefixtures("inbox")
def test_a_changed_prompt_leaves_the_schedule_alone(c: sa.Connection) -> None:
    before = schedule_rows.list_schedules(c)
    declare(c, msgspec.structs.replace(INBOX, prompt="Find notes."), at=AT + 1)
    assert schedule_rows.list_schedules(c) == before


@pytest.mark.usefixtures("inbox")
def test_a_changed_schedule_takes_the_place_of_the_old_one(c: sa.Connection) -> None:
    daily = DeclaredSchedule(kind="cron", expr="5 4 * * *")
    declare(c, DeclaredAgent(name="inbox", device_name="laptop", schedule=daily), at=AT + 1)
    assert enabled_schedules(c) == ["every day at 04:05"]
    declare(c, DeclaredAgent(name="inbox", device_name="laptop"), at=AT + 2)
    assert enabled_schedules(c) == []


@pytest.mark.usefixtures("inbox")
def test_an_agent_that_is_no_longer_declared_is_paused_and_archived(c: sa.Connection) -> None:
    assert (declare(c, at=AT + 7), declare(c, at=AT + 8)) == (Reconciled(archived=("inbox",)), Reconciled())
    assert agents.list_agents(c) == []
    archived = some(agents.find_agent_by_name(c, "inbox"))
    assert (archived.archived_at, archived.lifecycle, enabled_schedules(c)) == (AT + 7, "paused", [])


@pytest.mark.usefixtures("inbox")
def test_an_agent_that_comes_back_is_the_same_one_with_its_history(c: sa.Connection) -> None:
    declare(c, at=AT + 1)
    assert declare(c, INBOX, at=AT + 2) == Reconciled(revived=("inbox",))
    agent = agents.get_agent(c, AgentId("agent-inbox"))
    assert (agent.archived_at, agent.lifecycle) == (None, "active")
    assert [move.new_value for move in agent_history(c, agent.id)][-3:] == ["active", "paused", "active"]


def test_an_archived_agent_gets_no_run_and_its_waiting_ones_are_not_claimed(c: sa.Connection) -> None:
    agent = agents.get_agent(c, make_run(c).agent_id)
    declare(c, at=AT + 1)
    assert claim(c) is None
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_AGENT), match="inbox"):
        run_moves.create_run(
            c, id=RunId("run-2"), agent=agent, fire_key="again", at=AT, config_fingerprint=""
        )


def test_a_declared_name_that_was_taken_over_the_api_is_refused(c: sa.Connection) -> None:
    make_agent(c, "inbox")
    c.execute(sa.update(agent_table).values(source="api"))
    with pytest.raises(NameTaken, match="inbox"):
        declare(c, INBOX)
    assert declare(c) == Reconciled()


def test_too_few_ids_are_refused_before_anything_is_written(c: sa.Connection) -> None:
    with pytest.raises(ValueError, match="4 fresh ids"):
        declared_agents.reconcile_declared(c, user_id=ME, declared=[INBOX], at=AT, fresh_ids=["one"])


def test_an_agent_shows_its_newest_run(c: sa.Connection) -> None:
    agent = make_agent(c)
    assert agent.last_run is None
    make_run(c, "run-1", agent=agent, state=RunState.COMPLETED)
    make_run(c, "run-2", agent=agent)
    newest = some(agents.get_agent(c, agent.id).last_run)
    assert (newest.id, newest.state, newest.outcome) == ("run-2", RunState.QUEUED, None)


def test_an_unknown_agent_is_reported(c: sa.Connection) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_AGENT), match="agent-9"):
        agents.get_agent(c, AgentId("agent-9"))
    assert agents.find_agent_by_name(c, "nobody") is None


def test_the_agents_of_a_device_are_those_that_work_on_it(c: sa.Connection) -> None:
    make_agent(c, "notes")
    make_agent(c, "mail", device="phone")
    assert [row.name for row in agents.list_agents(c, device_id=DeviceId("device-phone"))] == ["mail"]
    assert agents.list_agents(c, device_id=DeviceId("device-unknown")) == []
