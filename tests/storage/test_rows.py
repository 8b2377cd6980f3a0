"""Rows become structs by their fields, and a row that cannot is named."""

import msgspec
import pytest
import sqlalchemy as sa

from storage.agents import agents
from storage.agents.declared_agents import DeclaredAgent
from storage.kernel.columns import columns_of, fill, values_of
from storage.kernel.database import UnreadableRow
from storage.schema import boards, users
from tests.storage.rows import AT, LAPTOP, ME, declare, make_agent


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """Some columns of a board, and its user's name."""

    id: str
    name: str
    owner: str
    tags: tuple[str, ...] = ()


def test_a_field_is_the_column_of_its_name_or_the_one_that_is_given() -> None:
    columns = columns_of(Board, boards, owner=users.c.name, tags=None)
    assert [column.key for column in columns] == ["id", "name", "owner"]
    with pytest.raises(KeyError, match=r"Board\.owner: no column"):
        columns_of(Board, boards)


def test_a_row_fills_a_struct_and_a_struct_fills_a_row(c: sa.Connection) -> None:
    make_agent(c)  # with its user
    new = Board(id="b", name="B", owner="not a column")
    c.execute(sa.insert(boards), values_of(new, boards, user_id=ME, created_at=AT, updated_at=AT))
    query = sa.select(*columns_of(Board, boards, owner=users.c.name, tags=None)).join_from(boards, users)
    filled = fill(Board, c.execute(query).one(), tags=["a"])
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
def test_a_broken_row_of_an_agent_is_named_and_does_not_hide_the_others(
    c: sa.Connection, planted: str, column: str
) -> None:
    broken, sound = make_agent(c, "broken"), make_agent(c, "sound")
    _damage(c, f"UPDATE agents SET {planted} WHERE id = '{broken.id}'")
    with pytest.raises(UnreadableRow, match=rf"AgentRow {broken.id}: .*\$\.{column}"):
        agents.get_agent(c, broken.id)
    assert [row.id for row in agents.list_agents(c)] == [sound.id]
    assert [row.id for row in agents.list_agents(c, limit=1)] == [sound.id]


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_a_broken_row_stays_as_it_is_when_hub_toml_is_applied_to_the_others(c: sa.Connection) -> None:
    broken, sound = make_agent(c, "broken"), make_agent(c, "sound")
    _damage(c, f"UPDATE agents SET needs = 'no JSON' WHERE id = '{broken.id}'")
    anew = [DeclaredAgent(name=name, device_name=LAPTOP, paths=("new",)) for name in ("broken", "sound")]
    assert (declare(c, *anew).updated, agents.get_agent(c, sound.id).paths) == (("sound",), ("new",))
