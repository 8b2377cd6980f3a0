import msgspec
import pytest
import sqlalchemy as sa

from protocol.agent_status import Lifecycle
from protocol.agent_types import AgentType
from protocol.errors import CodedError, ErrorCode, LimitReached
from protocol.ids import AgentId, DeviceId, RunId, UserId
from protocol.lifecycles import RunState
from storage.agents import agents, declared_agents, state_moves, template_changes
from storage.agents.agents import AgentRow
from storage.agents.config_changes import NewConfig
from storage.agents.declared_agents import AgentLimits, DeclaredAgent, NameTaken
from storage.agents.template_changes import Broken
from storage.connectors.connectors import Reconciled
from storage.devices import devices, users
from storage.devices.devices import UnknownDevice
from storage.effects import agent_changes
from storage.effects.agent_changes import AgentOfFile, Writing
from storage.runs import run_moves, runs
from storage.schedules import schedule_rows
from storage.schedules.schedule_rows import DeclaredSchedule
from storage.schema import agents as agent_table
from tests.storage.rows import AT, ME, claim, declare, make_agent, make_run, some
from tests.support import stored
from tests.support.coded import coded
from tests.support.stored import agent_history

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
        for row in stored.list_schedules(c)
        if row.enabled
    ]


@pytest.fixture
def inbox(c: sa.Connection) -> None:
    """The declared agent."""
    declare(c, INBOX)


def test_declared_agent_is_created_with_device_configs_and_schedule(c: sa.Connection) -> None:
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


def test_two_users_may_each_have_an_agent_and_a_device_of_the_same_name(c: sa.Connection) -> None:
    def read(*declared: DeclaredAgent, at: int) -> Reconciled:
        fresh = [f"{at}-{number}" for number in range(4 * len(declared))]
        return declared_agents.reconcile_declared(c, user_id=me, declared=declared, at=at, fresh_ids=fresh)

    me = users.ensure_user(c, ME, "me", AT)
    mine, annas = INBOX, msgspec.structs.replace(INBOX, user_name="anna")
    assert read(mine, annas, at=AT) == Reconciled(created=("inbox", "inbox"))
    assert read(mine, annas, at=AT + 1) == Reconciled()

    anna = some(users.find_user_by_name(c, "anna"))
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
def test_changed_schedule_of_an_agent_raises_the_revision_only(
    c: sa.Connection,
) -> None:
    often = msgspec.structs.replace(INBOX, schedule=DeclaredSchedule(kind="every", every_ms=900_000))
    assert declare(c, often, at=AT + 1) == Reconciled(updated=("inbox",))
    agent = agents.list_agents(c)[0]
    assert (agent.config_rev, agent.schedule, agent.prompt) == (2, "every 15 minutes", "Find tasks.")


@pytest.mark.usefixtures("inbox")
def test_a_changed_prompt_leaves_the_schedule_alone(c: sa.Connection) -> None:
    before = stored.list_schedules(c)
    declare(c, msgspec.structs.replace(INBOX, prompt="Find notes."), at=AT + 1)
    assert stored.list_schedules(c) == before


@pytest.mark.usefixtures("inbox")
def test_changed_schedule_of_a_declared_agent_replaces_the_old_schedule(c: sa.Connection) -> None:
    daily = DeclaredSchedule(kind="cron", expr="5 4 * * *")
    declare(c, DeclaredAgent(name="inbox", device_name="laptop", schedule=daily), at=AT + 1)
    assert enabled_schedules(c) == ["every day at 04:05"]
    declare(c, DeclaredAgent(name="inbox", device_name="laptop"), at=AT + 2)
    assert enabled_schedules(c) == []


@pytest.mark.usefixtures("inbox")
def test_no_longer_declared_agent_is_paused_and_archived(c: sa.Connection) -> None:
    assert (declare(c, at=AT + 7), declare(c, at=AT + 8)) == (Reconciled(archived=("inbox",)), Reconciled())
    assert agents.list_agents(c) == []
    archived = some(agents.find_agent_by_name(c, "inbox"))
    assert (archived.archived_at, archived.lifecycle, enabled_schedules(c)) == (AT + 7, "paused", [])


@pytest.mark.usefixtures("inbox")
def test_agent_declared_again_is_revived_with_id_and_history(c: sa.Connection) -> None:
    declare(c, at=AT + 1)
    assert declare(c, INBOX, at=AT + 2) == Reconciled(revived=("inbox",))
    agent = agents.get_agent(c, AgentId("agent-inbox"))
    assert (agent.archived_at, agent.lifecycle) == (None, "active")
    assert [move.new_value for move in agent_history(c, agent.id)][-3:] == ["active", "paused", "active"]


def test_archived_agent_gets_no_run_and_the_waiting_runs_are_not_claimed(c: sa.Connection) -> None:
    agent = agents.get_agent(c, make_run(c).agent_id)
    declare(c, at=AT + 1)
    assert claim(c) is None
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_AGENT), match="inbox"):
        run_moves.create_run(
            c, id=RunId("run-2"), agent=agent, fire_key="again", at=AT, config_fingerprint=""
        )


def test_declared_agent_with_the_name_of_an_api_agent_is_refused(c: sa.Connection) -> None:
    make_agent(c, "inbox")
    c.execute(sa.update(agent_table).values(source="api"))
    with pytest.raises(NameTaken, match="inbox"):
        declare(c, INBOX)
    assert declare(c) == Reconciled()


def test_too_few_ids_are_refused_before_anything_is_written(c: sa.Connection) -> None:
    with pytest.raises(ValueError, match="4 fresh ids"):
        declared_agents.reconcile_declared(c, user_id=ME, declared=[INBOX], at=AT, fresh_ids=["one"])


def test_agent_shows_the_newest_run(c: sa.Connection) -> None:
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


def test_agents_are_listed_by_device(c: sa.Connection) -> None:
    make_agent(c, "notes")
    make_agent(c, "mail", device="phone")
    assert [row.name for row in agents.list_agents(c, device_id=DeviceId("device-phone"))] == ["mail"]
    assert agents.list_agents(c, device_id=DeviceId("device-unknown")) == []


# --- agents that are made over the API ---


MAIL = DeclaredAgent(
    name="mail",
    device_name="laptop",
    description="Reads mail.",
    type=AgentType.RESEARCHER,
    external_id="crm-7",
    instance_id="i-1",
    project_id="apollo",
    paths=("mail",),
    file_extensions=(".eml",),
    data_types=("tasks",),
    prompt="Find tasks.",
    needs=("file.read >= 1.2",),
    locks=("mailbox",),
    schedule=DeclaredSchedule(kind="cron", expr="0 9 * * *", tz="Europe/Rome"),
    timezone="Europe/Rome",
    priority=2,
    max_concurrent_runs=3,
    config=(NewConfig(key="depth", value=3),),
)
WRITING = Writing(at=AT, actor="anna", check=lambda _: ())


def owner(c: sa.Connection, name: str = "laptop") -> UserId:
    user = users.ensure_user(c, ME, "me", AT)
    devices.ensure_device(c, id=DeviceId(f"device-{name}"), user_id=user, name=name, at=AT)
    return user


def make(
    c: sa.Connection,
    agent: DeclaredAgent = MAIL,
    *,
    id: str = "a-1",
    user_id: UserId | None = None,
    lifecycle: Lifecycle = Lifecycle.ACTIVE,
    writing: Writing = WRITING,
) -> AgentRow:
    return agent_changes.make_agent(
        c,
        agent,
        user_id=user_id or owner(c),
        fresh_id=AgentId(id),
        fresh_schedule_id=f"s-{id}",
        lifecycle=lifecycle,
        writing=writing,
    )


def edit(c: sa.Connection, agent: DeclaredAgent, *, revision: int | None = None) -> AgentRow:
    return agent_changes.edit_agent(
        c, AgentId("a-1"), agent, fresh_schedule_id="s-2", revision=revision, writing=WRITING
    )


def lifecycles(c: sa.Connection, id: str = "a-1") -> list[str]:
    return [move.new_value for move in stored.agent_history(c, AgentId(id)) if move.axis == "lifecycle"]


@pytest.fixture
def made(c: sa.Connection) -> AgentRow:
    """The agent ``mail``."""
    return make(c)


def test_an_agent_is_created_with_all_declared_fields(c: sa.Connection, made: AgentRow) -> None:
    assert (made.source, made.lifecycle, made.device_name) == ("api", "active", "laptop")
    assert declared_agents.declaration_of(c, made) == msgspec.structs.replace(MAIL, config=())
    assert stored.configuration_of(c, made.id) == {"depth": 3}
    assert lifecycles(c) == ["created", "initializing", "ready", "active"]
    assert {move.actor for move in stored.agent_history(c, made.id)} == {"anna"}


def test_unstarted_agent_is_ready(c: sa.Connection) -> None:
    assert make(c, lifecycle=Lifecycle.READY).lifecycle == "ready"


@pytest.mark.usefixtures("made")
def test_agent_name_is_unique_among_the_agents_of_a_user(c: sa.Connection) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.NAME_TAKEN), match="'mail'"):
        make(c, id="a-2")
    declare(c, DeclaredAgent(name="inbox", device_name="laptop"))
    with pytest.raises(CodedError, check=coded(ErrorCode.NAME_TAKEN), match="'inbox'"):
        make(c, msgspec.structs.replace(MAIL, name="inbox", external_id=None), id="a-2")
    with pytest.raises(NameTaken):
        declare(c, DeclaredAgent(name="mail", device_name="laptop"))


@pytest.mark.usefixtures("made")
def test_external_id_used_by_another_agent_is_refused(c: sa.Connection) -> None:
    other = msgspec.structs.replace(MAIL, name="other")
    with pytest.raises(CodedError, check=coded(ErrorCode.NAME_TAKEN), match="'mail'"):
        make(c, other, id="a-2")
    agent_changes.remove_agent(c, AgentId("a-1"), writing=WRITING)
    assert make(c, other, id="a-2").external_id == "crm-7"
    assert agents.get_agent(c, AgentId("a-1")).external_id is None


@pytest.mark.usefixtures("made")
def test_holder_of_an_external_id_is_not_named_to_another_user(c: sa.Connection) -> None:
    anna = users.ensure_user(c, UserId("u-anna"), "anna", AT)
    devices.ensure_device(c, id=DeviceId("device-anna"), user_id=anna, name="laptop", at=AT)
    with pytest.raises(CodedError, check=coded(ErrorCode.NAME_TAKEN), match="another agent is called that"):
        make(c, msgspec.structs.replace(MAIL, name="other"), id="a-2", user_id=anna)


def test_agent_on_a_device_unknown_to_the_user_is_refused(c: sa.Connection) -> None:
    with pytest.raises(UnknownDevice, match="'phone'"):
        make(c, msgspec.structs.replace(MAIL, device_name="phone"))


@pytest.mark.parametrize("limit", ["agents", "agents_per_user"])
def test_agent_beyond_the_limit_is_refused(c: sa.Connection, limit: str) -> None:
    few = msgspec.structs.replace(WRITING, limits=AgentLimits(**{limit: 1}))
    make(c, writing=few)
    with pytest.raises(LimitReached) as refused:
        make(c, msgspec.structs.replace(MAIL, name="other", external_id=None), id="a-2", writing=few)
    assert refused.value.limit == limit


def test_agent_with_an_invalid_setup_is_not_created(c: sa.Connection) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_CONFIG), match="agent mail: no good"):
        make(c, writing=msgspec.structs.replace(WRITING, check=lambda _: ["no good"]))


def test_an_edit_changes_the_given_fields_and_is_a_new_revision(c: sa.Connection, made: AgentRow) -> None:
    said = declared_agents.declaration_of(c, made)
    hourly = DeclaredSchedule(kind="every", every_ms=3_600_000)
    changed = msgspec.structs.replace(
        said, name="post", prompt="Find notes.", schedule=hourly, max_concurrent_runs=1
    )
    done = edit(c, changed)
    assert (done.id, done.name, done.prompt) == (made.id, "post", "Find notes.")
    assert done.config_rev > made.config_rev
    assert declared_agents.declaration_of(c, done) == changed
    assert edit(c, changed).config_rev == done.config_rev
    assert (
        declared_agents.declaration_of(c, edit(c, msgspec.structs.replace(changed, schedule=None))).schedule
        is None
    )


def test_config_in_an_agent_edit_is_added_to_the_existing_configs(c: sa.Connection) -> None:
    said = declared_agents.declaration_of(c, make(c))
    edit(c, msgspec.structs.replace(said, config=(NewConfig(key="mode", value="fast"),)))
    assert stored.configuration_of(c, AgentId("a-1")) == {"depth": 3, "mode": "fast"}


def test_agent_edit_with_an_outdated_revision_is_refused(c: sa.Connection, made: AgentRow) -> None:
    said = declared_agents.declaration_of(c, made)
    edit(c, msgspec.structs.replace(said, prompt="Find notes."), revision=made.config_rev)
    with pytest.raises(
        CodedError, check=coded(ErrorCode.CHANGED_MEANWHILE), match="changed since it was read"
    ):
        edit(c, said, revision=made.config_rev)


def test_waiting_runs_follow_an_agent_to_another_device(c: sa.Connection, made: AgentRow) -> None:
    owner(c, "desk")
    run = make_run(c, agent=made)
    said = declared_agents.declaration_of(c, made)
    assert edit(c, msgspec.structs.replace(said, device_name="desk")).device_name == "desk"
    assert runs.get_run(c, run.id).device_id == "device-desk"


def test_removed_agent_is_archived_and_the_waiting_runs_are_cancelled(
    c: sa.Connection, made: AgentRow
) -> None:
    run = make_run(c, agent=made)
    removed, cancelled = agent_changes.remove_agent(c, made.id, writing=WRITING)
    assert (cancelled, removed.archived_at, removed.lifecycle) == ([run.id], AT, "paused")
    assert agents.list_agents(c) == []
    assert all(not row.enabled for row in schedule_rows.schedules_of(c, made.id))
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_AGENT)):
        agent_changes.remove_agent(c, made.id, writing=WRITING)
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_AGENT)):
        edit(c, MAIL)


@pytest.mark.usefixtures("made")
def test_agent_created_again_by_name_is_revived_with_history(c: sa.Connection) -> None:
    agent_changes.remove_agent(c, AgentId("a-1"), writing=WRITING)
    again = make(c, msgspec.structs.replace(MAIL, prompt="Find notes."), id="a-2")
    assert (again.id, again.prompt, again.lifecycle, again.archived_at) == (
        "a-1",
        "Find notes.",
        "active",
        None,
    )
    assert lifecycles(c)[-2:] == ["paused", "active"]


def test_terminated_agent_is_not_revived_and_a_new_agent_gets_the_name(
    c: sa.Connection, made: AgentRow
) -> None:
    state_moves.move(c, made.id, "lifecycle", "terminated", at=AT, actor="anna")
    agent_changes.remove_agent(c, made.id, writing=WRITING)
    again = make(c, id="a-2")
    assert (again.id, again.lifecycle, agents.get_agent(c, made.id).name) == ("a-2", "active", "mail~a-1")


def test_agent_declared_in_the_file_cannot_be_changed_over_the_api(c: sa.Connection) -> None:
    declare(c, DeclaredAgent(name="inbox", device_name="laptop"))
    id = AgentId("agent-inbox")
    with pytest.raises(AgentOfFile, match="'inbox' is managed by hub"):
        agent_changes.remove_agent(c, id, writing=WRITING)
    with pytest.raises(AgentOfFile):
        agent_changes.edit_agent(c, id, MAIL, fresh_schedule_id="s", writing=WRITING)


def test_agent_removed_by_file_or_api_may_be_declared_by_the_other(c: sa.Connection) -> None:
    declare(c, DeclaredAgent(name="mail", device_name="laptop"))
    declare(c)
    assert make(c, id="a-2").id == "agent-mail"
    agent_changes.remove_agent(c, AgentId("agent-mail"), writing=WRITING)
    declare(c, DeclaredAgent(name="mail", device_name="laptop"))
    (agent,) = agents.list_agents(c)
    assert (agent.id, agent.source, agent.lifecycle) == ("agent-mail", "file", "active")


def test_agent_edit_correcting_the_setup_ends_the_setup_error(
    c: sa.Connection,
    made: AgentRow,
) -> None:
    template_changes.put_in_error(c, [Broken(made.id, "mail", "me", ("no good",))], None, at=AT, actor="anna")
    assert agents.get_agent(c, made.id).health == "error"
    assert edit(c, declared_agents.declaration_of(c, made)).health == "ok"
