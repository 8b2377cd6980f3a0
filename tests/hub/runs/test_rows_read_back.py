"""Rows that sinks of a device wrote, in the places that agents read."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from hub.connectors.catalogue import find
from hub.connectors.webhook import Source
from hub.connectors.webhook import read as read_post
from hub.document import Document
from hub.extraction.model import Models
from hub.runs import rows_read_back
from hub.runs.rows_read_back import OwnRows
from hub.text.rows.calendar import CalendarFormat
from hub.text.rows.lines import Markdown, TodoTxt
from hub.text.rows.own_rows import without_own_rows
from hub.text.rows.records import Csv, JsonLines
from hub.text.rows.row import Put
from hub.text.rows.row_keys import key_of
from protocol.items import Provenance, ProvenanceOrigin
from protocol.tables import TABLES
from protocol.tool_calls import Answer, ToolCall
from storage.agents.agents import find_agent_by_name
from storage.agents.configs import Mailbox as MailboxConfig
from storage.store import Store
from tests.hub.connectors.caldav_rig import rig as calendar_rig
from tests.hub.connectors.manifest_rig import MAX_BYTES, PROVIDERS, Rig
from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.conftest import caldav_place, rest_place
from tests.hub.device.sinks.places import CalDavPlace, Place, RestPlace
from tests.hub.device.sinks.servers import TOKEN
from tests.hub.runs.test_rule_connectors import AnyDesk
from tests.support.clock import FakeClock
from tests.support.radicale import PASSWORD, Radicale
from tests.support.runs import MODERN, Bench, declare_agent, declare_connector, folder

ROWS, VISITS = 50, 5


class Hub:
    """A hub that reads a calendar of tasks first, whose device approves each suggestion."""

    def __init__(self, store: Store, bench: Bench, desk: SinkBench) -> None:
        self.bench, self.store, self.desk = bench, store, desk
        self.suggested: list[str] = []
        bench.connect(capabilities=MODERN, answers=self._approve)

    def _approve(self, call: ToolCall) -> Answer:
        title = str(call.data["title"])
        self.suggested.append(title)
        return Answer(result={"id": self.desk.approve({"title": title})})


@asynccontextmanager
async def hub_with_rows(
    store: Store, radicale: Radicale, folder: Path, *, number: int = ROWS
) -> AsyncIterator[Hub]:
    """A hub whose device has approved so many tasks."""
    user = radicale.fresh_user()
    radicale.make_calendar(user, "inbox")
    for nth in range(number):
        radicale.put(user, "inbox", f"t{nth}", f"SUMMARY:Task {nth:02}")
    await declare_connector(store, "home", "todoist")
    mailbox = MailboxConfig(connector="home", filter={})
    agent = await declare_agent(store, name="tasks", data_types=("tasks", "timelines"), mailbox=mailbox)
    clock = FakeClock()
    async with calendar_rig(radicale.url, user) as inbox:
        bench = Bench(store, agent, clock=clock, desk=AnyDesk(inbox, clock))
        bench.asking.models = Models()
        hub = Hub(store, bench, SinkBench(folder))
        await bench.run()
        assert len(hub.suggested) == number
        yield hub


@asynccontextmanager
async def reader_of(place: Place) -> AsyncIterator[Any]:
    """Connectors to the place of a sink."""
    async with AsyncExitStack() as opened:
        if isinstance(place, CalDavPlace):
            user = place.path.split("/")[1]
            yield await opened.enter_async_context(
                calendar_rig(place.url.removesuffix(place.path), user, PASSWORD)
            )
        else:
            assert isinstance(place, RestPlace)
            client = await opened.enter_async_context(
                OutboundClient(OutboundRules(), max_answer_bytes=MAX_BYTES)
            )
            rest = Rig(find("todoist"), PROVIDERS["todoist"](), "", client)
            rest.secret = TOKEN
            rest.settings = {"base_url": place.manifest.url.removesuffix("/api/v1")}
            yield rest


@contextmanager
def place_at(kind: str, radicale: Radicale, folder: Path) -> Any:
    with caldav_place(radicale, folder) if kind == "caldav" else rest_place(folder) as place:
        yield place


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["caldav", "rest"])
async def test_rows_edited_at_a_place_both_sink_and_source_are_not_suggested(
    kind: str, store: Store, radicale: Radicale, tmp_path: Path
) -> None:
    with place_at(kind, radicale, tmp_path) as place:
        async with hub_with_rows(store, radicale, tmp_path) as hub, reader_of(place) as reader:
            desk, others = hub.desk, place.others().count("of others")

            async def synchronize() -> None:
                assert not (await anyio.to_thread.run_sync(desk.synchronize, place.target)).problem

            await synchronize()
            hub.bench.desk = hub.bench.mailboxes._desk = AnyDesk(reader, hub.bench.clock)  # type: ignore[union-attr]
            for visit in range(VISITS):
                for nth in range(ROWS):
                    before = f"Task {nth:02}" if visit == 0 else f"Job {visit - 1} {nth:02}"
                    await anyio.to_thread.run_sync(place.rename, before, f"Job {visit} {nth:02}")
                hub.bench.clock.advance(60)
                await hub.bench.run()
                await synchronize()
            suggested = hub.suggested[ROWS:]  # in no order, since entries are read side by side
            assert [title for title in suggested if "of others" not in title] == []
            assert len(set(suggested)) == len(suggested) == others
            keys = re.findall('(?:UID:|\\\\n|")(hub-[a-z2-7]{16})', place.text)
            titles = re.findall(r"Job \d \d\d", place.text)
            assert sorted(titles) == [f"Job {VISITS - 1} {nth:02}" for nth in range(ROWS)]
            assert len(set(keys)) >= ROWS


KEY = key_of("tasks", "row-1")
PUT = Put(KEY, TABLES["tasks"], {"title": "Call Ana", "status": "todo", "description": "soon"}, "", 0)
OTHER = "hub-" + "a" * 16
ICS = CalendarFormat().insert(
    CalendarFormat().insert("", PUT), PUT._replace(key=OTHER, fields={"title": "Keep this"})
)
CSV = Csv().insert(Csv().insert("", PUT), PUT._replace(key=OTHER, fields={"title": "Keep this"}))
LINE, TODO = Markdown().insert("- [ ] Keep this\n", PUT), TodoTxt().insert("Keep this\n", PUT)
OBJECTS = JsonLines().insert('{"id": 1, "title": "Keep this"}\n', PUT)
MAIL, CALENDAR, WEB = ProvenanceOrigin.MAIL, ProvenanceOrigin.CALENDAR, ProvenanceOrigin.WEB


def post(**fields: object) -> str:
    """Text of a post to a webhook with these fields."""
    body = json.dumps({"title": "Call Ana", **fields}).encode()
    return read_post(body, "application/json", Source.GENERIC, {}).text


def enclosed(name: str, text: str) -> str:
    """Text of a mail with an attachment."""
    return f"Keep this\n\n[attachment: {name}, text/plain, 2 KB]\n{text}"


@pytest.mark.parametrize(
    ("path", "origin", "text", "is_kept"),
    [
        ("cal:1", CALENDAR, ICS, True),
        ("cal:1", CALENDAR, ICS.replace("\n", "\r\n"), True),
        ("notes/a.md", ProvenanceOrigin.OWN, LINE, True),
        ("notes/todo.txt", ProvenanceOrigin.OWN, TODO, True),
        ("mid:1", MAIL, enclosed("plan.ics", ICS), True),
        ("mid:1", MAIL, enclosed("plan.csv", CSV), True),
        ("mid:1", MAIL, enclosed("plan.jsonl", OBJECTS), True),
        ("mid:1", MAIL, enclosed("todo.txt", TODO), True),
        ("mid:1", MAIL, f"> - [ ] Keep this\n> - [ ] Call Ana ^{KEY}\n", True),
        ("mcp:a", WEB, LINE, True),
        ("mcp:a", WEB, f"Call Ana\n{KEY}\nsoon", False),
        ("hook:1", WEB, post(description=f"soon\n\n{KEY}"), False),
        ("hook:1", WEB, post(labels=["home", KEY], text="soon"), False),
        ("hook:1", WEB, post(ref=KEY, text="soon"), False),
    ],
)
async def test_row_with_a_key_of_the_user_is_blank_in_a_document_of_any_reader(
    path: str, origin: ProvenanceOrigin, text: str, is_kept: bool, store: Store
) -> None:
    found = await blanked(store, Document(**about(origin), unit_key=path, text=text, content_hash=""))
    assert ("Call" in found, "soon" in found, "Keep this" in found) == (False, False, is_kept)
    assert len(found) == len(text)
    others = text.replace(KEY, "hub-" + "b" * 16)
    assert (
        await blanked(store, Document(**about(origin), unit_key=path, text=others, content_hash="")) == others
    )


@pytest.mark.parametrize(
    "text",
    [
        f"Please call Ana about {KEY}.\nPay the rent.",
        f"Call Ana\n{KEY}\nPay the rent",
        f"Call Ana today [x](https://x.org/{KEY}.ics)\n- [ ] Pay the rent",
        f"- [ ] Call Ana \\^{KEY}\n- [ ] Pay the rent",
    ],
)
async def test_mail_naming_a_key_outside_of_a_row_keeps_the_text(text: str, store: Store) -> None:
    found = await blanked(store, Document(**about(MAIL), unit_key="mid:1", text=text, content_hash=""))
    assert found == text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("notes/board.html", f"Call Ana\n{KEY}"),
        ("mcp:tasks", f"Board\n\nCall Ana\n{KEY}\n\nPay the rent"),
        ("mcp:tasks", f"Call Ana\n{KEY}\n\nPay the rent\n{OTHER}"),
    ],
)
async def test_page_or_list_of_others_with_a_key_on_a_line_keeps_the_text(
    path: str, text: str, store: Store
) -> None:
    found = await blanked(store, Document(**about(WEB), unit_key=path, text=text, content_hash=""))
    assert found == text


async def test_unknown_keys_of_strangers_read_only_new_rows_for_a_minute(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, hashed = FakeClock(), list[str]()
    bench, ids = Bench(store, await declare_agent(store), clock=clock), iter(("row-1", "row-2"))

    def answer(call: ToolCall) -> Answer:
        return Answer(result={"id": next(ids)})

    bench.connect(answers=answer, runs=folder(a="- [ ] call Ana\n"))
    await bench.run()
    rows = OwnRows(store, clock, without_own_rows)

    def counted_key(table: str, row_id: str) -> str:
        hashed.append(row_id)
        return key_of(table, row_id)

    monkeypatch.setattr(rows_read_back, "key_of", counted_key)

    async def read(key: str, seconds: float) -> tuple[int, bool]:
        """Return how many rows were read for a text with a key, and whether it is blank."""
        clock.advance(seconds)
        hashed.clear()
        document = Document(**about(MAIL), unit_key="a.md", text=f"- [ ] Call ^{key}", content_hash="")
        blanked = await rows.blank(bench.agent.user_id, document)
        return len(hashed), "Call" not in blanked.text

    strangers = [f"hub-{letter * 16}" for letter in "abcde"]
    assert [await read(key, 20) for key in strangers[:3]] == [(1, False), (0, False), (0, False)]
    assert await read(key_of("tasks", "row-1"), 1) == (0, True)
    bench.connect(answers=answer, runs=folder(b="- [ ] call Bo\n"))
    await bench.run()
    assert await read(key_of("tasks", "row-2"), 1) == (1, True)
    assert await read(strangers[3], 1) == (1, False)
    assert await read(strangers[4], 60) == (2, False)


def about(origin: ProvenanceOrigin) -> Any:
    return {"provenance": Provenance(origin=origin, author=None, trusted=False)}


async def blanked(store: Store, document: Document) -> str:
    """Text of a document for a user, one of whose items is the row ``row-1`` of tasks."""
    agent = await store.read(find_agent_by_name, "notes")
    if agent is None:
        bench = Bench(store, await declare_agent(store))
        bench.connect(answers=lambda call: Answer(result={"id": "row-1"}), runs=folder(a="- [ ] call Ana\n"))
        await bench.run()
        agent = bench.agent
    return (await OwnRows(store, FakeClock(), without_own_rows).blank(agent.user_id, document)).text
