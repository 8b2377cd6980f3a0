"""Prompts with variables, as runs are made with them."""

import msgspec
import pytest

from hub.agents.prompts import BadPrompt
from protocol.ids import TemplateId, UserId
from storage.agents import agents, config_changes, declared_agents
from storage.agents.agent_snapshot import WrittenTemplate
from storage.agents.agents import AgentRow
from storage.agents.config_changes import NewConfig
from storage.agents.declared_agents import DeclaredAgent
from storage.devices import devices
from storage.runs import runs
from storage.schedules.schedule_rows import DeclaredSchedule
from storage.store import Store
from tests.support.runs import Bench
from tests.support.schedules import HOUR_S, Desk

TEMPLATE = WrittenTemplate(
    name="t", default_configuration={"depth": 2}, prompt_template="{{ agent }}: {{ project }}, {{ depth }}"
)
EVERY_HOUR = DeclaredSchedule(kind="every", every_ms=3_600_000)
NOTES = DeclaredAgent(
    name="notes",
    device_name="desk",
    paths=("notes",),
    data_types=("tasks",),
    template="t",
    schedule=EVERY_HOUR,
    config=(NewConfig(key="project", value="apollo"),),
)


async def declared(store: Store, agent: DeclaredAgent = NOTES) -> AgentRow:
    user_id = await store.write(devices.ensure_user, UserId("u"), "owner", 1)
    await store.write(
        config_changes.put_template,
        TEMPLATE,
        fresh_id=TemplateId("t"),
        at=1,
        actor="anna",
        check=lambda _: (),
    )
    await store.write(
        declared_agents.reconcile_declared,
        user_id=user_id,
        declared=[agent],
        at=1,
        fresh_ids=["a", "b", "c", "d"],
    )
    (row,) = await store.read(agents.list_agents)
    return row


async def configure(store: Store, agent: AgentRow, **values: object) -> None:
    puts = [NewConfig(key=key, value=value) for key, value in values.items()]
    await store.write(config_changes.declare, agent.id, puts, at=2, actor="hub.toml")


async def test_a_run_is_made_with_the_values_of_variables_and_another_value_reads_all_again(
    store: Store,
) -> None:
    bench = Bench(store, await declared(store))
    made = []
    for more in ({}, {}, {"unused": 5}, {"project": "gemini"}):
        await configure(store, bench.agent, **({"project": "apollo"} | more))
        made.append((await bench.control.submit(bench.agent)).settings)
    assert [one["prompt"] for one in made] == ["notes: apollo, 2"] * 3 + ["notes: gemini, 2"]
    first, same, unused, other = (one["config_fingerprint"] for one in made)
    assert first == same == unused != other


async def test_a_run_whose_prompt_cannot_be_rendered_is_not_queued(store: Store) -> None:
    bench = Bench(store, await declared(store, msgspec.structs.replace(NOTES, config=())))
    with pytest.raises(BadPrompt, match="'project'"):
        await bench.control.submit(bench.agent)
    assert await store.read(runs.list_runs) == []


async def test_a_scheduled_run_is_made_with_them_too(store: Store) -> None:
    await declared(store)
    desk = Desk(store)
    async with desk.serving():
        await desk.pass_time(HOUR_S)
    assert {run.settings["prompt"] for run in await desk.runs()} == {"notes: apollo, 2"}


async def test_a_schedule_whose_prompt_cannot_be_rendered_pauses_with_the_reason(store: Store) -> None:
    await declared(store, msgspec.structs.replace(NOTES, config=()))
    desk = Desk(store)
    async with desk.serving():
        await desk.pass_time(HOUR_S)
    (schedule,) = await desk.schedules()
    assert (schedule.enabled, schedule.paused_reason, await desk.runs()) == (False, "broken", [])
