"""Boards where another hub changes the same one meanwhile. PostgreSQL alone."""

from functools import partial

import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import BoardId
from storage.coordination import boards
from storage.coordination.boards import BoardLimits, MemoryLimits, TooManyOfBoards, get_board
from storage.devices.tokens import TooManyAgentTokens, list_agent_tokens
from storage.kernel.database import Database
from tests.storage import test_agent_tokens, test_board_memory
from tests.storage.jobs import while_the_other_waits
from tests.storage.rows import make_agent
from tests.storage.test_boards import INBOX, NOTES, add, make
from tests.storage.test_two_hubs import refusal
from tests.support.postgres import Postgres

GARDEN = BoardId("board-garden")
ONE = BoardLimits(members_per_board=1)


def _a_board(c: sa.Connection, *names: str) -> None:
    """The agents inbox and notes, and boards of these names with nobody on them."""
    for name in ("inbox", "notes"):
        make_agent(c, name)
    for name in names:
        make(c, name)


def _two_on_a_board(c: sa.Connection) -> None:
    _a_board(c, "garden")
    for agent_id in (INBOX, NOTES):
        add(c, get_board(c, GARDEN), agent_id)


async def test_of_two_who_are_made_lead_at_once_one_leads(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(_two_on_a_board)
    first = partial(boards.set_lead, board_id=GARDEN, agent_id=INBOX, at=1, actor="anna")
    second = partial(boards.set_lead, board_id=GARDEN, agent_id=NOTES, at=2, actor="ben")
    assert (await while_the_other_waits(postgres, url, hubs, first, second)).lead_name == "notes"
    told = await hubs[0].read(boards.list_members, GARDEN)
    assert [(row.name, row.is_lead) for row in told] == [("notes", True), ("inbox", False)]


async def test_an_agent_that_two_boards_want_at_once_comes_on_one(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(_a_board, "garden", "kitchen")
    assert await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: boards.add_member(c, GARDEN, INBOX, at=1, actor="anna"),
        refusal_of_a_second_board,
    )


def refusal_of_a_second_board(c: sa.Connection) -> bool:
    """Not in a savepoint, as ``refusal``: what comes second is looked at again by the database itself."""
    try:
        boards.add_member(c, BoardId("board-kitchen"), INBOX, at=2, actor="ben")
    except CodedError as error:
        return error.code is ErrorCode.ILLEGAL_TRANSITION
    return False


async def test_the_last_place_on_a_board_is_given_once(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(_a_board, "garden")
    come = partial(boards.add_member, board_id=GARDEN, limits=ONE, at=1, actor="anna")
    assert await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: come(c, agent_id=INBOX),
        refusal(TooManyOfBoards, lambda c: come(c, agent_id=NOTES)),
    )


async def test_two_boards_of_a_user_do_not_get_one_name(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(_a_board)
    assert await while_the_other_waits(postgres, url, hubs, make, refusal(ErrorCode.NAME_TAKEN, make))


async def test_the_last_item_that_a_board_may_remember_is_written_once(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(_a_board, "garden")
    full = MemoryLimits(memory_items_per_board=1)
    assert await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: boards.add_memory(c, test_board_memory.new("m-1"), full),
        refusal(TooManyOfBoards, lambda c: boards.add_memory(c, test_board_memory.new("m-2"), full)),
    )


async def test_the_last_token_that_an_agent_may_have_is_made_once(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(_a_board)
    assert await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: test_agent_tokens.make(c, most=1),
        refusal(
            TooManyAgentTokens,
            lambda c: test_agent_tokens.make(c, "t-2", token_hash=b"\x02" * 32, most=1),
        ),
    )
    assert len(await hubs[0].read(list_agent_tokens, INBOX)) == 1
