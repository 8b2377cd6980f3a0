"""Several hubs that change the configs of one agent at the same time, on one PostgreSQL database."""

import anyio

from protocol.errors import CodedError, ErrorCode
from storage.agents import config_changes, configs
from storage.agents.config_changes import NewConfig
from storage.kernel.database import Database
from tests.storage.rows import AT, make_agent

HUBS, EACH = 4, 5


async def test_no_change_is_lost_and_each_has_its_number(hubs: list[Database]) -> None:
    agent = await hubs[0].write(make_agent)

    async def work(number: int, hub: Database) -> None:
        for value in range(EACH):
            puts = [NewConfig(key=f"of-{number}", value=value), NewConfig(key="of-all", value=number)]
            await hub.write(config_changes.change, agent.id, puts, at=AT, actor=f"operator:{number}")

    async with anyio.create_task_group() as tasks:
        for number, hub in enumerate(hubs):
            tasks.start_soon(work, number, hub)

    now = await hubs[0].read(configs.configuration_of, agent.id)
    assert {key: value for key, value in now.items() if key != "of-all"} == {
        f"of-{number}": EACH - 1 for number in range(HUBS)
    }
    moves = await hubs[0].read(configs.config_history, agent.id, limit=1_000)
    assert [move.seq for move in moves] == list(range(len(moves), 0, -1))
    was = None
    for move in reversed([move for move in moves if move.key == "of-all"]):
        assert move.old_text == was, "each change saw the one before it"
        was = move.new_text


async def test_of_those_who_read_the_same_revision_one_changes_it(hubs: list[Database]) -> None:
    agent = await hubs[0].write(make_agent)
    done: list[int] = []

    async def work(number: int, hub: Database) -> None:
        try:
            await hub.write(
                config_changes.change,
                agent.id,
                [NewConfig(key="who", value=number)],
                at=AT,
                actor="operator:7",
                expected_rev=agent.config_rev,
            )
        except CodedError as error:
            assert error.code is ErrorCode.CHANGED_MEANWHILE
            return
        done.append(number)

    async with anyio.create_task_group() as tasks:
        for number, hub in enumerate(hubs):
            tasks.start_soon(work, number, hub)
    assert (await hubs[0].read(configs.configuration_of, agent.id), len(done)) == ({"who": done[0]}, 1)
