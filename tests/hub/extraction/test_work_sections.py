"""Rows below headings of work, and forms of files by their content."""

import pytest

from hub.extraction.work_sections import heading_state, name_state
from protocol.tables import TableName
from tests.hub.extraction.test_structured import suggested
from tests.support.families import each


def titles(name: str, text: str) -> list[object]:
    """Return the titles of the tasks that rules find, whatever the judge decides about them."""
    return [item.data["title"] for item in suggested(name, text) if item.table == TableName.TASKS]


@each(
    ("heading", "state"),
    [
        ("Done!", "over"),
        ("✅ Done (3)", "over"),
        ("Erledigt (2024)", "over"),
        ("**Complete**", "over"),
        ("Готово:", "over"),
        ("已完成", "over"),
        ("Klaar", "over"),
        ("Zrobione [4]", "over"),
        ("🚧 In progress", "begun"),
        ("Offene Punkte", "work"),
        ("TODO: garage", "work"),
        ("To do for Ann", "work"),
        ("Ideas", "other"),
        *((heading, "other") for heading in ("Buy", "Kaufen", "À acheter", "Comprar", "Купить", "要买")),
        ("We talked about the to-do", ""),
        ("Done deals of last year and what they cost", ""),
    ],
)
def test_a_heading_says_its_state_without_signs_numbers_and_brackets(heading: str, state: str) -> None:
    assert heading_state(heading) == state


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("a_faire.txt", "work"),
        ("pendientes.txt", "work"),
        ("work/offene-punkte.md", "work"),
        ("待办.md", "work"),
        ("notes/holiday.md", ""),
        ("done.md", "over"),
    ],
)
def test_the_name_of_a_file_says_the_state_of_its_rows(name: str, state: str) -> None:
    assert name_state(name) == state


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        pytest.param(
            "TODO.md", "# Site\n\n- Pagination\n- *Dark* `theme`\n", ["Pagination", "Dark theme"], id="name"
        ),
        pytest.param(
            "plan.md",
            "# House\n\n## Next steps\n\n- New gutter\n\n## Notes\n\n- red tiles\n",
            ["New gutter"],
            id="heading",
        ),
        pytest.param(
            "a_faire.txt", "nouvelle clôture\ngraines\n", ["nouvelle clôture", "graines"], id="loose"
        ),
        pytest.param(
            "todo.md", "- [DONE] oil the gate\n- new hinge\n", ["new hinge"], id="done word in front"
        ),
        pytest.param(
            "todo.md", "- new hinge\n\n## ✔ Done (2)\n\n- old gate\n", ["new hinge"], id="done heading"
        ),
        pytest.param(
            "todo.txt",
            "# Hut\n- stain the deck\n- [ ] oil the gate\n",
            ["stain the deck", "oil the gate"],
            id="Markdown in todo.txt",
        ),
        pytest.param(
            "todo.txt",
            "(A) oil the gate +hut\nnew hinge @shop\n",
            ["oil the gate", "new hinge"],
            id="todo.txt",
        ),
        pytest.param(
            "a.md",
            "Celery, milk.\n- **TODO** oil the gate\nTODO new poster for the wall\nTodo order chairs\n",
            ["new poster for the wall", "oil the gate", "order chairs"],
            id="label without a colon",
        ),
        pytest.param(
            "a.md",
            "Aufgabe Stühle bestellen\nPendiente pedir las sillas\nÀ faire commander du bois\n待办 订椅子\n",
            ["Stühle bestellen", "pedir las sillas", "commander du bois", "订椅子"],
            id="label of a language without a colon",
        ),
        pytest.param(
            "a.md",
            "Todo el mundo estaba contento.\nAufgabe der Jury ist die Auswahl\nTODO this week\n- new hinge\n",
            ["new hinge"],
            id="words that are no label",
        ),
    ],
)
def test_each_row_of_a_list_of_work_is_found(name: str, text: str, expected: list[str]) -> None:
    assert sorted(map(str, titles(name, text))) == sorted(expected)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("release", "#!/bin/sh\ncheck the disk\nsend the file\n", id="script without ending"),
        pytest.param("gtd.org_archive", "* DONE Feast\n** please bring the cake\n", id="archive of Org"),
        pytest.param(
            "CLAUDE.md",
            "# Rules\n\n- Ensure each test is run.\n- Ask before you delete.\n",
            id="rules by name",
        ),
        pytest.param(
            "prompt.md",
            "You are a helpful assistant.\n\n- Ask before you delete files.\n",
            id="rules by words",
        ),
    ],
)
def test_a_text_for_programs_has_no_tasks(name: str, text: str) -> None:
    assert titles(name, text) == []


def test_the_lines_below_an_org_task_describe_it_and_are_no_tasks() -> None:
    text = (
        "* TODO Read about tiles\n- https://example.org/tiles\n- call of the roofer\n- [ ] Measure\n* Notes\n"
    )
    assert titles("garden.org", text) == ["Read about tiles", "Measure"]


def test_an_org_title_has_neither_tags_with_signs_nor_stamps() -> None:
    text = (
        "* TODO Stain the deck :@hut:⏰30min:\n* TODO <2026-12-28 Mon> Oil it\n* TODO Rake [2026-11-02 Mon]\n"
    )
    assert titles("garden.org", text) == ["Stain the deck", "Oil it", "Rake"]
