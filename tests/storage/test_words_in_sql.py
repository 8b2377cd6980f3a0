"""The database reads the words of the vocabularies as the rules say, and finds the moves that changed one."""

from contextlib import suppress
from itertools import pairwise, product
from random import Random

import pytest
import sqlalchemy as sa

from protocol.agent_status import (
    VALUES,
    Axes,
    Axis,
    OrchestratorStatus,
    StateDetail,
    Vocabulary,
    pair_of,
    status_words,
)
from protocol.errors import HubError
from protocol.ids import AgentId
from storage.agents import agent_states
from storage.agents.agent_moves import Counts, count_runs, move_if_legal
from storage.agents.agent_states import STATE_DETAIL, AgentMove, words_in_sql
from storage.agents.status_writes import StatusWrite, write_status
from storage.kernel.columns import fill
from tests.storage.rows import AT, make_agent

DETAILS = (None, "CREATED", "INITIALIZING", "READY", "ACTIVE")
STEPS = 400
PAGE = 7


def test_every_status_word_is_read_by_the_database_as_by_the_rules(c: sa.Connection) -> None:
    names = [*map(str, Axis), STATE_DETAIL]
    rows = list(product(*(map(str, VALUES[axis]) for axis in Axis), DETAILS, (1, 2)))
    columns = (sa.Column(name, sa.Text) for name in names)
    table = sa.Table("axes", sa.MetaData(), *columns, sa.Column("slots", sa.Integer), prefixes=["TEMPORARY"])
    table.create(c)
    c.execute(sa.insert(table), [dict(zip(table.columns.keys(), row, strict=True)) for row in rows])
    for vocabulary in Vocabulary:
        read = words_in_sql(vocabulary, {name: table.c[name] for name in names}, table.c.slots)
        words = [column.label(f"read_{name}") for name, column in read.items()]
        for row in c.execute(sa.select(table, *words)):
            axes = fill(Axes, row)
            expected = status_words(axes, vocabulary, slots=row.slots)
            assert {name: row._mapping[f"read_{name}"] for name in read} == expected, row


def words_before(move: AgentMove) -> tuple[str, str] | None:
    return None if (axes := move.axes_before) is None else pair_of(axes)


def change(c: sa.Connection, agent: AgentId, chance: Random, waiting: list[int]) -> None:
    """Let a person, a device or a run change the state of the agent."""
    at = AT + chance.randrange(10_000)
    match chance.randrange(4):
        case 0:
            words: dict[str, str | None] = {"status": str(chance.choice(list(OrchestratorStatus)))}
            if chance.random() < 0.7:
                words["state_detail"] = str(
                    chance.choice([one for one in StateDetail if one != "TERMINATED"])
                )
            asked = StatusWrite(vocabulary=Vocabulary.ORCHESTRATOR, words=words)
            with suppress(HubError):
                write_status(c, agent, asked, at=at, actor="test")
        case 1:
            axis = chance.choice([Axis.LIFECYCLE, Axis.CONNECTIVITY, Axis.HEALTH, Axis.AVAILABILITY])
            to = chance.choice([value for value in VALUES[axis] if value not in ("terminated", "exhausted")])
            move_if_legal(c, agent, axis, to, at=at, actor="test")
        case _:
            started = chance.choice([0, 1]) if not waiting else chance.choice([-1, 1])
            waiting.append(1) if started > 0 else waiting and waiting.pop()
            count_runs(c, {agent: Counts(executing=started, running=started)}, at=at, actor="test")


@pytest.mark.parametrize("seed", range(4))
def test_the_moves_that_changed_a_word_are_found_over_all_pages_and_follow_each_other(
    c: sa.Connection, seed: int
) -> None:
    agent, chance, runs = make_agent(c).id, Random(seed), list[int]()
    for _ in range(STEPS):
        change(c, agent, chance, runs)
    if seed == 0:
        write_status(c, agent, StatusWrite(axes={"lifecycle": "terminated"}), at=AT, actor="test")
        move_if_legal(c, agent, Axis.HEALTH, "error", at=AT, actor="test")
    every = agent_states.history_page(c, agent)
    expected = [move for move in every if words_before(move) != pair_of(move.snapshot)]
    assert 50 < len(expected) < len(every)
    found: list[AgentMove] = []
    while page := agent_states.word_changes(c, agent, limit=PAGE, after=(found[-1].seq,) if found else None):
        found += page
    assert found == expected
    for later, earlier in pairwise(found):
        assert words_before(later) == pair_of(earlier.snapshot)
    assert pair_of(agent_states.find_state(c, agent).axes) == pair_of(found[0].snapshot)
