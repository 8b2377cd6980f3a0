"""Pages of the agenda, as any device may answer them."""

from collections.abc import Sequence

from protocol.agenda import AgendaPage, AgendaQuery, AgendaRow, page_behind
from tests.support.families import each


def page(rows: Sequence[tuple[int, str]], *, more: bool) -> AgendaPage:
    """A page of tasks by their places and ids."""
    return AgendaPage(
        rows=[AgendaRow(table="tasks", row_id=row, place=place, data={}, seen_row="") for place, row in rows],
        more=more,
    )


@each(
    ("answered", "kept"),
    [
        (page([(2, "b"), (3, "c")], more=True), page([(2, "b"), (3, "c")], more=True)),
        (page([(2, "b")], more=True), page([(2, "b")], more=True)),
        (page([(2, "b")], more=False), page([(2, "b")], more=False)),
        (page([(3, "c"), (2, "b"), (2, "b")], more=False), page([(2, "b"), (3, "c")], more=False)),
        (page([(3, "b"), (2, "b")], more=False), page([(2, "b")], more=False)),
        (page([(1, "a"), (0, "z")], more=True), page([], more=False)),
        (page([(4, "d"), (3, "c"), (2, "b")], more=False), page([(2, "b"), (3, "c")], more=True)),
    ],
)
def test_page_of_a_device_has_each_row_behind_the_asked_place_once_in_order(
    answered: AgendaPage, kept: AgendaPage
) -> None:
    assert page_behind(answered, AgendaQuery(begin=0, place=1, row_id="a"), 2) == kept
