"""Agents, templates and claims where another hub writes the same ones meanwhile. PostgreSQL alone."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId
from storage.agents import agent_moves, config_changes, configs
from storage.agents.agent_snapshot import check_setup
from storage.agents.config_changes import NewConfig
from storage.kernel.database import Database
from tests.storage.jobs import uncommitted, while_the_other_waits
from tests.storage.rows import AT, claim, make_agent, some
from tests.storage.test_made_agents import MAIL, edit, make
from tests.storage.test_run_locks import make_locking_run
from tests.storage.test_templates import NOTES, RESEARCHER, needs_a_project, put, take_up, wants
from tests.support.postgres import Postgres

MADE = AgentId("a-1")
DECLARED = AgentId("agent-notes")


def refusal(
    of: type[HubError] | ErrorCode, fn: Callable[[sa.Connection], object]
) -> Callable[[sa.Connection], bool]:
    """Return a function that is True if *fn* raises *of*, or an error with that code."""

    def is_refused(c: sa.Connection) -> bool:
        try:
            with c.begin_nested():
                fn(c)
        except HubError as error:
            if of is error.code or (not isinstance(of, ErrorCode) and isinstance(error, of)):
                return True
            raise
        return False

    return is_refused


def set_config(c: sa.Connection, agent_id: AgentId, key: str, value: int) -> None:
    config_changes.change(c, agent_id, [NewConfig(key=key, value=value)], at=AT, actor="ben", check=_judged)


def _judged(c: sa.Connection, agent_id: AgentId, new: Mapping[str, Any]) -> None:
    check_setup(c, agent_id, new, check=needs_a_project)


async def test_of_two_who_have_read_the_same_template_one_writes_it(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    read = (await hubs[0].write(lambda c: put(c))).template
    longer, shorter = (
        msgspec.structs.replace(RESEARCHER, description=told) for told in ("Longer.", "Short.")
    )
    assert await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: put(c, longer, version=read.version),
        refusal(ErrorCode.CHANGED_MEANWHILE, lambda c: put(c, shorter, version=read.version)),
    )


async def test_a_template_that_changes_is_judged_with_the_configs_that_others_write(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(lambda c: take_up(c, NOTES, of=(RESEARCHER,)) and None)

    def change_template(c: sa.Connection) -> None:
        take_up(c, NOTES, of=(msgspec.structs.replace(RESEARCHER, description="x"),), check=wants("depth"))

    assert not await while_the_other_waits(
        postgres,
        url,
        hubs,
        change_template,
        refusal(ErrorCode.BAD_CONFIG, lambda c: set_config(c, DECLARED, "depth", 3)),
    )
    assert (await hubs[0].read(configs.configuration_of, DECLARED))["depth"] == 3


async def test_an_edit_by_who_has_read_an_agent_before_another_edit_is_refused(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    read = await hubs[0].write(make)
    longer, shorter = (msgspec.structs.replace(MAIL, description=told) for told in ("Longer.", "Short."))
    assert await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: edit(c, longer, revision=read.config_rev),
        refusal(ErrorCode.CHANGED_MEANWHILE, lambda c: edit(c, shorter, revision=read.config_rev)),
    )


async def test_an_edit_and_a_new_config_at_once_are_two_revisions(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    read = await hubs[0].write(make)
    assert await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: config_changes.change(c, MADE, [NewConfig(key="depth", value=9)], at=AT, actor="ben"),
        refusal(ErrorCode.CHANGED_MEANWHILE, lambda c: edit(c, MAIL, revision=read.config_rev)),
    )


async def test_going_back_undoes_what_another_writes_meanwhile(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    agent = await hubs[0].write(make_agent)
    await hubs[0].write(config_changes.change, agent.id, [NewConfig(key="a", value=1)], at=AT, actor="ben")
    await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: config_changes.change(c, agent.id, [NewConfig(key="b", value=2)], at=AT, actor="ben"),
        lambda c: config_changes.revert(c, agent.id, to=1, at=AT, actor="anna"),
    )
    assert await hubs[0].read(configs.configuration_of, agent.id) == {"a": 1}


async def test_an_agent_may_move_while_its_configs_are_changed(hubs: list[Database]) -> None:
    agent = await hubs[0].write(make_agent)
    puts = [NewConfig(key="a", value=1)]
    async with uncommitted(hubs[0], lambda c: config_changes.change(c, agent.id, puts, at=AT, actor="ben")):
        await hubs[1].write(
            agent_moves.move, agent.id, "health", "error", at=AT, actor="anna", reason="waits for nobody"
        )


async def test_a_claim_that_takes_locks_waits_for_no_agent_that_is_being_changed(
    hubs: list[Database],
) -> None:
    def two_runs(c: sa.Connection) -> AgentId:
        make_locking_run(c, "run-1", "mailbox")
        return make_agent(c).id

    agent_id = await hubs[0].write(two_runs)
    async with uncommitted(hubs[0], lambda c: agent_moves.locked_state(c, agent_id)):
        assert await hubs[1].write(lambda c: claim(c)) is None
    assert some(await hubs[1].write(lambda c: claim(c))).id == "run-1"
