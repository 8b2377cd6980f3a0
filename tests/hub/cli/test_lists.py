"""Lists of the command line as pictures of text, at five widths of a terminal; see ``lists``."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from anyio.from_thread import BlockingPortal

from hub.base.name_lists import counted
from hub.cli import formats, show
from hub.cli.declared import CommandSpec, present
from tests.hub.api.test_repeated_items import keep
from tests.hub.cli.conftest import Hub
from tests.support.clock import FakeClock
from tests.support.hub import ServedHub

WIDTHS: Final = (60, 80, 100, 120, 200)
PICTURES: Final = Path(__file__).with_name("lists")
AT: Final = "2027-01-14T09:14:00Z"
SPECS: Final = {
    spec["words"]: spec
    for spec in json.loads(Path(show.__file__).with_name("commands.json").read_text("utf-8"))["commands"]
}


def item(id: str, title: str, path: str, **more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "day": None,
        "person": None,
        "line": 3,
        "warnings": [],
        "verdict": "open",
        "given": None,
    }
    known = {"places": [], "device": "desk", "table": "tasks", "created_at": AT, "proposals": [], "also": []}
    return {"id": f"i-{id}", "title": title, "path": path, **plain, **known, **more}


ITEMS = [
    item(
        "00000001",
        "Call Anna Rossi about the offer for the house on the hill before the meeting",
        "notes/todo.txt",
        day="2027-02-03",
        person="Anna Rossi",
        also=[{"id": "i-00000002", "path": "journal/2027-01.md", "line": 12}],
    ),
    item("00000003", "给王明打电话确认星期五的会议时间和地点", "笔记/工作/会议记录.md", person="王明"),
    item(
        "00000004",
        "Transfer 400 EUR to the new account",
        "mail/invoice.eml",
        day="2027-02-03T14:05:00Z",
        warnings=["instruction", "outside"],
        line=None,
    ),
    item("00000005", "x" * 80, "a-folder-with-a-long-name/another-folder-with-a-long-name/file.md"),
]
RUN = {
    **{"agent": "notes", "outcome": "success", "state": "COMPLETED", "started_at": AT, "created_at": AT},
    **{"units_done": 3, "units_skipped": 17, "units_failed": 0, "units_total": 20, "items_created": 6},
    **{"because": None, "waiting_for": None, "missed_because": None, "followed_by": None, "units_left": 0},
}
WAITING = {
    **RUN,
    **{"outcome": None, "state": "QUEUED", "started_at": None, "items_created": 0, "agent": "日记"},
    "waiting_for": "the device laptop is away since 2027-01-12; it starts once the device is connected again",
}
AGENT = {
    **{"name": "notes", "title": "", "user": "anna", "lifecycle": "active", "health": "ok"},
    **{"availability": "available", "gateway": None, "delivers_to": "desk", "device": "desk"},
    **{"device_connected": True, "schedule": "every hour", "next_fires": [{"at": AT}], "schedules": []},
    "last_run": {**RUN, "items_created": 1},
}
LONG = {**AGENT, "name": "everything-that-anna-promised-in-the-meetings-of-the-week", "user": "安娜"}
CONNECTOR = {
    **{"name": "mail", "user": "anna", "provider": "imap", "account": "anna@example.org", "state": "ok"},
    **{"last_ok_at": AT, "agents": ["inbox", "invoices"], "failures": 0, "detail": None, "remedy": None},
}
DEVICE = {
    **{"name": "desk", "user": "anna", "connected": True, "platform": "linux", "last_seen_at": AT},
    "grants": ["files", "agents", "coordination"],
}
LISTS: Final = {
    "items ls": {"items": ITEMS},
    "runs ls": {"runs": [{"id": "r-0000001a", **RUN}, {"id": "r-0000001b", **WAITING}]},
    "agents ls": {"agents": [AGENT, LONG]},
    "connectors ls": {"connectors": [CONNECTOR, {**CONNECTOR, "name": "カレンダー", "agents": []}]},
    "devices": {"devices": [DEVICE, {**DEVICE, "name": "書斎のデスクトップ", "connected": False}]},
}
DEVICES: Final = {
    "table": (
        *("name as device", "user as user~2", "connected", "platform as platform~3"),
        *("*|last_seen as last seen~1", "grants as granted"),
    ),
    "rows": "devices",
}
PLACES: Final = (
    ["name", "kind~2", "place~1", "items~4", "wait", "deleted there~3", "problem"],
    [
        ["vault", "obsidian", "/home/anna/Documents/Vault/Tasks.md", 41, 0, 1, None],
        ["calendar", "caldav", "https://cloud.example.org/remote.php/dav/calendars/anna", 3, 2, 0, "away"],
    ],
)


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the time and its zone be those of the pictures."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setattr(show, "clock", FakeClock())
    monkeypatch.setattr(show, "column_moment", lambda text, zone=None, seconds=False: text and "01-14 09:14")
    monkeypatch.setitem(formats.FORMATS, "at", show.column_moment)
    monkeypatch.setattr(show, "moment", lambda text, zone=None: text and "2027-01-14 09:14 +00:00")
    monkeypatch.setattr(show, "in_zone", "{} (UTC)".format)


def _picture(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    if name == "places":
        show.print_table(*PLACES)
    else:
        present(LISTS[name], **{"params": {}, "notes": (), **SPECS.get(name, DEVICES), "message": ""})
    return capsys.readouterr().out


@pytest.mark.parametrize("name", [*LISTS, "places"])
def test_list_is_shown_as_in_the_picture_of_each_width(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for width in WIDTHS:
        monkeypatch.setenv("COLUMNS", str(width))
        found[width] = _picture(name, capsys)
        assert max(map(show.cells_of, found[width].splitlines())) <= width
    text = "".join(f"{width:-<{width}}\n{shown}" for width, shown in found.items())
    picture = PICTURES / f"{name.replace(' ', '_')}.txt"
    assert text == picture.read_text("utf-8"), text


@pytest.mark.parametrize("name", LISTS)
def test_empty_list_says_so_without_a_table(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    spec: dict[str, Any] = {**DEVICES, "empty": "no devices yet"} if name == "devices" else SPECS[name]
    rows = spec.get("rows") or name.split()[0]
    present({rows: [], "next_cursor": None}, **{**spec, "rows": rows})
    printed = capsys.readouterr()
    assert (printed.out, printed.err.startswith("no ")) == ("", True)


def test_redirected_list_has_all_columns_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    spec = CommandSpec({**SPECS["items ls"], "message": ""})
    present(LISTS["items ls"], **spec)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(ITEMS) + 1
    assert all(str(row["title"]) in lines[n] for n, row in ((1, ITEMS[0]), (3, ITEMS[1]), (5, ITEMS[3])))
    assert lines[2] == "    also in journal/2027-01.md, line 12: 00000002"


def test_control_characters_below_a_row_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show.print_table(("a", "b"), [("1", "2")], [["also in \x1b[2J\nx.md"]])
    assert "\x1b" not in (out := capsys.readouterr().out) and len(out.splitlines()) == 3


@pytest.mark.parametrize(
    ("count", "noun", "shown", "text"),
    [
        (0, "item", None, "0 items"),
        (1, "item", None, "1 item"),
        (2, "model request", None, "2 model requests"),
        (1, "more entry", None, "1 more entry"),
        (3, "more entry", None, "3 more entries"),
        (2, "key", None, "2 keys"),
        (20, "file", "3/20", "3/20 files"),
        (1, "file", "0/1", "0/1 file"),
    ],
)
def test_number_has_the_noun_in_singular_or_plural(
    count: int, noun: str, shown: str | None, text: str
) -> None:
    assert counted(count, noun, shown) == text


def test_filter_of_a_rejection_chooses_each_item_of_one_thing_and_an_approval_the_first(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.store.write, keep)
    assert "items to approve: 3" in hub("items", "approve", "--text", "call ann", "--dry-run").output
    assert "items to reject: 5" in hub("items", "reject", "--text", "call ann", "--dry-run").output
    assert "    also in todo.txt: i-0" in hub("items", "ls", "--text", "call ann").stdout
