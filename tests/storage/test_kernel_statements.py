"""Statements as the connection of a database executes them, on both kinds."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from storage.kernel.statements import PART, padded
from storage.schema import users
from tests.support.families import each

ADD = sa.insert(users)
NAMED = sa.select(users.c.id, users.c.name).where(users.c.id.in_(sa.bindparam("ids", expanding=True)))


def add(c: sa.Connection, *ids: str) -> None:
    c.execute(ADD, [{"id": id, "name": id.upper(), "created_at": 0} for id in ids])


@contextmanager
def executed(c: sa.Connection) -> Iterator[list[str]]:
    texts: list[str] = []

    def note(*call: object) -> None:
        texts.append(str(call[2]))

    sa.event.listen(c, "before_cursor_execute", note)
    yield texts
    sa.event.remove(c, "before_cursor_execute", note)


def test_row_is_a_tuple_whose_values_are_attributes(c: sa.Connection) -> None:
    add(c, "a")
    row = c.execute(NAMED, {"ids": ["a"]}).one()
    assert (row, row.name, dict(row._mapping)) == (("a", "A"), "A", {"id": "a", "name": "A"})


def test_lists_of_similar_lengths_share_a_text_and_find_each_row_once(c: sa.Connection) -> None:
    add(c, *"abcdefgh")
    with executed(c) as texts:
        found = [sorted(c.execute(NAMED, {"ids": list(ids)}).scalars()) for ids in ("abcde", "abcdefgh")]
    assert found == [list("abcde"), list("abcdefgh")]
    assert len(set(texts)) == 1
    assert c.execute(NAMED, {"ids": []}).all() == []


@each(("count", "length"), [(0, 0), (1, 1), (3, 4), (PART, PART), (PART + 1, 2 * PART)])
def test_list_is_padded_with_its_last_value(count: int, length: int) -> None:
    values = padded(range(count))
    assert (len(values), set(values)) == (length, set(range(count)))


def test_statements_of_one_form_have_values_of_their_own(c: sa.Connection) -> None:
    add(c, "a", "b")
    found = [c.execute(sa.select(users.c.name).where(users.c.id == id)).scalar_one() for id in "ab"]
    assert found == ["A", "B"]


def test_statement_made_from_an_executed_one_is_compiled_itself(c: sa.Connection) -> None:
    add(c, "a", "b")
    both = {"ids": ["a", "b"]}
    assert len(c.execute(NAMED, both).all()) == 2
    assert c.execute(NAMED.where(users.c.name == "B"), both).scalars().all() == ["b"]


def test_sum_of_integers_is_an_integer(c: sa.Connection) -> None:
    total = sa.select(sa.func.sum(users.c.created_at), sa.func.coalesce(sa.func.sum(users.c.created_at), 0))
    assert c.execute(total).one() == (None, 0)
    add(c, "a", "b")
    assert [type(value) for value in c.execute(total).one()] == [int, int]


def test_list_of_tuples_finds_their_rows(c: sa.Connection) -> None:
    add(c, "a", "b")
    pairs = sa.tuple_(users.c.id, users.c.name).in_([("a", "A"), ("b", "A")])
    assert c.execute(sa.select(users.c.id).where(pairs)).scalars().all() == ["a"]


def test_statement_without_a_required_value_is_refused(c: sa.Connection) -> None:
    with pytest.raises(sa.exc.StatementError, match="ids"):
        c.execute(NAMED)


def test_result_of_no_or_several_rows_is_refused_where_a_single_row_is_required(c: sa.Connection) -> None:
    add(c, "a", "b")
    with pytest.raises(sa.exc.NoResultFound):
        c.execute(NAMED, {"ids": []}).one()
    with pytest.raises(sa.exc.MultipleResultsFound):
        c.execute(NAMED, {"ids": ["a", "b"]}).one()
