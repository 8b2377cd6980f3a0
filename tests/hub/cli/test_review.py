"""``hub review``, ``hub grants`` and ``hub answer``, on the file of a device on this machine."""

import json
import re
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from anyio.from_thread import BlockingPortal
from click.testing import CliRunner, Result

from hub.cli.app import hub as command
from hub.cli.connect import ask_grants
from hub.cli.inbox import TerminalInbox, lines_of
from hub.device.device_file import connect_shared
from hub.device.inbox import Inbox
from hub.device.items import read_excerpt, read_items
from hub.device.known_hubs import KnownHub, KnownHubs, fingerprint
from hub.device.owner import approve
from hub.device.sources import MAX_BYTES, Sources
from hub.links.hub_key import HubKey
from hub.text.excerpt import Excerpt
from protocol.frame import Record
from protocol.items import MARKS, Changed, ItemSource, Provenance, ProvenanceOrigin, Unresolved
from protocol.tables import SUGGESTED
from protocol.tool_calls import Action, ToolCall
from tests.hub.api.test_question_routes import two_boards
from tests.hub.cli.conftest import Hub, device_store, ends
from tests.hub.device.test_inbox import COUNTED, HELD, HoldingHub
from tests.hub.device.test_messages import ASKED, asking, settled
from tests.support.clock import FakeClock
from tests.support.families import each
from tests.support.hub import ServedHub


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A device's file with three suggestions."""
    path = tmp_path / "desk.db"
    source = ItemSource(
        path="notes/a.md",
        quote="Call\nAna soon.",
        start=0,
        end=14,
        warnings=["instruction"],
        unresolved=[Unresolved(field="dueDate", words="soon")],
        changed=[Changed(field="title", before="call Bo", after="call Ana")],
        counted=[COUNTED],
        provenance=Provenance(origin=ProvenanceOrigin.MAIL, author="Ann <ann@example.org>", trusted=False),
    )
    calls = [
        ToolCall(
            id=f"c-{title}",
            action=Action.INSERT,
            table="tasks",
            data={"title": title, **SUGGESTED},
            source=source if title == "call Ana" else None,
        )
        for title in ("call Ana", "pay the rent", "mend the roof")
    ]
    with device_store(path) as store:
        store.apply(calls)
    return path


@pytest.fixture
def review(hub: Hub, db: Path) -> Callable[..., Result]:
    return lambda *words: hub("review", "--db", str(db), *words)


def test_review_lists_waiting_items_with_quote_source_and_warnings(
    review: Callable[..., Result], db: Path
) -> None:
    listed = review()
    assert listed.exit_code == 0
    lines = listed.stdout.splitlines()
    at = lines.index("1  tasks  call Ana")
    assert lines[at + 1 : at + 8] == [
        "    from: mail, Ann <ann@example.org>, not verified",
        "    status todo, priority medium",
        '    dueDate: "by Friday", counted from 2026-12-08, the heading "8 December 2026"',
        '    notes/a.md: "Call\\nAna soon."',
        "    ! the quoted text contains instructions: check the file before you trust it",
        "    ! dueDate: the meaning of 'soon' is unclear",
        '    ! title was "call Bo", is "call Ana"',
    ]
    (first, *_) = json.loads(review("ls", "--json").stdout)["items"]
    assert (first["number"], first["verdict"], first["remarks"]["warnings"]) == (1, "open", ["instruction"])


def test_review_approves_and_rejects_items_by_number(review: Callable[..., Result], db: Path) -> None:
    assert "approved: pay the rent" in review("approve", "2").output
    assert "rejected: call Ana" in review("reject", "1").output
    assert [(item.title, item.verdict) for item in read_items(db)] == [
        ("pay the rent", "approved"),
        ("mend the roof", "open"),
    ]
    assert "pay the rent" not in review().stdout
    assert "pay the rent" in review("ls", "--all").stdout


def test_review_lists_and_judges_less_sure_items_by_their_labels(
    review: Callable[..., Result], db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding = HoldingHub(monkeypatch)
    ends(review("ls"), 0, output=("2 less sure: hub review ls --unsure",), unsaid=("ask Bo",))
    ends(review("ls", "--unsure"), 0, output=("uaaaaa1  tasks  ask Bo", 'notes/a.md: "ask Bo"', "uaaaaa2"))
    assert json.loads(review("ls", "--unsure", "--json").stdout)["items"][0]["title"] == "ask Bo"
    ends(review("approve", "--marked", "1", "uaaaaa1"), 0, output=("approved, it comes in a moment: ask Bo",))
    ends(review("reject", "uaaaaa2", "u999999"), 1, output=("rejected: ask Cy", "holds no item u999999"))
    assert holding.verdicts == [("i-aaaaaa1", "approve"), ("i-aaaaaa2", "reject")]
    with connect_shared(db) as file:
        assert [id for (id,) in file.execute("SELECT call_id FROM approvals_ahead")] == ["c-1"]
    assert {item.title: item.verdict for item in read_items(db)}["call Ana"] == "approved"


def test_less_sure_items_are_listed_with_their_fields_and_marks(
    review: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    data: dict[str, Any] = {"title": "send the slides", "assignee": ["Ann", "Bo"], "dueDate": "2026-12-10"}
    HoldingHub(
        monkeypatch, msgspec.structs.replace(HELD[0], title=data["title"], data=data, warnings=("outside",))
    )
    assert review("ls", "--unsure").stdout.splitlines() == [
        "uaaaaa1  tasks  send the slides",
        "    assignee Ann, Bo, dueDate 2026-12-10",
        '    notes/a.md: "ask Bo"',
        f"    ! {MARKS['outside']}",
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("approve", "1", "uaaaaa1", "--project", "House"),
        ("approve", "uaaaaa1", "--task", "call Ana"),
        ("edit", "uaaaaa1", "title=ask Bob"),
    ],
)
def test_fields_for_a_less_sure_item_are_refused_and_nothing_is_decided(
    review: Callable[..., Result], db: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    holding = HoldingHub(monkeypatch)
    ends(review(*words), 2, output=("uaaaaa1 is a less sure item", "approve it first"))
    assert holding.verdicts == []
    assert {item.verdict for item in read_items(db)} == {"open"}


def listed(db: Path, width: int | None = None, *, whole: bool = False) -> list[str]:
    return [line for item in read_items(db) for line in lines_of(item, width, whole=whole)]


def insert(
    db: Path, table: str, data: Record, *, path: str = "a.md", quote: str = "x", timezone: str | None = None
) -> None:
    told = ItemSource(path=path, quote=quote, start=0, end=1, warnings=[quote], timezone=timezone)
    call = ToolCall(id="f-1", action=Action.INSERT, table=table, data={**data, **SUGGESTED}, source=told)
    with device_store(db) as store:
        store.apply([call])


def test_review_shows_the_first_lines_of_a_note_or_the_whole_note(tmp_path: Path) -> None:
    db = tmp_path / "notes.db"
    insert(db, "notes", {"title": "trip", "content": "\n".join(f"day {n}" for n in range(9))})
    assert listed(db)[:7] == [
        "1  notes  trip",
        *(f"    | day {n}" for n in range(5)),
        "    | … 24 more characters: hub review ls --whole",
    ]
    assert listed(db, whole=True)[1:10] == [f"    | day {n}" for n in range(9)]


@pytest.mark.parametrize("machine", ["America/Los_Angeles", "UTC", "Europe/Berlin", "Pacific/Kiritimati"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Pacific/Kiritimati", "America/Los_Angeles", "UTC"])
def test_review_shows_a_date_as_the_same_day_in_every_machine_zone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, zone: str
) -> None:
    db = tmp_path / "days.db"
    days = [int(datetime(2026, 12, day, tzinfo=ZoneInfo(zone)).timestamp() * 1_000) for day in (1, 4)]
    insert(db, "tasks", {"title": "pay the rent", "dueDate": days[0]}, timezone=zone)
    with monkeypatch.context() as there:
        there.setenv("TZ", machine)
        time.tzset()
        approve(db, [1], at_ms=1)
        (rent,) = read_items(db)
        change = ToolCall(
            id="f-2",
            action=Action.UPDATE,
            table="tasks",
            where={"id": rent.row_id},
            data={"dueDate": days[1]},
        )
        with device_store(db) as store:
            store.apply([change])
        lines = listed(db)
    time.tzset()
    assert "    status todo, priority medium, dueDate 2026-12-01" in lines
    assert "    ! the hub would change dueDate from 2026-12-01 to 2026-12-04" in lines


@pytest.mark.parametrize(
    ("zone", "shown"), [("America/New_York", "2026-11-30 09:30 UTC"), ("no/zone", "2026-11-30 09:30 UTC")]
)
def test_a_time_is_shown_in_the_zone_of_the_desktop(hub: Hub, tmp_path: Path, zone: str, shown: str) -> None:
    db = tmp_path / "times.db"
    at = int(datetime(2026, 11, 30, 9, 30, tzinfo=UTC).timestamp() * 1_000)
    insert(db, "tasks", {"title": "pay the rent", "dueDate": at}, timezone=zone)
    assert f"    status todo, priority medium, dueDate {shown}" in listed(db)


def test_review_cuts_long_texts_unless_whole(tmp_path: Path) -> None:
    db = tmp_path / "long.db"
    insert(db, "taskComments", {"content": "word " * 1_900}, quote="y" * 5_000)
    lines = listed(db)
    assert len(lines) < 9 and sum(map(len, lines)) < 3_000
    assert sum(map(len, listed(db, whole=True))) > 19_000


FORGED = "x\n    ! fine\n2  tasks  pay Mallory"


def test_review_list_never_begins_a_line_with_foreign_text(tmp_path: Path) -> None:
    wide = "x" + " " * 30 + "! fine" + " " * 34 + "2  tasks  pay Mallory " + "y " * 30
    for n, (title, name) in enumerate([(FORGED, FORGED), (wide, wide)]):
        db = tmp_path / f"{n}.db"
        content: Record = {"title": title, "description": FORGED, "assignee": [name, "Ana, priority high"]}
        insert(db, "tasks", content, path=f"a.md: {name}", quote=f'"{name}"')
        for width in (None, 40, 80):
            for line in listed(db, width):
                assert not line.startswith(("2", "    2", "    ! fine"))
    assert any('"Ana, priority high"' in line for line in listed(db))


def test_proposed_change_of_an_approved_item_waits_in_the_review(
    review: Callable[..., Result], db: Path
) -> None:
    review("approve", "2")
    (rent,) = [item for item in read_items(db) if item.number == 2]
    change = ToolCall(
        id="c-4", action=Action.UPDATE, table="tasks", where={"id": rent.row_id}, data={"title": "pay Mr Li"}
    )
    with device_store(db) as store:
        store.apply([change])
    assert '! the hub would change title from "pay the rent" to "pay Mr Li"' in review().stdout
    dropped = review("reject", "2.2")
    assert "stays as it was: pay the rent; what the hub proposed is rejected" in dropped.output
    assert "pay the rent" not in review().stdout
    assert "pay the rent" in review("ls", "--all").stdout


@pytest.fixture
def calendar(db: Path) -> list[str]:
    """Labels of three timelines, a comment and a project, House, that a hub found as well."""
    parties: list[tuple[str, Record]] = [("timelines", {"title": f"party {n}", "date": n}) for n in range(3)]
    more: list[tuple[str, Record]] = [
        ("taskComments", {"content": "done already?"}),
        ("projects", {"name": "House"}),
    ]
    with device_store(db) as store:
        store.apply(
            [
                ToolCall(id=f"d-{n}", action=Action.INSERT, table=table, data={**data, **SUGGESTED})
                for n, (table, data) in enumerate(parties + more)
            ]
        )
    return [item.label for item in read_items(db) if item.number > 3]


def test_review_approves_timelines_alone_or_into_a_new_project(
    review: Callable[..., Result], db: Path, calendar: list[str]
) -> None:
    first, second, third, _, house = calendar
    assert "approved: party 0\n" in review("approve", first).output
    told = review("approve", "--marked", second, "1", "--project", "Garden").output
    assert "approved: party 1; the project 'Garden' is new\napproved: call Ana\n" in told
    assert "the project 'House' is approved with it" in review("approve", third, "--project", "house").output
    assert house not in {item.label for item in read_items(db) if not item.data["isApproved"]}
    with closing(sqlite3.connect(db)) as owner:
        names = dict(owner.execute("SELECT id, name FROM projects WHERE isApproved = 1"))
        belongs = dict(owner.execute("SELECT title, projectId FROM timelines"))
        assert {title: names.get(id) for title, id in belongs.items()} == {
            "party 0": None,
            "party 1": "Garden",
            "party 2": "House",
        }
        assert owner.execute("SELECT isAiSuggested FROM projects WHERE name = 'Garden'").fetchone() == (0,)


def test_review_assigns_a_task_to_a_comment_by_number_or_title(
    review: Callable[..., Result], db: Path, calendar: list[str]
) -> None:
    comment = calendar[3]
    ends(
        review("approve", "2", comment),
        1,
        output=(
            f"{comment}  taskComments  done already?: it needs a task: hub review approve",
            "approved: pay the rent",
        ),
    )
    refused = review("approve", comment, "--task", "pay the rentt")
    assert "there is no 'pay the rentt'; did you mean 'pay the rent'?" in refused.output
    assert review("edit", "--open", comment, "task=3").exit_code == 0
    assert "changed taskId" in review("edit", "--open", comment, "taskId=pay the rent").output
    assert review("approve", comment).exit_code == 0
    (item,) = [item for item in read_items(db) if item.label == comment]
    (rent,) = [item for item in read_items(db) if item.number == 2]
    assert (item.data["taskId"], item.data["isApproved"]) == (rent.row_id, 1)


def test_review_ls_all_shows_status_and_project_of_items(
    review: Callable[..., Result], db: Path, calendar: list[str]
) -> None:
    comment = calendar[3]
    review("approve", "2", "--project", "my House")
    review("edit", "3", "title=mend it", "--open")
    review("approve", comment, "--task", "pay the rent")
    lines = review("ls", "--all").stdout.splitlines()
    told = {line.split()[0]: lines[n + 1].strip() for n, line in enumerate(lines) if line[0].isdigit()}
    assert told["1"] == "from: mail, Ann <ann@example.org>, not verified"
    assert (told["2"], told["3"]) == ('approved, project "my House"', "suggestion, changed by you")
    assert told[comment] == 'approved, task "pay the rent"'
    listed = {
        str(item["number"]): item for item in json.loads(review("ls", "--all", "--json").stdout)["items"]
    }
    assert listed["2"]["belongs_to"] == {"projectId": "my House"}
    told_by = {"origin": "mail", "author": "Ann <ann@example.org>", "trusted": False}
    assert listed["1"]["remarks"]["provenance"] == told_by


def test_review_announces_items_listed_apart_and_shows_the_items_with_apart(
    review: Callable[..., Result], db: Path
) -> None:
    source = ItemSource(path="a.eml", quote="pay", start=0, end=3, warnings=["outside", "apart"])
    call = ToolCall(
        id="c-x", action=Action.INSERT, table="tasks", data={"title": "pay Eve", **SUGGESTED}, source=source
    )
    with device_store(db) as store:
        store.apply([call])
    listed = review("ls")
    assert "pay Eve" not in listed.stdout and "mend the roof" in listed.stdout
    assert "1 item of an unknown author is listed apart: hub review ls --apart" in listed.output
    apart = review("ls", "--apart").stdout
    assert "pay Eve" in apart and "mend the roof" not in apart
    assert "! the author of the text is not known, or not verified: expect anything" in apart
    assert "pay Eve" in review("ls", "--all", "--apart").stdout


def test_review_edit_parses_dates_lists_and_priorities(review: Callable[..., Result], db: Path) -> None:
    done = review(
        "edit",
        "--open",
        "--marked",
        "1",
        "3",
        "dueDate=2027-02-03 15:00+01:00",
        "assignee=Ana, Bo",
        "priority=high",
    )
    assert "changed dueDate, assignee, priority: 1  tasks  call Ana\n" in done.output
    assert "approved: mend a=b" in review("edit", "3", "title=mend a=b", "dueDate=", "project=House").output
    one, _, three = read_items(db)
    due, names = one.data["dueDate"], one.data["assignee"]
    assert (due, names, one.verdict) == (1_801_663_200_000, ["Ana", "Bo"], "edited")
    assert (three.title, three.data["priority"], "dueDate" in three.data) == ("mend a=b", "high", False)
    assert (one.data["isApproved"], three.data["isApproved"]) == (0, 1)


@each(
    ("words", "code", "told"),
    [
        (["1", "titel=x"], 1, "tasks have no field 'titel'; did you mean 'title'?"),
        (["1", "isApproved=1"], 1, "tasks have no field 'isApproved'; there are title, description"),
        (["1", "title="], 1, "title cannot be empty"),
        (["1", "status=later"], 1, "expected one of todo, in_progress, done"),
        (
            ["1", "dueDate=soon"],
            1,
            "dueDate: expected a time as 2027-02-03 or '2027-02-03 15:00', got 'soon'",
        ),
        (["1", "dueDate=0001-01-01"], 1, "dueDate: expected"),
        (["1", "title=\udcff"], 2, "it is no UTF-8"),
        (["1", "project=" + "x" * 501], 1, "projects.name: longer than 500 characters"),
        (["9", "title=x"], 1, "there is no item 9"),
        (["1"], 2, "each field once as FIELD=VALUE"),
        (["1", "title=x", "title=y"], 2, "each field once as FIELD=VALUE"),
        (["title=x"], 2, "name the items by their numbers"),
    ],
)
def test_invalid_review_edit_is_refused_and_changes_nothing(
    review: Callable[..., Result], db: Path, words: list[str], code: int, told: str
) -> None:
    before = read_items(db)
    ends(review("edit", "--marked", *words), code, output=(told,))
    assert read_items(db) == before


def test_an_approved_item_is_deleted_only_with_the_option(review: Callable[..., Result], db: Path) -> None:
    review("approve", "2")
    ends(
        review("reject", "2", "3"),
        1,
        output=(
            "2  tasks  pay the rent: you have approved it; to delete it, add --approved",
            "rejected: mend the roof",
        ),
    )
    assert [item.title for item in read_items(db)] == ["call Ana", "pay the rent"]
    assert "deleted: pay the rent" in review("reject", "--approved", "2").output
    assert [item.title for item in read_items(db)] == ["call Ana"]


def test_review_of_an_item_changed_since_the_listing_requires_the_new_number(
    review: Callable[..., Result], db: Path
) -> None:
    (rent,) = [item for item in read_items(db) if item.number == 2]

    def change(call_id: str, title: str) -> None:
        call = ToolCall(
            id=call_id, action=Action.UPDATE, table="tasks", where={"id": rent.row_id}, data={"title": title}
        )
        with device_store(db) as store:
            store.apply([call])

    change("c-4", "pay Mr Li")
    ends(
        review("approve", "--marked", "1", "2"),
        1,
        output=("a hub has changed item 2 since it was listed: it is 2.2 now",),
    )
    assert {item.verdict for item in read_items(db)} == {"open"}
    assert "2.2  tasks  pay Mr Li" in review().stdout
    assert "item 2 has no change 3: type 2.2;" in review("approve", "2.3").output
    assert review("approve", "--marked", "1.1", "2.2").exit_code == 0
    change("c-5", "pay Mr Wu")  # proposed
    assert review("approve", "2.2").exit_code == 1
    assert "2.3  tasks  pay Mr Li" in review().stdout
    assert (review("reject", "2.3").exit_code, review("approve", "two").exit_code) == (0, 2)


def test_review_of_a_nonexistent_change_number_is_refused(review: Callable[..., Result], db: Path) -> None:
    ends(
        review("approve", "2.2"),
        1,
        output=("item 2 has no change 2: type 2;",),
        unsaid=("a hub has changed",),
    )
    assert "there is no item 9.2;" in review("reject", "9.2").output
    assert review("approve", "2.1").exit_code == 0, "it is the item as it was inserted"


def test_suggestion_is_marked_when_the_file_or_quote_is_missing(
    review: Callable[..., Result], db: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    file = folder / "a.md"
    file.write_bytes(b"\xef\xbb\xbfCall\nAna soon. And mend the roof.")
    with device_store(db) as store:
        store.name_roots([str(folder)])

    def missing() -> list[str]:
        lines = review().stdout.splitlines()
        (item, *_) = json.loads(review("ls", "--json").stdout)["items"]
        return [
            item["source_state"],
            *(line.strip() for line in lines if "! the file was" in line or "no longer" in line),
        ]

    assert missing() == [None]
    (item, *_) = read_items(db)
    assert read_excerpt(db, item) == Excerpt(1, "", " And mend the roof.")
    inbox = TerminalInbox(Inbox(db), FakeClock())
    for key in "jj":  # the oldest is the last one
        inbox.press(key)
    lines = inbox.lines(60, 40)
    assert lines[lines.index("    notes/a.md:") + 1 :][:2] == [
        "    > 1 | Call",
        "    > 2 | Ana soon. And mend the roof.",
    ]
    file.write_text("Hello.\nCall\nAna soon.")
    assert read_excerpt(db, item) == Excerpt(1, "Hello.\n", ""), "its words are elsewhere in the file now"
    file.write_text("Call\nAna soon.\nCall\nAna soon.\n Ana soon.")
    assert read_excerpt(db, item) == Excerpt(1, "", "\nCall\nAna soon.\n Ana soon.")
    file.write_text(" Call\nAna soon.\nCall\nAna soon.")
    assert read_excerpt(db, item) is None, "it may be any of them"
    file.write_text("Call Bo soon.")
    assert read_excerpt(db, item) is None
    assert missing() == ["words_gone", "! the quoted text is no longer in the file"]
    file.rename(folder / "b.md")
    assert missing() == ["file_gone", "! the file was deleted, moved or renamed"]
    folder.rename(tmp_path / "not mounted")
    assert missing() == [None], "what is on a disk that is away may still be there"
    folder.mkdir()
    assert review("approve", "--marked", "1").exit_code == 0
    assert "any more" not in review("ls", "--all").stdout, "its owner has decided"


def test_a_missing_quote_is_reported_for_plain_text_only(tmp_path: Path) -> None:
    sources = Sources({"notes": tmp_path})
    (tmp_path / "page.html").write_text("<p>Call <b>Ana</b></p>")
    (tmp_path / "photo.md").write_bytes(b"\0\1\2")
    (tmp_path / "long.md").write_bytes(b"x" * (MAX_BYTES + 1))
    (tmp_path / "a folder.md").mkdir()
    for name in ("page.html", "photo.md", "long.md", "a folder.md"):
        assert sources.state(f"notes/{name}", "Call Ana") is None, name
    for name in ("x" * 300, "../else.md", "/etc/hostname", "a/../../else.md"):
        assert sources.state(f"notes/{name}", "Call Ana") is None, "a hub's path that is none of the folder"
    assert sources.state("mid:1@example.org", "Call Ana") is None, "of a mail"
    assert sources.state(None, None) is None


def test_review_needs_a_device_name_only_if_several_devices_exist(hub: Hub, state: Path, db: Path) -> None:
    devices = state / "devices"
    devices.mkdir(parents=True)
    ends(hub("review"), 1, output=("there is no device database",))
    shutil.copy(db, devices / "desk.db")
    assert "2  tasks  pay the rent" in hub("review").stdout
    assert "approved: pay the rent" in hub("review", "approve", "2").output
    assert "no questions wait" in hub("answer").output
    shutil.copy(db, devices / "laptop.db")
    for words in (["review"], ["review", "approve", "1"], ["answer"]):
        ends(
            hub(*words),
            2,
            output=("there are several devices on this machine: desk, laptop", f"hub {words[0]} --name desk"),
        )
    assert "1  tasks  call Ana" in hub("review", "--name", "laptop").stdout
    assert "; known devices: desk, laptop" in hub("review", "--name", "lapptop").output
    assert hub("review", "approve", "--help").exit_code == 0


def test_review_shows_a_quote_over_two_captions_without_timestamps(tmp_path: Path) -> None:
    quote = "Carla will call the caterer\n\n12\n00:00:15.500 --> 00:00:18.000\n<v Anna>by Monday."
    insert(tmp_path / "a.db", "tasks", {"title": "call the caterer"}, path="talk.vtt", quote=quote)
    assert '    talk.vtt: "Carla will call the caterer by Monday."' in listed(tmp_path / "a.db")
    insert(tmp_path / "b.db", "tasks", {"title": "x"}, path="a.md", quote="a --> b")
    assert '    a.md: "a --> b"' in listed(tmp_path / "b.db")


ONE, OTHER = HubKey(bytes([1]) * 32), HubKey(bytes([2]) * 32)


@pytest.fixture
def met(tmp_path: Path) -> Path:
    """A device's file, which knows a hub."""
    path = tmp_path / "desk.db"
    with device_store(path):
        knows(path, "hub.example", ONE)
    return path


def knows(met: Path, address: str, key: HubKey) -> None:
    KnownHubs(met.with_suffix(".hubs"), met.with_suffix(".key")).keep(
        KnownHub(address, key.public_key, "desk.key")
    )


def grants(met: Path, *words: str) -> Result:
    return CliRunner().invoke(command, ["grants", "--db", str(met), *words])


def grants_of(met: Path, *words: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads(grants(met, "--json", *words).stdout)["grants"]
    return found


def test_grants_command_adds_and_removes_grants_starting_from_none(met: Path) -> None:
    assert grants_of(met) == {}
    nothing = grants(met)
    assert nothing.stdout == "", "a list with no line in it says nothing"
    assert "the hub at hub.example may only write suggestions" in nothing.stderr
    assert "hub grants +rows.read=tasks,notes" in nothing.stderr
    assert "hub grants +review.remote" in nothing.stderr
    assert grants_of(met, "+rows.read=tasks,notes", "+review.remote") == {
        "review.remote": [],
        "rows.read": ["tasks", "notes"],
    }
    assert grants(met).stdout.splitlines() == ["review.remote", "rows.read=tasks,notes"]
    assert grants_of(met, "-review.remote", "+rows.read=tasks") == {"rows.read": ["tasks"]}
    assert grants_of(met, "-rows.read") == {}
    assert grants_of(met, "+review.remote=marked,approved", "+places") == {
        "places": [],
        "review.remote": ["marked", "approved"],
    }


def test_grant_of_places_that_is_taken_back_names_the_places_of_this_hub(
    met: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.cli.review.default_settings", lambda: tmp_path / "device.toml")
    assert "still a place" not in grants(met, "-places").stderr
    for name, key in (("theirs", OTHER), ("set", ONE), ("own", None)):
        by = "" if key is None else f" # as the hub {fingerprint(key.public_key)[:7]} asked on 2026-11-28"
        with (tmp_path / "device.toml").open("a") as file:
            file.write(f'[[sinks]]{by}\nname = "{name}"\nkind = "markdown"\npath = "/{name}.md"\n')
    taken = grants(met, "-places").stderr
    assert re.findall(r"hub places remove \w+", taken) == ["hub places remove set"]
    assert "hub places" not in grants(met, "+rows.read=tasks").stderr


@each(
    "change",
    [
        "review.remote",
        "+review.remote=tasks",
        "+review.remote=marked,tasks",
        "+review.remote=",
        "+places=notes",
        "-review.remote=marked",
        "+everything",
        "+rows.read",
        "+rows.read=",
        "+rows.read=calls",
        "-rows.read=tasks",
    ],
)
def test_invalid_grant_is_a_usage_error_and_grants_nothing(met: Path, change: str) -> None:
    ends(grants(met, "+review.remote", change), 2, repr(change))
    assert grants_of(met) == {}


def test_grants_command_requires_the_hub_if_several_are_known(met: Path) -> None:
    knows(met, "other.example", OTHER)
    ends(grants(met, "+review.remote"), 2, "hub.example, other.example")
    assert grants_of(met, "--hub", "other.example", "+review.remote") == {"review.remote": []}
    assert grants_of(met, "--hub", "hub.example") == {}


def test_hub_replacing_another_hub_has_no_grants_of_the_old_hub(met: Path) -> None:
    assert grants_of(met, "+review.remote") == {"review.remote": []}
    knows(met, "hub.example", OTHER)
    assert grants_of(met) == {}, "what was granted to the hub before it is not its own"


def test_a_device_without_a_hub_is_advised_to_connect_once(met: Path) -> None:
    met.with_suffix(".hubs").unlink()
    ends(grants(met), 2, "hub connect")


@pytest.mark.parametrize(
    ("typed", "granted"),
    [
        ("\n\n", ()),
        ("y\nn\n", ("+review.remote",)),
        ("n\ny\ntasks, notes\n", ("+rows.read=tasks,notes",)),
        ("y\ny\n\n", ("+review.remote", "+rows.read=tasks,notes,timelines,projects,taskComments")),
    ],
)
def test_the_owner_is_asked_when_a_device_meets_a_hub_for_the_first_time(
    met: Path, typed: str, granted: tuple[str, ...]
) -> None:
    with CliRunner().isolation(input=typed):
        assert ask_grants("wss://new.example", met) == granted
    with CliRunner().isolation(input="y\ny\n"):
        assert ask_grants("wss://hub.example", met) == (), "that one is known"


def test_a_question_is_asked_listed_answered_and_shown(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    assert "no matching questions" in hub("ask").output
    portal.call(served.store.write, two_boards)
    said = hub("ask", "roadmap", "Which", "colour?", "--channel", "slack", "--tag", "door").output
    assert "the answer is added to the memory of roadmap" in said
    (one,) = json.loads(hub("ask", "ls", "--json").stdout)["questions"]
    listed = hub("ask").output
    assert "Which colour?" in listed and one["id"][-8:] in listed
    assert "answered: Which colour?" in hub("ask", "answer", one["id"][-8:], "Red,", "please.").output
    shown = hub("ask", "show", one["id"][-8:]).output
    assert "-> Red, please." in shown and "slack" in shown
    assert "no matching questions" in hub("ask").output
    assert "Which colour?" in hub("ask", "ls", "--all").output
    ends(hub("ask", "answer", one["id"], "Blue."), 1, output=("was answered by",))


def test_a_text_is_read_from_standard_input_and_a_question_is_taken_back(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.store.write, two_boards)
    told: dict[str, Any] = json.loads(
        hub("ask", "user", "roadmap", "-", "--json", input="Which colour?\nOr none?\n").stdout
    )
    assert told["content"] == "Which colour?\nOr none?"
    assert "withdrawn: Which colour? Or none?" in hub("ask", "withdraw", told["id"]).output
    ends(hub("ask", "answer", "nothing", "Red."), 1, output=("there is no question nothing",))


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """A device's file with a question that is open and one that was answered elsewhere."""
    path = tmp_path / "desk.db"
    other = ASKED.record() | {"question_id": "q-2", "content": "Which\nshape?"}
    with device_store(path) as store:
        store.apply([asking(), asking(question_id="q-2", content=str(other["content"]))])
        store.apply([settled(question_id="q-2", answer="Round.", settled_by="device phone")])
    return path


@pytest.fixture
def answer(hub: Hub, asked: Path) -> Callable[..., Result]:
    return lambda *words, **given: hub("answer", "--db", str(asked), *words, **given)


def test_answer_command_lists_questions_and_answers_by_number(answer: Callable[..., Result]) -> None:
    listed = answer()
    assert "1  lead (roadmap)" in listed.output and "   Which colour?" in listed.output
    assert "shape?" not in listed.output
    assert "   -> Round.  (device phone)" in answer("--all").output
    assert "answered: Which colour?" in answer("1", "Red,", "please.").output
    assert "no questions wait for your answer" in answer().output
    (one, _) = json.loads(answer("--all", "--json").stdout)["questions"]
    assert (one["answer"], one["reported"]) == ("Red, please.", False)


@each(
    ("words", "code", "said"),
    [
        (["2", "Square."], 1, "question 2 was answered by device phone: Round."),
        (["3", "Red."], 1, "there is no question 3"),
        (["1"], 2, "the text of the answer is missing"),
        (["1", "-"], 1, "an answer has words"),
    ],
)
def test_invalid_answer_command_is_refused_with_the_reason(
    answer: Callable[..., Result], words: list[str], code: int, said: str
) -> None:
    ends(answer(*words), code, output=(said,))


def test_an_unknown_device_is_named_with_a_next_step(hub: Hub, tmp_path: Path) -> None:
    ends(
        hub("answer", "--db", str(tmp_path / "nowhere.db")),
        1,
        output=("a device makes it when it runs: hub up FOLDER",),
    )
