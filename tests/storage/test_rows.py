"""Rows become structs by their fields, and a row that cannot is named."""

import math

import msgspec
import pytest
import sqlalchemy as sa

from protocol.items import folded
from protocol.lifecycles import RunState
from storage.agents import agents
from storage.agents.declared_agents import DeclaredAgent
from storage.kernel.columns import columns_of, folded_text, now_ms, struct_from, values_of
from storage.kernel.database import UnreadableRow
from storage.schema import boards, idempotency_keys, runs, users
from tests.storage.rows import AT, LAPTOP, ME, declare, make_agent, make_run


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """Some columns of a board, and its user's name."""

    id: str
    name: str
    owner: str
    tags: tuple[str, ...] = ()


def test_columns_of_maps_fields_to_equally_named_or_given_columns() -> None:
    columns = columns_of(Board, boards, owner=users.c.name, tags=None)
    assert [column.key for column in columns] == ["id", "name", "owner"]
    with pytest.raises(KeyError, match=r"Board\.owner: no column"):
        columns_of(Board, boards)


def test_row_and_struct_convert_into_each_other(c: sa.Connection) -> None:
    make_agent(c)  # with its user
    new = Board(id="b", name="B", owner="not a column")
    c.execute(sa.insert(boards), values_of(new, boards, user_id=ME, created_at=AT, updated_at=AT))
    query = sa.select(*columns_of(Board, boards, owner=users.c.name, tags=None)).join_from(boards, users)
    filled = struct_from(Board, c.execute(query).one(), tags=["a"])
    assert filled == msgspec.structs.replace(new, owner="me", tags=("a",))


def _damage(c: sa.Connection, statement: str) -> None:
    """Execute a statement as a program that switches the constraints of a file off."""
    c.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
    c.exec_driver_sql(statement)
    c.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("planted", "column"), [("needs = 'no JSON'", "needs"), ("data_types = '{}'", "data_types")]
)
def test_broken_agent_row_is_named_and_does_not_hide_the_others(
    c: sa.Connection, planted: str, column: str
) -> None:
    broken, sound = make_agent(c, "broken"), make_agent(c, "sound")
    _damage(c, f"UPDATE agents SET {planted} WHERE id = '{broken.id}'")
    with pytest.raises(UnreadableRow, match=rf"AgentRow {broken.id}: .*\$\.{column}"):
        agents.get_agent(c, broken.id)
    assert [row.id for row in agents.list_agents(c)] == [sound.id]
    assert [row.id for row in agents.list_agents(c, limit=1)] == [sound.id]


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_broken_agent_row_is_left_unchanged_when_hub_toml_is_applied(c: sa.Connection) -> None:
    broken, sound = make_agent(c, "broken"), make_agent(c, "sound")
    _damage(c, f"UPDATE agents SET needs = 'no JSON' WHERE id = '{broken.id}'")
    anew = [DeclaredAgent(name=name, device_name=LAPTOP, paths=("new",)) for name in ("broken", "sound")]
    assert (declare(c, *anew).updated, agents.get_agent(c, sound.id).paths) == (("sound",), ("new",))


@pytest.mark.parametrize("value", [None, {"a": [1, 2.5, "x", None]}, [], "text", 2**60, [math.nan, math.inf]])
def test_document_is_read_back_unchanged_except_for_non_numbers_as_null(
    c: sa.Connection, value: object
) -> None:
    row = {"scope": "s", "key": "k", "request_hash": "h", "response": value, "created_at": AT}
    c.execute(sa.insert(idempotency_keys), row)
    found = c.execute(sa.select(idempotency_keys.c.response)).scalar_one()
    assert found == ([None, None] if value == [math.nan, math.inf] else value)


def test_state_column_returns_an_enum_member_and_refuses_an_unknown_word(c: sa.Connection) -> None:
    run = make_run(c)
    assert c.execute(sa.select(runs.c.state)).scalar_one() is RunState.QUEUED
    with pytest.raises(sa.exc.StatementError):
        c.execute(sa.update(runs).where(runs.c.id == run.id).values(state="DONE"))
    with pytest.raises(sa.exc.IntegrityError, match="ck_runs_state"):
        c.exec_driver_sql("UPDATE runs SET state = 'DONE', fence = 1")


@pytest.mark.parametrize(
    "impossible",
    [
        "UPDATE runs SET state = 'RUNNING'",  # without a lease
        "UPDATE runs SET state = 'FAILED', fence = 1, outcome = 'error'",  # without an end
        "UPDATE runs SET state = 'COMPLETED', fence = 1, completed_at = 1",  # without an outcome
        "UPDATE runs SET outcome = 'success'",  # before the end
        "UPDATE runs SET state = 'PAUSED'",  # without a reason
        "UPDATE runs SET attempt = 6",
        "UPDATE runs SET progress = 101",
    ],
)
def test_database_constraint_refuses_an_impossible_run_row(c: sa.Connection, impossible: str) -> None:
    make_run(c)
    with pytest.raises(sa.exc.IntegrityError, match=r"CHECK constraint failed|violates check constraint"):
        c.exec_driver_sql(impossible)


@pytest.mark.parametrize(
    "text",
    [
        *("", "Plan", "Größe", "STRASSE \u1e9e \ufb01", "Zoë Müller", "CAFÉ", "Ångström", "Łódź", "ДЕНЬ Ёж"),
        "\u039f\u0394\u039f\u03a3 \u1f41\u03b4\u03cc\u03c2 \u1fbc",
        *("\u05e9\u05c1\u05b8\u05dc", "क़िला", "が プラン"),
    ],
)
def test_database_folds_letters_as_the_lists_do(c: sa.Connection, text: str) -> None:
    assert c.execute(sa.select(folded_text(sa.literal(text)))).scalar_one() == folded(text)


def test_database_clock_advances_within_a_transaction(c: sa.Connection) -> None:
    told = (c.execute(sa.select(now_ms())).scalar_one() for _ in range(100_000))
    begun = next(told)
    assert any(later > begun for later in told)
