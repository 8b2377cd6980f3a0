"""Words of others beside words of an owner: what an item of each rank and verdict means for a line."""

from collections.abc import Iterator
from itertools import product
from typing import Any, Final

import msgspec
import pytest

from hub.document import Document
from hub.extraction.authorship import authors_in, rank_of_unit, ranks_in
from hub.extraction.duplicates import deduplicate
from hub.extraction.items import ExtractionOptions, Item
from hub.extraction.ruled import ToRead
from hub.runs.found_items import found_items
from hub.runs.item_ranks import covering_rank, rank_of
from hub.runs.matching import UNWANTED_TIMES, decide
from hub.text.rows.same_things import Thing, author_of, same_things
from protocol.ids import AgentId, DeviceId, RunId, UserId
from protocol.items import SOURCE_MISSING, Provenance, ProvenanceOrigin, Rank
from protocol.lifecycles import CallState
from protocol.tables import TABLES, TableName
from storage.runs.items import TAKEN, Decision, Finder, FoundItem, ItemRow, KnownItem, KnownItems
from storage.runs.plans import ItemCaps, capped
from tests.support.families import each

NOTE, OTHER = "notes/a.md", "notes/b.md"
FINDER = Finder(
    user_id=UserId("u"),
    agent_id=AgentId("a"),
    device_id=DeviceId("desk"),
    run_id=RunId("r-2"),
    unit_key=NOTE,
    config_fingerprint="prompt-1",
    at=1_000,
)
AUTHORS: Final = {
    Rank.OWN: Provenance(origin=ProvenanceOrigin.OWN, trusted=True),
    Rank.TRUSTED: Provenance(origin=ProvenanceOrigin.MAIL, trusted=True),
    Rank.OTHERS: Provenance(origin=ProvenanceOrigin.MAIL, trusted=False),
}
VERDICTS: Final = ("open", "held", "rejected", "approved")
TITLE: Final = "clean the kitchen"
DAY: Final = 22_000 * 86_400_000


def item(title: str = TITLE, **data: Any) -> Item:
    quote = f"- [ ] {title}"
    fields = {"title": title} | data
    return Item(table=TableName.TASKS, data=fields, quote=quote, start=0, end=len(quote), origin="rule")


def found(rank: Rank, *items: Item, path: str = NOTE) -> list[FoundItem]:
    text = "\n".join(one.quote for one in items)
    document = Document(unit_key=path, text=text, content_hash="0" * 64, provenance=AUTHORS[rank])
    return found_items(document, items, "UTC", TABLES)


def decisions(
    known: list[KnownItem], new: list[FoundItem], *, learns: bool = False, document: Document | None = None
) -> list[Decision]:
    here = tuple(one for one in known if one.row.unit_key == NOTE)
    elsewhere = tuple(one for one in known if one.row.unit_key != NOTE)
    ledger = KnownItems(finder=FINDER, here=here, elsewhere=elsewhere)
    return decide(
        ledger, found=new, timezone="UTC", can_update=True, learns=learns, document=document, with_done=True
    )


def known(rank: Rank, verdict: str, path: str, title: str = TITLE, **changed: Any) -> KnownItem:
    """Return an item of the ledger in words of a rank, which its device has unless the hub holds it."""
    (decision,) = decisions([], found(rank, item(title, **changed.pop("data", {})), path=path))
    row = decision.after
    assert row is not None
    is_held, is_rejected = verdict == "held", verdict == "rejected"
    now: dict[str, Any] = {
        "id": f"{row.id} {path}",
        "run_id": RunId("r-1"),
        "unit_key": path,
        "answered_at": None if is_held else 2,
        "row_id": None if is_held else "row-1",
        "verdict": verdict,
        "verdict_at": None if verdict in ("open", "held") else 3,
        "source": None if is_rejected else row.source,
    }
    state = None if is_held else CallState.ACKED
    return KnownItem(row=msgspec.structs.replace(row, **now | changed), call_state=state)


def outcome(decision: Decision, before: ItemRow) -> str:
    """Return what a decision makes of a line, by the item that there was before."""
    if decision.after is not None and decision.before is not None and decision.call is not None:
        return "becomes the line's" if decision.after.unit_key == NOTE else "is delivered"
    if decision.call is not None:
        return "new"
    return "covered" if (decision.elsewhere or decision.before) == before else "lost"


def expected(line: Rank, rank: Rank, verdict: str, path: str) -> str:
    if verdict == "approved" or (rank == line and verdict != "held"):
        return "covered"
    if verdict == "rejected":  # in its own mail, the sender may be known by now
        return "new" if line > rank and (line is Rank.OWN or path == OTHER) else "covered"
    if line > rank:
        return "becomes the line's"
    if verdict == "open":
        return "covered"
    if line < rank:  # no mail releases a held line
        return "new"
    return "becomes the line's" if path == NOTE else "is delivered"


def test_line_of_each_rank_meets_an_item_of_each_rank_and_verdict() -> None:
    wrong = []
    for line, rank, verdict, path in product(Rank, Rank, VERDICTS, (NOTE, OTHER)):
        before = known(rank, verdict, path)
        (decision,) = decisions([before], found(line, item()))
        case = f"{line.name} line, {rank.name} {verdict} item, {path}"
        if (is_ := outcome(decision, before.row)) != (due := expected(line, rank, verdict, path)):
            wrong.append(f"{case}: {is_}, not {due}")
        after = decision.after
        if after is not None and decision.call is not None and after.rank != line:
            wrong.append(f"{case}: of {after.rank}") if is_ != "is delivered" else None
    assert wrong == []


def test_line_takes_words_day_and_source_of_an_open_item_of_others_over() -> None:
    before = known(Rank.OTHERS, "open", OTHER, "Clean the kitchen", data={"dueDate": DAY})
    (decision,) = decisions([before], found(Rank.OWN, item()))
    assert decision.call is not None and decision.after is not None
    payload = decision.call.payload
    assert (decision.call.action, payload["where"]) == ("update", {"id": "row-1"})
    assert payload["data"] == {"title": TITLE, "dueDate": None}
    assert (payload["source"]["path"], payload["source"]["provenance"]["origin"]) == (NOTE, "own")
    again = KnownItem(row=msgspec.structs.replace(decision.after, answered_at=3, before=None))
    assert [one.call for one in decisions([again], found(Rank.OWN, item()))] == [None]


@pytest.mark.parametrize("path", [NOTE, OTHER])
def test_done_line_takes_neither_item_nor_day_of_others_over(path: str) -> None:
    before = known(Rank.OTHERS, "open", path, data={"dueDate": DAY})
    for decision in decisions([before], found(Rank.OWN, item(status="done"))):
        assert decision.call is None or decision.call.payload["data"] == {"status": "done", "dueDate": None}


def test_two_equal_lines_take_one_item_of_others_over_once() -> None:
    before = known(Rank.OTHERS, "open", OTHER)
    first, second = decisions([before], found(Rank.OWN, item(), item()))
    assert (first.before, second.before) == (before.row, None)
    assert second.is_new


def test_mail_delivers_a_waiting_line_with_the_source_of_the_line() -> None:
    before = known(Rank.OWN, "open", OTHER, answered_at=None, row_id=None)
    before = msgspec.structs.replace(before, call_state=CallState.PLANNED)
    (decision,) = decisions([before], found(Rank.OTHERS, item()))
    assert decision.call is not None
    assert decision.call.payload["source"] == before.row.source


@pytest.mark.parametrize("state", [CallState.PLANNED, CallState.SENT])
def test_sent_item_of_others_becomes_the_item_of_the_line_once_the_call_is_settled(
    state: CallState,
) -> None:
    before = known(Rank.OTHERS, "open", OTHER, answered_at=None, row_id=None, data={"dueDate": DAY})
    before = msgspec.structs.replace(before, call_state=state)
    (decision,) = decisions([before], found(Rank.OWN, item()))
    assert decision.call is not None and decision.after is not None
    if state is CallState.PLANNED:
        assert decision.call.payload["data"] == {"title": TITLE}
        return
    assert (decision.call.call_id, decision.is_behind) == (before.row.call_id, True)
    assert decision.call.payload["source"] == before.row.source
    sent = KnownItem(row=msgspec.structs.replace(decision.after, answered_at=3, row_id="row-1"))
    (decision,) = decisions([sent], found(Rank.OWN, item()))
    assert decision.call is not None
    assert decision.call.payload["data"] == {"dueDate": None}


@pytest.mark.parametrize(
    ("of", "line", "is_sent"),
    [
        (Rank.OTHERS, Rank.OWN, True),
        (Rank.OTHERS, Rank.OTHERS, False),
        (Rank.OWN, Rank.OTHERS, False),
        (Rank.OWN, Rank.OWN, False),
    ],
)
def test_title_rejected_often_is_unwanted_in_words_of_no_higher_rank(
    of: Rank, line: Rank, *, is_sent: bool
) -> None:
    rows = [
        known(of, "rejected", f"notes/2026-01-0{day}.md", data={"dueDate": DAY + day * 86_400_000})
        for day in range(1, UNWANTED_TIMES + 1)
    ]
    new = found(line, item(dueDate=DAY + 30 * 86_400_000))
    assert [one.is_new for one in decisions(rows, new, learns=True)] == [is_sent]


def event(rank: Rank, *, effect: Any = "", day: str = "20310301") -> tuple[Document, list[FoundItem]]:
    lines = (
        "BEGIN:VCALENDAR",
        "BEGIN:VEVENT",
        "UID:1",
        "SUMMARY:Fair",
        f"DTSTART:{day}T100000Z",
        "END:VEVENT",
    )
    text = "\n".join([*lines, "END:VCALENDAR", ""])
    document = Document(
        unit_key=NOTE,
        text=text,
        content_hash="0" * 64,
        media_type="text/calendar",
        provenance=AUTHORS[rank],
        event='{"": "1"}',
        dates=("",),
        effect=effect,
    )
    options = ExtractionOptions(data_types=("timelines",), timezone="UTC")
    named = msgspec.structs.replace(document, unit_key="event.ics")
    items = ToRead(document=named, options=options, reads_prose=False).answer().items
    return document, found_items(document, items, "UTC", TABLES)


@pytest.mark.parametrize("verdict", ["open", "approved"])
@pytest.mark.parametrize("effect", ["", "cancel"])
def test_mail_of_an_unverified_sender_neither_moves_nor_calls_off_an_event_of_a_known_one(
    effect: str, verdict: str
) -> None:
    document, new = event(Rank.TRUSTED)
    (first,) = decisions([], new, document=document)
    assert first.after is not None
    now = msgspec.structs.replace(first.after, answered_at=2, row_id="row-1", verdict=verdict)
    for rank in (Rank.OTHERS, Rank.TRUSTED):
        document, new = event(rank, effect=effect, day="20310405")
        other = Item(
            table=TableName.TIMELINES, data={"title": "Other"}, quote="Other", start=0, end=5, origin="rule"
        )
        found_then = found(rank, other) if effect else new
        changed = [
            one.call
            for one in decisions([KnownItem(row=now)], found_then, document=document)
            if one.before is not None and one.call is not None
        ]
        assert len(changed) == (rank is Rank.TRUSTED), (effect, rank)


def test_quoted_line_does_not_call_off_an_event_of_the_note() -> None:
    (first,) = decisions(
        [],
        found(
            Rank.OWN,
            Item(
                table=TableName.TIMELINES,
                data={"title": "Fair", "date": DAY},
                quote="Fair on Monday",
                start=0,
                end=14,
                origin="rule",
            ),
        ),
    )
    assert first.after is not None
    now = KnownItem(
        row=msgspec.structs.replace(first.after, answered_at=2, row_id="row-1", verdict="approved")
    )
    for line, is_changed in (("> Fair on Monday is cancelled", False), ("Fair on Monday is cancelled", True)):
        document = Document(unit_key=NOTE, text=line, content_hash="1" * 64, provenance=AUTHORS[Rank.OWN])
        given = decisions([now], [], document=document)
        assert any(one.call is not None for one in given) is is_changed, line


PAGE: Final = "https://x.example/tea"
MESSAGE: Final = "mid:a@example.org"
FORWARDED: Final = "Subject: [External] FW: Tea\nFrom: Ann <ann@example.org>\n\n"
# Words by the rank of their author, in a text of each kind.
TEXTS: Final = {
    "own note": ("notes/a.md", None, "- [ ] WORDS\n", Rank.OWN),
    "quoted in an own note": ("notes/a.md", None, "Bob:\n> - [ ] WORDS\n", Rank.OTHERS),
    "below a quotation": ("notes/a.md", None, "> Bob\n\n- [ ] WORDS\n", Rank.OWN),
    "callout": ("notes/a.md", None, "> [!todo] Today\n> - [ ] WORDS\n", Rank.OWN),
    "clipped page": ("notes/a.md", None, "---\nsource: https://x.example\n---\n- [ ] WORDS\n", Rank.OTHERS),
    "clip of Notion": ("notes/a.md", None, f"# Tea\n\nURL: {PAGE}\nTags: a\n\n- [ ] WORDS\n", Rank.OTHERS),
    "field of Dataview": ("notes/a.md", None, f"# Tea\n\nsource:: {PAGE}\n\n- [ ] WORDS\n", Rank.OTHERS),
    "notes of a reader": (
        "notes/a.md",
        None,
        f"# T\r\n![]({PAGE})\r\n## Metadata\r\n- Author: Eve\r\n- URL: {PAGE}\r\n\r\n## N\r\n- WORDS\r\n",
        Rank.OTHERS,
    ),
    "clip with a mark": ("notes/a.md", None, f"\ufeff\u200b\n---\nsource: {PAGE}\n---\nWORDS\n", Rank.OTHERS),
    "clip whose page begins with a source": (
        *("notes/a.md", None),
        f"---\nsource: {PAGE}\n---\nSource: the garden\n\n- [ ] WORDS\n",
        Rank.OTHERS,
    ),
    "mail saved as text": (
        *("notes/a.txt", None),
        "From:\tEve\r\nSent:\tMonday, 5 January 2026 8:00\r\nTo:\tAnn\r\nSubject:\tTea\r\n\r\nWORDS\r\n",
        Rank.OTHERS,
    ),
    "mail below a title": (
        "notes/a.md",
        None,
        "# Tee\n\n**Von:** Eve\n**Betreff:** Tee\n\nWORDS\n",
        Rank.OTHERS,
    ),
    "mail in properties": ("notes/a.md", None, "---\nfrom: Eve\nsubject: Tea\n---\nWORDS\n", Rank.OTHERS),
    "own draft of a mail": ("notes/a.md", None, "To: Eve\nSubject: Tea\n\n- [ ] WORDS\n", Rank.OWN),
    "own meeting": (
        "notes/a.md",
        None,
        "Guests: eve@example.org\nDate: 2026-01-05\n\n- [ ] WORDS\n",
        Rank.OWN,
    ),
    "old Macintosh file": ("notes/a.txt", None, "Eve:\r> WORDS\r", Rank.OTHERS),
    "separator in a quotation": ("notes/a.md", None, "> Eve:\r\u2028\x0b- [ ] WORDS\n", Rank.OTHERS),
    "source in full width": ("notes/a.md", None, f"# 茶\n来源\uff1a{PAGE}\nWORDS\n", Rank.OTHERS),
    "source in Polish": ("notes/a.md", None, f"---\nźródło: {PAGE}\n---\nWORDS\n", Rank.OTHERS),
    "own link": ("notes/a.md", None, f"# Tea\nLink: {PAGE}\nurl: {PAGE}\n- [ ] WORDS\n", Rank.OWN),
    "source below own words": ("notes/a.md", None, f"- [ ] Tea\nsource:: {PAGE}\n- [ ] WORDS\n", Rank.OWN),
    "callout of a quotation": ("notes/a.md", None, "> [!cite]\n> - [ ] WORDS\n", Rank.OTHERS),
    "quotation in a callout": ("notes/a.md", None, "> [!todo] A\n> - [ ] B\n> > - [ ] WORDS\n", Rank.OTHERS),
    "below a quotation in a callout": ("notes/a.md", None, "> [!todo] A\n> > B\n> - [ ] WORDS\n", Rank.OWN),
    "callout in a callout": ("notes/a.md", None, "> [!todo] A\n> > [!note] B\n> > - [ ] WORDS\n", Rank.OWN),
    "callout in a quotation": ("notes/a.md", None, "> [!todo] A\n> > B\n> > [!todo] WORDS\n", Rank.OTHERS),
    "own front matter": ("notes/a.md", None, "---\ntags: home\n---\n- [ ] WORDS\n", Rank.OWN),
    "invitation": ("notes/a.ics", None, "BEGIN:VCALENDAR\nMETHOD:REQUEST\nSUMMARY:WORDS\n", Rank.OTHERS),
    "invitation in small letters": (
        "notes/a.ics",
        None,
        "begin:vcalendar\nMETHOD:REQUEST\nSUMMARY:WORDS\n",
        Rank.OTHERS,
    ),
    "invitation in folded lines": (
        "notes/a.ics",
        None,
        "BEGIN:VCALENDAR\r\nMET\r\n HOD:REQUEST\r\nSUMMARY:WORDS\r\n",
        Rank.OTHERS,
    ),
    "invitation behind a card": (
        "notes/a.ics",
        None,
        "BEGIN:VCARD\nEND:VCARD\nBEGIN:VCALENDAR\nMETHOD:COUNTER\nSUMMARY:WORDS\n",
        Rank.OTHERS,
    ),
    "invitation with another method in a parameter": (
        *("notes/a.ics", None),
        'BEGIN:VCALENDAR\nMETHOD;X=":PUBLISH ":REQUEST\nSUMMARY:WORDS\n',
        Rank.OTHERS,
    ),
    "invitation with an open parameter": (
        *("notes/a.ics", None),
        'BEGIN:VCALENDAR\nMETHOD;X=":REQUEST\nSUMMARY:WORDS\n',
        Rank.OTHERS,
    ),
    "published calendar with parameters": (
        *("notes/a.ics", None),
        'BEGIN:VCALENDAR\nMETHOD;X="a:b";Y=c:PUBLISH\nSUMMARY:WORDS\n',
        Rank.OWN,
    ),
    "published calendar": ("notes/a.ics", None, "BEGIN:VCALENDAR\nMETHOD:PUBLISH\nSUMMARY:WORDS\n", Rank.OWN),
    # in other forms of the same
    "callout below the line of a mail program": (
        *("notes/a.md", None),
        "On Mon, 5 Jan 2026, Eve wrote:\n\n> [!todo] A\n> - [ ] WORDS\n",
        Rank.OTHERS,
    ),
    "callout below a name": ("notes/a.md", None, "**Eve:**\n> [!todo] A\n> - [ ] WORDS\n", Rank.OTHERS),
    "own callout below a heading": ("notes/a.md", None, "## Now:\n> [!todo] A\n> - [ ] WORDS\n", Rank.OWN),
    "own callout below words": ("notes/a.md", None, "A day: good.\n\n> [!todo]\n> - [ ] WORDS\n", Rank.OWN),
    "own callout below properties": (
        *("notes/a.md", None),
        "---\naliases:\n---\n> [!todo] A\n> - [ ] WORDS\n",
        Rank.OWN,
    ),
    "own callout below words in brackets": (
        *("notes/a.md", None),
        "A plan: see (page 3) and [B](https://x.example): good.\n> [!todo] A\n> - [ ] WORDS\n",
        Rank.OWN,
    ),
    "own callout below own words behind a quotation": (
        *("notes/a.md", None),
        "Eve:\n> Hi\n\nMine\n\n> [!todo] A\n> - [ ] WORDS\n",
        Rank.OWN,
    ),
    "own callout behind another quotation": (
        *("notes/a.md", None),
        "> [!quote] Eve\n> Hi\n\n> [!todo] A\n> - [ ] WORDS\n",
        Rank.OWN,
    ),
    "callout below an introduction with brackets": (
        *("notes/a.md", None),
        "Eve wrote: (see [1])[^2] ^a1\n> [!todo] A\n> - [ ] WORDS\n",
        Rank.OTHERS,
    ),
    "callout below an introduction in HTML": (
        *("notes/a.md", None),
        "<b>Eve wrote:</b><br>\n> [!todo] A\n> - [ ] WORDS\n",
        Rank.OTHERS,
    ),
    "callout below the head of a quotation": (
        *("notes/a.md", None),
        "> [!quote] Eve\n\n> [!todo] A\n> - [ ] WORDS\n",
        Rank.OTHERS,
    ),
    "callout within an introduced quotation": (
        *("notes/a.md", None),
        "Eve wrote:\n> Hi\n>\n> Ho\n\n> [!todo] A\n> - [ ] WORDS\n",
        Rank.OTHERS,
    ),
    "callout within a quotation in a callout": (
        *("notes/a.md", None),
        "> [!note] A\n> Eve wrote:\n> > Hi\n>\n> > [!todo] B\n> > - [ ] WORDS\n",
        Rank.OTHERS,
    ),
    "callout within a wrapped quotation": (
        *("notes/a.md", None),
        "Eve wrote:\n> a long line\nin two\n> [!todo] A\n> - [ ] WORDS\n",
        Rank.OTHERS,
    ),
    "callout behind a wrapped quotation": (
        *("notes/a.md", None),
        "Eve wrote:\n> a long line\nin two\n\n> [!todo] A\n> - [ ] WORDS\n",
        Rank.OTHERS,
    ),
    "callout within a wrapped quotation without an introduction": (
        *("notes/a.md", None),
        "> a long line\nin two\n> [!todo] A\n> - [ ] WORDS\n",
        Rank.OTHERS,
    ),
    "callout below an introduction behind a callout": (
        *("notes/a.md", None),
        "> [!note] A\n> B\nEve wrote:\n> [!todo] A\n> - [ ] WORDS\n",
        Rank.OTHERS,
    ),
    **{
        f"own callout behind a quotation and {line!r}": (
            *("notes/a.md", None),
            f"Eve wrote:\n> Hi\n{line}\n> [!todo] A\n> - [ ] WORDS\n",
            Rank.OWN,
        )
        for line in ("- Mine", "1. Mine", "# Mine", "| Mine |", "---", "\nMine")
    },
    **{
        f"own callout below {line!r}": (
            *("notes/a.md", None),
            f"{line}\n> [!note] B\n> C\n\n> [!todo] A\n> - [ ] WORDS\n",
            Rank.OWN,
        )
        for line in (
            *("Nice day :)", "Nice day :-)", "hm :/", "|:---|---:|", ":---|---:", "| Total: | |", "| A | B:"),
            *("note: →", "tags: [work]", "- [x] due: (2026)", "due:: (2026)", "tags: #work", "day: [[2026]]"),
            *("see https://", "see: <https://x.example>", "we see: (a) and (b)"),
        )
    },
    **{
        f"callout below {line!r}": (
            *("notes/a.md", None),
            f"{line}\n> [!todo] A\n> - [ ] WORDS\n",
            Rank.OTHERS,
        )
        for line in (
            *("Eve a écrit :", "Eve | X wrote:", "Eve <eve@example.org>:", "Eve:[^1]", "Eve: %% a: b %%"),
            *("Eve: <!-- a --><br/>", "Eve wrote: (see 1)", "Eve wrote: [see (1)]", "Eve wrote: [[2026]]"),
            *("Eve wrote: #chat", "Eve wrote: [a](https://x.example)", "**Eve wrote:** #chat"),
            "小明写道\uff1a",
        )
    },
    "element": ("notes/a.md", None, "<blockquote>\n\n- [ ] WORDS\n\n</blockquote>\n", Rank.OTHERS),
    "element in an element": (
        *("notes/a.md", None),
        "<blockquote>A<blockquote>B</blockquote>\n- [ ] WORDS\n</blockquote>\n",
        Rank.OTHERS,
    ),
    "element without an end": ("notes/a.md", None, "A\n<blockquote cite=b>\n> c\nWORDS\n", Rank.OTHERS),
    "below an element": ("notes/a.md", None, "<blockquote>A</blockquote>\n- [ ] WORDS\n", Rank.OWN),
    "name of an element": ("notes/a.md", None, "Write `<blockquote>` around.\n- [ ] WORDS\n", Rank.OWN),
    "quotation in Org": ("notes/a.org", None, "* A\n#+BEGIN_QUOTE\n- [ ] WORDS\n#+END_QUOTE\n", Rank.OTHERS),
    "quotation in Logseq": (
        *("notes/a.md", None),
        "- A\n\t- #+BEGIN_QUOTE\n\t  - [ ] WORDS\n\t  #+END_QUOTE\n",
        Rank.OTHERS,
    ),
    "mail in full width": ("notes/a.txt", None, "\uff26rom\uff1aEve\nSubject: Tea\n\nWORDS\n", Rank.OTHERS),
    "below a quotation in Org": (
        *("notes/a.org", None),
        "#+begin_quote\nB\n#+end_quote\n* TODO WORDS\n",
        Rank.OWN,
    ),
    "sign behind a mark": ("notes/a.md", None, "Eve:\n\u200e\u3164> - [ ] WORDS\n", Rank.OTHERS),
    "sign after an old line end": ("notes/a.md", None, "Eve:\r> - [ ] WORDS\n\nBye\n", Rank.OTHERS),
    "mail without blanks": ("notes/a.txt", None, "From:Eve\nSubject:Tea\n\nWORDS\n", Rank.OTHERS),
    "mail with a long head": (
        *("notes/a.txt", None),
        "\n".join(["From: Eve", *["X-Spam: no, it is good"] * 4_000, "Subject: Tea", "", "WORDS", ""]),
        Rank.OTHERS,
    ),
    "mail with a folded head": (
        *("notes/a.txt", None),
        "From: Eve\r\nTo: Ann,\r\n Bob,\r\n\tCy\r\nSubject:\r\n Tea\r\n\r\nWORDS\r\n",
        Rank.OTHERS,
    ),
    "mail in old lines": ("notes/a.txt", None, "From: Eve\rSubject: Tea\r\rWORDS\r", Rank.OTHERS),
    "mail with another line end in its subject": (
        *("notes/a.txt", None),
        "Subject: Tea\u2028time\nFrom: Eve <eve@example.org>\n\nWORDS\n",
        Rank.OTHERS,
    ),
    "mail with a long name of a field": (
        *("notes/a.txt", None),
        "X-MS-Exchange-CrossTenant-OriginalArrivalTime: 1\nFrom: Eve\nSubject: Tea\n\nWORDS\n",
        Rank.OTHERS,
    ),
    "mail of a mailbox file": (
        *("notes/a.txt", None),
        "From eve@example.org Mon May 4\nFrom: Eve\nSubject: Tea\n\nWORDS\n",
        Rank.OTHERS,
    ),
    "own lesson from nine": ("notes/a.txt", None, "From: 9:00\nTo: 10:00\nSubject: Tea\n\nWORDS\n", Rank.OWN),
    "clip with another line end in its title": (
        *("notes/a.md", None),
        f'---\ntitle: "Tea\u2028---\u2028"\nsource: {PAGE}\n---\nWORDS\n',
        Rank.OTHERS,
    ),
    "quotation in HTML around another end": (
        *("notes/a.md", None),
        "<blockquote>\n\nHi.\n\n#+end_quote\n\nWORDS\n</blockquote>\n",
        Rank.OTHERS,
    ),
    "own words below a named element": ("notes/a.md", None, "Style <blockquote>.\n\nWORDS\n", Rank.OWN),
    "mail below a length": ("notes/a.txt", None, "1234\nFrom: Eve\nSubject: Tea\n\nWORDS\n", Rank.OTHERS),
    "mail below a rule": (
        *("notes/a.txt", None),
        "-----Original Message-----\nFrom: Eve\nSubject: Tea\n\nWORDS\n",
        Rank.OTHERS,
    ),
    "mail with marks": (
        *("notes/a.txt", None),
        "\u200eFr\u200bom\u00a0: Eve\n\u200eSubject\u202f: Tea\n\nWORDS\n",
        Rank.OTHERS,
    ),
    "mail in separate accents": (
        *("notes/a.txt", None),
        "Fra\u030an: Eve\nA\u0308mne: Te\n\nWORDS\n",
        Rank.OTHERS,
    ),
    "mail in a table": (
        *("notes/a.md", None),
        "| **From** | Eve |\n|---|---|\n| **Subject** | Tea |\n\nWORDS\n",
        Rank.OTHERS,
    ),
    "own table": ("notes/a.md", None, "| From | Subject | Do |\n|--|--|--|\n| A | B | WORDS |\n", Rank.OWN),
    "own list of a mail": ("notes/a.md", None, "- Von: Eve\n- Betreff: Tee\n- [ ] WORDS\n", Rank.OWN),
    "own list of a trip": ("notes/a.md", None, "- From: Rome\n- To: Bonn\n- [ ] WORDS\n", Rank.OWN),
    "own words about a mail": (
        "notes/a.md",
        None,
        "Ask Eve.\nFrom: Eve\nSubject: Tea\n- [ ] WORDS\n",
        Rank.OWN,
    ),
    "own words about a field": ("notes/a.md", None, "Subject: Tea\n\nThe mail From: Eve.\nWORDS\n", Rank.OWN),
    "clip in TOML": ("notes/a.md", None, f'+++\nsource = "{PAGE}"\n+++\nWORDS\n', Rank.OTHERS),
    "clip in JSON": ("notes/a.md", None, f'{{\n  "a": 1,\n  "source": "{PAGE}"\n}}\n\nWORDS\n', Rank.OTHERS),
    "clip in one line": ("notes/a.md", None, f"---\n{{a: [b], source: {PAGE}}}\n---\nWORDS\n", Rank.OTHERS),
    "clip in old lines": ("notes/a.md", None, f"---\rsource: {PAGE}\r---\rWORDS\r", Rank.OTHERS),
    "clip with a mark in a name": (
        "notes/a.md",
        None,
        f"---\n\u200eso\u00adurce: {PAGE}\n---\nWORDS\n",
        Rank.OTHERS,
    ),
    "own TOML": ("notes/a.md", None, '+++\ntags = ["a"]\n+++\nWORDS\n', Rank.OWN),
    "own data in JSON": ("notes/a.json", None, f'{{"source": "{PAGE}", "title": "WORDS"}}\n', Rank.OWN),
    "own rows in JSON": ("notes/a.json", None, f'{{"source": "{PAGE}"}}\n{{"title": "WORDS"}}\n', Rank.OWN),
    "saved mail": ("notes/a.eml", None, "WORDS\n", Rank.OTHERS),
    "saved page": ("notes/a.html", None, "WORDS\n", Rank.OTHERS),
    "message": ("mid:a@example.org", None, "WORDS\n", Rank.OTHERS),
    "message of a team": ("teams:a/b", None, "WORDS\n", Rank.OTHERS),
    "mail": ("mid:a@example.org", Rank.OTHERS, "WORDS\n", Rank.OTHERS),
    "known sender": ("mid:a@example.org", Rank.TRUSTED, "WORDS\n", Rank.TRUSTED),
    "forwarded without a sign": (MESSAGE, Rank.TRUSTED, f"{FORWARDED}Eve asks:\n\nWORDS\n", Rank.OTHERS),
    "answer to a forwarded mail": (
        *(MESSAGE, Rank.TRUSTED),
        "Subject: AW: Re[2]: [List] WG: Tee\nFrom: Ann\n\nEve asks:\n\nWORDS\n",
        Rank.OTHERS,
    ),
    "answer": (MESSAGE, Rank.TRUSTED, "Subject: Re: AW: Plan of Fwd\nFrom: Ann\n\nWORDS\n", Rank.TRUSTED),
    "callout of a known sender": (MESSAGE, Rank.TRUSTED, "Yes.\n> [!todo] A\n> WORDS\n", Rank.OTHERS),
    "sign behind a mark in a mail": (MESSAGE, Rank.TRUSTED, "Yes.\n\u200b> WORDS\n", Rank.OTHERS),
    "above what is forwarded": (MESSAGE, Rank.TRUSTED, f"{FORWARDED}WORDS\n\n> Please come\n", Rank.TRUSTED),
    "quoted by a known sender": ("mid:a@example.org", Rank.TRUSTED, "Yes.\n> WORDS\n", Rank.OTHERS),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_words_have_the_rank_of_their_author_in_a_text_of_each_kind(kind: str) -> None:
    path, author, text, rank = TEXTS[kind]
    provenance = None if author is None else AUTHORS[author]
    document = Document(unit_key=path, text=text, content_hash="0" * 64, provenance=provenance)
    at = text.index("WORDS")
    assert ranks_in(document)(at) is rank
    by = msgspec.structs.replace(document, provenance=provenance or AUTHORS[rank_of_unit(path)])
    (one,) = found_items(by, [msgspec.structs.replace(item(), start=at, end=at + 5)], "UTC", TABLES)
    assert msgspec.convert(one.source["provenance"], Provenance).rank is rank


@pytest.mark.parametrize(
    ("kind", "origin"),
    [
        ("own note", ProvenanceOrigin.OWN),
        ("quoted in an own note", ProvenanceOrigin.MAIL),
        ("mail saved as text", ProvenanceOrigin.MAIL),
        ("clip of Notion", ProvenanceOrigin.WEB),
        ("invitation in folded lines", ProvenanceOrigin.CALENDAR),
    ],
)
def test_words_in_a_file_of_the_owner_name_their_origin(kind: str, origin: ProvenanceOrigin) -> None:
    path, _, text, _ = TEXTS[kind]
    document = Document(unit_key=path, text=text, content_hash="0" * 64, provenance=AUTHORS[Rank.OWN])
    _, found = authors_in(document)(text.index("WORDS"))
    assert found is not None and found.origin is origin


def test_quoted_line_with_a_day_hides_no_own_line_without_one() -> None:
    texts = {
        NOTE: "Bob:\n> - [ ] Clean the old kitchen of Anna",
        OTHER: "- [ ] Clean the old kitchen of Anna",
    }
    things = []
    for path, text in texts.items():
        own = Document(unit_key=path, text=text, content_hash="0" * 64, provenance=AUTHORS[Rank.OWN])
        fields = {"dueDate": DAY} if path == NOTE else {}
        start = text.index("- [ ]")
        one = msgspec.structs.replace(item(text[start + 6 :], **fields), start=start, end=len(text))
        (new,) = found_items(own, [one], "UTC", TABLES)
        by = author_of(msgspec.convert(new.source["provenance"], Provenance))
        things.append(
            Thing(id=path, owner="", table=TABLES[TableName.TASKS], data=new.data, path=path, by=by)
        )
    assert same_things(things) == []
    assert len(same_things(msgspec.structs.replace(thing, by="") for thing in things)) == 1


@pytest.mark.parametrize(
    ("path", "source", "rank"),
    [
        (NOTE, None, Rank.OWN),
        ("notes/TODO", None, Rank.OWN),
        ("notes/mail.eml", None, Rank.OTHERS),
        ("mid:a.md@example.org", None, Rank.OTHERS),
        (NOTE, {"provenance": {"origin": "web", "trusted": False}}, Rank.OTHERS),
        ("mid:a@b", {"provenance": {"origin": "mail", "trusted": True}}, Rank.TRUSTED),
    ],
)
def test_item_of_an_older_release_has_the_rank_of_its_source_or_unit(
    path: str, source: dict[str, Any] | None, rank: Rank
) -> None:
    row = msgspec.structs.replace(
        known(Rank.OWN, "rejected", NOTE).row, unit_key=path, source=source, rank=None
    )
    assert (rank_of(row), covering_rank(row)) == (rank, rank)
    assert covering_rank(msgspec.structs.replace(row, verdict="approved")) == Rank.OWN


def test_line_rejected_in_an_older_release_is_not_suggested_again() -> None:
    for path in (NOTE, OTHER):
        row = msgspec.structs.replace(known(Rank.OWN, "rejected", path).row, rank=None)
        before = KnownItem(row=row)
        assert [one.is_new for one in decisions([before], found(Rank.OWN, item()))] == [False], path


def _of_one_text(text: str) -> Iterator[Item]:
    document = Document(unit_key=NOTE, text=text, content_hash="0" * 64)
    options = ExtractionOptions(data_types=("tasks",), timezone="UTC")
    items = ToRead(document=document, options=options, reads_prose=True).answer().items
    yield from deduplicate(items, rank_at=ranks_in(document))[0]


def test_sentence_of_the_owner_remains_beside_a_quoted_box_with_a_day() -> None:
    quoted = "> - [ ] clean the kitchen by 3 March 2031\n\nPlease clean the kitchen.\n"
    own = [one for one in _of_one_text(quoted) if one.start > quoted.index("\n\n")]
    assert [one.data.get("dueDate") for one in own] == [None]


def _read(text: str) -> tuple[Document, list[FoundItem]]:
    document = Document(unit_key=NOTE, text=text, content_hash=f"{len(text):064}")
    return document, found_items(document, _of_one_text(text), "UTC", TABLES)


LINE, DATED = "- [ ] clean the kitchen\n", " by 3 March 2031\n"
REPLY: Final = "Bob wrote:\n\n> - [ ] clean the kitchen"
# Text now, and the ranks of what is new in it, of a note that had the line alone.
NOTES: Final = {
    "line": (LINE, []),
    "line, quoted above": (f"{REPLY}\n\n{LINE}", []),
    "line, quoted below": (f"{LINE}\n{REPLY}\n", []),
    "line that is quoted": (f"{REPLY}\n", []),
    "line, and again with a day in a quotation": (f"{REPLY}{DATED}\n\n{LINE}", [0]),
    "line that is quoted with a day": (f"{REPLY}{DATED}", [0]),
    "line twice, quoted above": (f"{REPLY}\n\n{LINE}\nHome:\n{LINE}", [2]),
}


def _row_of_line(verdict: Any) -> ItemRow:
    (first,) = decisions([], _read(LINE)[1])
    assert first.after is not None
    row = msgspec.structs.replace(first.after, id="row", answered_at=2, row_id="row-1", verdict=verdict)
    return msgspec.structs.replace(row, source=None if verdict == "rejected" else row.source)


def _given(row: ItemRow, text: str) -> list[Decision]:
    document, items = _read(text)
    return decisions([KnownItem(row=row, call_state=CallState.ACKED)], items, document=document)


@each("form", ["recorded", "of an older release", "reported"])
@each("verdict", ["open", "approved", "rejected"])
@each("case", NOTES)
def test_line_of_a_note_remains_one_item_beside_quotations_of_the_line(
    case: str, verdict: Any, form: str
) -> None:
    text, new = NOTES[case]
    row = _row_of_line(verdict)
    if form != "recorded":
        row = msgspec.structs.replace(row, rank=None)
    if form == "reported":
        row = msgspec.structs.replace(row, config_fingerprint=TAKEN, agent_id=None)
    given = _given(row, text)
    after = [one.after for one in given if one.is_new and one.after is not None]
    assert [one.rank for one in after] == new
    assert [one for one in given if one.call is not None and not one.is_new] == []


@pytest.mark.parametrize("verdict", ["open", "approved"])
@pytest.mark.parametrize(
    ("text", "is_missing"), [(f"{REPLY}\n", True), (f"{REPLY}\n\n{LINE}", False), ("", True)]
)
def test_line_misses_words_that_a_quotation_alone_has(text: str, verdict: Any, *, is_missing: bool) -> None:
    row = _row_of_line(verdict)
    document = Document(unit_key=NOTE, text=text, content_hash="1" * 64, provenance=AUTHORS[Rank.OWN])
    here = KnownItems(finder=FINDER, here=(KnownItem(row=row),), elsewhere=())
    given = decide(
        here, found=[], timezone="UTC", can_update=True, document=document, is_absent=lambda row: False
    )
    marked = [SOURCE_MISSING in one.after.warnings for one in given if one.after is not None]
    assert any(marked) is is_missing


def test_quotations_exhaust_no_limit_before_the_line_of_the_owner() -> None:
    def note(words: str, line: str) -> str:
        return "".join([*(f"> - [ ] {words} {number}\n" for number in range(40)), f"\n- [ ] {line}\n"])

    given = decisions([], _read(note("Order the chairs", "mend the old bicycle"))[1])
    caps = ItemCaps(items_per_file=1, items_per_run=9)
    assert [one.after.rank for one in capped(given, caps, planned=0)[0] if one.after] == [Rank.OWN]
    rows = [
        msgspec.structs.replace(one.after, answered_at=2, row_id=one.after.id) for one in given if one.after
    ]
    document, items = _read(note("Something else of Bob", "mend the bicycle"))
    given = decisions([KnownItem(row=row) for row in reversed(rows)], items, document=document)
    assert [one.call.action for one in given if one.call and one.after and one.after.rank] == ["update"]


@pytest.mark.parametrize("verdict", ["open", "approved"])
def test_line_in_other_words_updates_its_item_while_a_quotation_has_the_old_ones(verdict: str) -> None:
    given = _given(_row_of_line(verdict), f"{REPLY}\n\n- [ ] clean the whole kitchen\n")
    calls = [one.call for one in given if one.call is not None]
    assert [(one.action, one.payload["data"]) for one in calls] == [
        ("update", {"title": "clean the whole kitchen"})
    ]
