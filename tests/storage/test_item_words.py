"""The words of items, and questions about them, on both databases."""

from random import Random
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from protocol.errors import CodedError
from protocol.ids import CallId, DeviceId, UserId
from storage.kernel.columns import IN_LIST
from storage.runs import calls, item_lists, item_verdicts, item_words, items
from storage.runs.calls import ReportedVerdict
from storage.runs.item_lists import ItemFilter, Sought
from storage.runs.item_verdicts import NewVerdict, VerdictAnswer
from storage.runs.item_words import terms_in, words_in, words_of
from storage.runs.items import Decision, ItemRow
from storage.schema import agents, devices, users
from storage.schema import item_words as rows_of_words
from storage.schema import items as item_rows
from tests.storage.rows import AT, ME, make_agent

DESK = DeviceId("device-laptop")
DAY = items.DAY_MS
EPOCH = 7
STEPS = 150
WORDS = ["offer", "Straße", "Ärger", "naïve", "счёт", "Ёлка", "会议", "明天", "L'été", "24e06", "Q3", "x@y.z"]


def row(id: str, title: str, **fields: Any) -> ItemRow:
    source = {"path": "a.txt", "quote": fields.pop("quote", f"quote of {id}"), "start": 0, "end": 9}
    source |= {"provenance": {"origin": "mail", "author": fields.pop("author", "Rossi"), "trusted": False}}
    data = {"title": title} | fields.pop("data", {})
    values: dict[str, Any] = dict.fromkeys(
        ("likeness", "quote_hash", "place_hash", "config_fingerprint", "run_id"), ""
    )
    values |= {"user_id": ME, "agent_id": "agent-inbox", "device_id": DESK, "unit_key": "notes/a.txt"}
    values |= {"target_table": "tasks", "call_id": f"call {id}", "row_id": f"row {id}", "answered_at": AT}
    return ItemRow(
        **{"id": id, "data": data, "source": source, "created_at": AT, "updated_at": AT} | values | fields
    )


def add(c: sa.Connection, *made: ItemRow) -> None:
    items.write_items(c, [Decision(after=one) for one in made])


def change(c: sa.Connection, before: ItemRow, **how: Any) -> None:
    items.write_items(c, [Decision(before=before, after=msgspec.structs.replace(before, **how))])


def find(
    c: sa.Connection, question: str = "", *, limit: int = 100, after: Any = None, **how: Any
) -> list[str]:
    chosen = {name: how.pop(name) for name in [*how] if name in ItemFilter.__struct_fields__}
    terms = terms_in(question) if question else []
    for name in ("person", "project"):
        terms += terms_in(how.pop(name), name, name=name) if name in how else []
    sought = Sought(terms=terms, **how)
    page = item_lists.find_items(c, ItemFilter(**chosen), sought=sought, limit=limit, after=after)
    return [one.row.id for one in page.items]


@pytest.fixture
def made(c: sa.Connection) -> None:
    make_agent(c)
    add(
        c,
        row("1", "Send the offer to Anna", data={"assignee": ["Weiß"], "projectId": {"title": "Blue Heron"}}),
        row(
            "2", "Call", quote="please call about the OFFER by Friday", author="Anna Müller", date_ms=3 * DAY
        ),
        row("3", "Straße sperren", unit_key="notes/Übung/plan_b.md", data={"dueDate": 5 * DAY}),
        row("4", "Отправить счёт", quote="明天下午的会议很重要", target_table="notes"),
        row("5", "Rejected offer", verdict="rejected", verdict_at=AT),
        row("6", "L'été à Genève", verdict="approved", verdict_at=AT, data={"priority": "medium"}),
    )


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("offer", ["1", "2"]),
        ("OFF", ["1", "2"]),
        ("an", []),  # two letters are a whole word
        ("anna offer", ["1", "2"]),
        ('"offer by friday"', ["2"]),
        ('"friday offer"', []),
        ("\u201eby friday\u201c call", ["2"]),
        ('"by fri"', []),  # of a phrase, whole words
        ("strasse", ["3"]),
        ("STRASSE ubung", ["3"]),
        ("plan_b.md", ["3"]),
        ("счет", ["4"]),
        ("会议", ["4"]),
        ("议会", []),
        ("geneve ete", ["6"]),
        ("medium", []),
        ("muller", ["2"]),
        ('"heron weiss"', []),  # not across fields
        ("nothing", []),
    ],
)
@pytest.mark.usefixtures("made")
def test_search_finds_items_with_all_words_of_the_query(
    c: sa.Connection, question: str, found: list[str]
) -> None:
    assert find(c, question) == found


@pytest.mark.usefixtures("made")
def test_search_filters_items_by_person_project_due_day_and_verdict(c: sa.Connection) -> None:
    assert find(c, person="anna") == ["2"]
    assert find(c, person="weiss", project="heron") == ["1"]
    assert find(c, due_since=4 * DAY, due_until=6 * DAY) == ["3"]
    assert find(c, "call", due_until=4 * DAY) == ["2"]
    assert find(c, "call", due_since=0, due_until=4 * DAY) == ["2"]
    assert find(c, "call", due_since=4 * DAY, due_until=6 * DAY) == []
    assert (find(c, "offer", verdict="rejected"), find(c, verdict="approved", due_since=0)) == (["5"], [])
    assert (find(c, "offer", user_id=UserId("other")), find(c, "offer", user_id=ME)) == ([], ["1", "2"])
    assert (find(c, "отправить", table="tasks"), find(c, "отправить", path="notes/")) == ([], ["4"])


@pytest.mark.usefixtures("made")
def test_search_pages_list_each_item_once_with_title_matches_first(
    c: sa.Connection,
) -> None:
    add(c, *(row(f"t{n}", "the heron" if n % 2 else "plain", quote="a heron here") for n in range(9)))
    whole = find(c, "heron")
    assert whole[:4] == ["t7", "t5", "t3", "t1"]
    paged: list[str] = []
    after = None
    while True:
        sought = Sought(terms=terms_in("heron"))
        page = item_lists.find_items(c, ItemFilter(), sought=sought, limit=2, after=after).items
        paged += [one.row.id for one in page]
        if not page:
            break
        after = page[-1].key
    assert (paged, sorted(whole)) == (whole, sorted({*whole}))
    with pytest.raises(CodedError, match="cursor"):
        find(c, "heron", after=(AT, "t1"))


@pytest.mark.parametrize("question", ["", "  ", '""', "- * : ( ) ' % \\", "\0", "word " * 51])
def test_search_query_without_words_or_with_too_many_is_refused(question: str) -> None:
    with pytest.raises(CodedError, match=r"query\.q: has (no|more than 50) words"):
        terms_in(question)


@pytest.mark.usefixtures("made")
def test_search_query_text_is_never_read_as_index_syntax(c: sa.Connection) -> None:
    chance = Random(4)
    signs = ["offer", "NEAR", "NOT", "OR", "AND", '"', "*", "-", "title:", "(", ")", "^", "\0", "'", "&", "|"]
    signs += ["!", "<->", ":*", "\\", "%", "ꙮ", "\ud7ff", "\ufeff", "{title}", "; DROP TABLE items", "'';--"]
    for _ in range(200):
        question = "".join(chance.choice(signs) + chance.choice(["", " "]) for _ in range(8))
        if any(words_in(part) for part in question.split('"')):
            find(c, question)
    assert find(c, "NEAR(offer anna)") == find(c, 'title:"offer"*') == []
    assert find(c, "offer*") == find(c, "-offer") == find(c, "o'ffer\0" * 0 + "(offer)") == ["1", "2"]
    assert find(c, "x" * 10_000) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Grüße, Straße", ["grusse", "strasse"]),
        ("L'ÉTÉ naïf", ["l", "ete", "naif"]),
        ("mañana", ["manana"]),
        ("Ёлка Йод", ["елка", "иод"]),
        ("明天 会议", ["明", "天", "会", "议"]),
        ("ﬁnal ½ Ⅷ", ["final", "1", "2", "viii"]),
        ("İstanbul ISTANBUL", ["istanbul", "istanbul"]),
        ("24e06 Q3_plan", ["24", "e", "06", "q", "3", "plan"]),
        ("x" * 99, ["x" * 64]),
    ],
)
def test_words_in_folds_case_and_diacritics(text: str, words: list[str]) -> None:
    assert words_in(text) == words
    assert words_in(" ".join(words)) == words


def index_of(c: sa.Connection) -> dict[str, dict[str, Any]]:
    """The rows of words, which the index of the database has, too."""
    stored = {one.item_id: dict(one._mapping) for one in c.execute(sa.select(rows_of_words))}
    if c.dialect.name == "sqlite":
        c.exec_driver_sql("INSERT INTO item_search (item_search, rank) VALUES ('integrity-check', 1)")
    for one in stored.values():
        del one["number"]
    return stored


def expected(c: sa.Connection) -> dict[str, dict[str, Any]]:
    found = c.execute(item_words.OF_ITEMS).all()
    edited = item_words.edited_values(c, found)
    return {one.id: words_of(one, edited.get(one.id, {})) for one in found}


def ledger(c: sa.Connection) -> list[ItemRow]:
    return [one.row for one in item_lists.list_items(c, ItemFilter(), limit=500).items]


def judge(c: sa.Connection, one: ItemRow, id: str, chance: Random) -> None:
    """A verdict that is given at the hub, and answered by the device."""
    verdict = chance.choice(["approve", "edit", "reject", "undo"])
    data = {"title": chance.choice(WORDS), "dueDate": None} if verdict in ("approve", "edit") else {}
    new = NewVerdict(id=CallId(id), item_id=one.id, verdict=verdict, data=data)  # type: ignore[arg-type]
    item_verdicts.give(c, [new], user_id=None, actor="operator:7", at=AT, check=lambda *_: None)
    states = {"approve": "edited", "edit": "open", "reject": "rejected", "undo": "open"}
    answer = VerdictAnswer(id=CallId(id), state=states[verdict])  # type: ignore[arg-type]
    item_verdicts.settle(c, DESK, [answer], epoch=EPOCH, at=AT + 9)


def texts(chance: Random) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randrange(1, 6)))


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_word_index_matches_the_item_rows_after_random_changes(c: sa.Connection, seed: int) -> None:
    chance = Random(seed)
    make_agent(c)
    c.execute(sa.update(devices).values(session_epoch=EPOCH))
    for step in range(STEPS):
        known = ledger(c)
        one = chance.choice(known) if known else None
        match chance.randrange(7) if one else 0:
            case 0 | 1:
                add(c, row(f"i-{step}", texts(chance), quote=texts(chance)))
            case 2:
                assert one is not None
                change(
                    c,
                    one,
                    data={"title": texts(chance)},
                    call_id=CallId(f"c-{step}"),
                    verdict="open",
                    verdict_at=None,
                )
            case 3:
                assert one is not None
                said: Any = chance.choice(["approved", "edited", "rejected"])
                calls.record_verdicts(c, DESK, [ReportedVerdict(one.call_id, said)], AT)
            case 4 | 5:
                assert one is not None
                judge(c, one, f"v-{step:04}", chance)
            case _:
                assert one is not None
                if chance.random() < 0.5:
                    items.note_rows_deleted(c, [one.call_id], AT)
                else:
                    c.execute(sa.delete(item_rows).where(item_rows.c.id == one.id))
        if step % 50 == 49:
            assert index_of(c) == expected(c)
    assert len(ledger(c)) > 5
    c.execute(sa.delete(agents))
    assert (index_of(c), ledger(c)) == ({}, [])


@pytest.mark.usefixtures("made")
def test_removal_of_a_user_removes_the_item_words(c: sa.Connection) -> None:
    c.execute(sa.delete(agents))
    c.execute(sa.delete(users))
    assert index_of(c) == {}


def test_words_of_a_deleted_item_leave_the_file_once_the_index_is_merged(c: sa.Connection) -> None:
    if c.dialect.name != "sqlite":
        pytest.skip("the index of a server is a column of the row")
    make_agent(c)
    add(c, *(row(f"{number:04}", f"Anna {number}") for number in range(300)), row("leaves", "Quetzalcoatl"))
    c.execute(sa.delete(item_rows).where(item_rows.c.id == "leaves"))
    blocks = sa.text("SELECT count(*) FROM item_search_data WHERE instr(block, CAST('quetzalcoatl' AS BLOB))")
    assert c.scalar(blocks)
    begins = True
    while item_words.merge_index(c, begins=begins):
        begins = False
    assert (c.scalar(blocks), len(find(c, "anna", limit=400))) == (0, 300)


@pytest.mark.usefixtures("made")
def test_items_older_than_the_word_index_are_indexed_in_parts(c: sa.Connection) -> None:
    """An upgrade leaves rows without words, numbered below zero from the oldest item on."""
    before, words = find(c, "anna"), expected(c)
    numbers = c.execute(sa.select(rows_of_words.c.number).order_by(rows_of_words.c.number)).scalars().all()
    for at, number in enumerate(numbers, start=1):
        empty = {"number": -at, "title": "", "project": "", "person": "", "body": ""}
        c.execute(sa.update(rows_of_words).where(rows_of_words.c.number == number).values(empty))
    assert find(c, "anna") == []
    assert [item_words.index_earlier(c), item_words.index_earlier(c)] == [len(numbers), 0]
    assert (find(c, "anna"), index_of(c)) == (before, words)


def test_older_items_of_several_parts_are_indexed_once_each(c: sa.Connection) -> None:
    make_agent(c)
    add(c, *(row(f"{number:04}", "Anna") for number in range(IN_LIST + 1)))
    c.execute(sa.update(rows_of_words).values(number=-rows_of_words.c.number))
    assert [item_words.index_earlier(c) for _ in range(3)] == [IN_LIST, 1, 0]


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_word_index_statement_returns_no_number(c: sa.Connection) -> None:
    made = row("1", "a")
    make_agent(c)
    add(c, made)
    texts: list[str] = []
    sa.event.listen(c, "before_cursor_execute", lambda *call: texts.append(call[2]))
    c.execute(item_words.PUT, [words_of(made)])
    assert len(texts) == 1
    assert "RETURNING" not in texts[0]
