"""Parts that cannot be read, on each reader: a run says of them what one table has, without an empty cell."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response

from hub.connectors.calling import Unread
from hub.connectors.imap_settings import ImapFilter
from hub.device.run_reading import Contents
from hub.device.shared import Root, SharedFile, SharedFolders, UnreadableFile
from hub.document import Document
from hub.extraction.items import ExtractionOptions
from hub.extraction.ruled import ToExtract
from hub.runs.delivery import missing_of
from hub.text.files import media_type_of
from hub.text.parts import OUTCOMES, is_lost
from protocol.tables import TABLES
from protocol.work import AgentData, FilePiece
from tests.hub.connectors.imap_rig import imap, settings_of
from tests.hub.connectors.manifest_rig import Ics, Rss, rig
from tests.hub.connectors.test_mcp import kitchen
from tests.hub.connectors.test_webhook import Box, post, webhook
from tests.hub.runs.test_sources import END
from tests.hub.runs.test_sources import read as read_frames
from tests.support.clock import FakeClock
from tests.support.dovecot import Dovecot
from tests.support.left_out import (
    AS_TEXT,
    ATTACHMENT,
    DESKTOP,
    FEED,
    MAILBOX,
    MCP,
    NO_BYTES,
    PARTS,
    READ,
    READERS,
    WEBHOOK,
    attached,
    mail,
)

pytestmark = pytest.mark.anyio
OPTIONS: Final = ExtractionOptions(data_types=tuple(TABLES), prompt="", timezone="Europe/Berlin")
SINCE: Final = datetime(2020, 1, 1, tzinfo=UTC)


def said_of(found: Document | Unread) -> str:
    """Return what a run says of a document: its counted parts, what is missing, or why it is not read."""
    if isinstance(found, Unread):
        return f"refused: {found.reason}"
    extraction = ToExtract(document=found, options=OPTIONS, reads_prose=True).answer()
    assert extraction is not None
    notes = msgspec.msgpack.decode(msgspec.msgpack.encode(extraction.notes), type=type(extraction.notes))
    said = [part for part in notes.parts if is_lost(part)]
    said += [missing[1].partition(":")[0]] if (missing := missing_of(notes)) else []
    said += ["U+FFFD for characters"] if notes.undecoded else []
    said += [reason for reason in notes.dropped if reason == "unresolved_date"]
    return ", ".join(said) or "read"


async def of_desktop(path: str, data: bytes, folder: Path) -> str:
    (folder / path).write_bytes(data)
    root = Root("notes", str(folder), str(folder))
    contents = Contents(SharedFolders([root], home="/nowhere"), FakeClock())
    file = SharedFile(f"notes/{path}", root, (path,), len(data), 0)
    try:
        text = contents.text(file, lambda: None, piece_bytes=1 << 20, escaped_bytes=1 << 22)
    except UnreadableFile as error:
        return "refused: " + str(error).partition(": ")[2]
    pieces = [
        FilePiece(
            path=file.path,
            content=content,
            piece=nth,
            pieces=len(text.pieces),
            media_type=text.media_type,
            parts=[] if nth else text.parts,
        )
        for nth, content in enumerate(text.pieces)
    ]
    frame = msgspec.json.decode(msgspec.json.encode(AgentData(run_id="r", files=pieces)), type=AgentData)
    events, _ = await read_frames(frame, END)
    (document,) = [event for event in events if isinstance(event, Document)]
    return said_of(document)


def in_mail(path: str, data: bytes) -> bytes:
    return data if path.endswith(".eml") else attached(path, data, media_type_of(path))


async def of_webhook(path: str, data: bytes) -> str:
    connector = webhook(Box(post(1, data, kind=media_type_of(path))))
    async for page in connector.pages(None, SINCE):
        async for _, found in connector.read(page.messages):
            return said_of(found)
    raise AssertionError


async def of_feed(path: str, data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return NO_BYTES
    if "\0" in text:
        return NO_BYTES

    class OfRss(Rss):
        def answer(self, request: Request, body: Any) -> Response:
            self.entries[0].text = (
                text if path.endswith(".html") else text.replace("&", "&amp;").replace("<", "&lt;")
            )
            return super().answer(request, body)

    class OfIcs(Ics):
        def answer(self, request: Request, body: Any) -> Response:
            return Response(data, media_type="text/calendar")

    name, provider = ("ics", OfIcs()) if path.endswith(".ics") else ("rss", OfRss())
    async with rig(name, provider) as here:
        here.arrive("Rent")
        try:
            _, found = await here.run()
        except Exception as error:
            return f"refused: {error}"
    said = [said_of(one) for _, one in found.values()]
    return ", ".join(said) or "not listed"


async def of_mcp(path: str, data: bytes) -> str:
    async with kitchen() as here:
        try:
            text: str | None = data.decode()
        except UnicodeDecodeError:
            text = None
        here.texts["a"] = text if text is None or "\0" not in text else None
        connector = here.open()
        try:
            async for page in connector.pages(None, SINCE):
                async for _, found in connector.read(page.messages):
                    return said_of(found)
        finally:
            await connector.aclose()
    raise AssertionError


async def of_mailbox(dovecot: Dovecot) -> dict[str, str]:
    user = dovecot.fresh_user()
    heads = [f"Message-ID: <{nth}@x>\r\n".encode() for nth, _ in enumerate(PARTS)]
    dovecot.deliver(
        user, [head + in_mail(part.path, part.data) for head, part in zip(heads, PARTS, strict=True)]
    )
    filter = ImapFilter.model_validate({"attachments": {"fetch": True, "max_mb": 0.1}})
    connector = imap(settings_of(dovecot, user), filter)
    found: dict[str, str] = {}
    messages = [message async for page in connector.pages(None, SINCE) for message in page.messages]
    async for message, one in connector.read(messages):
        found[PARTS[int(message.key.removeprefix("mid:").removesuffix("@x"))].name] = said_of(one)
    await connector.aclose()
    return found


async def observed(dovecot: Dovecot, folder: Path) -> dict[tuple[str, str], str]:
    """Return what each reader says of each part."""
    found = {(name, MAILBOX): said for name, said in (await of_mailbox(dovecot)).items()}
    for part in PARTS:
        path, data = part.path, part.data
        found[part.name, DESKTOP] = await of_desktop(path, data, folder)
        outer = (
            in_mail(path, data)
            if not path.endswith(".eml")
            else mail(("Content-Type: message/rfc822", data), boundary="outer")
        )
        found[part.name, ATTACHMENT] = await of_desktop("outer.eml", outer, folder)
        found[part.name, WEBHOOK] = await of_webhook(path, data)
        found[part.name, FEED] = await of_feed(path, data)
        found[part.name, MCP] = await of_mcp(path, data)
    return found


@pytest.mark.slow
async def test_each_reader_reports_each_part_like_the_table(dovecot: Dovecot, tmp_path: Path) -> None:
    found = await observed(dovecot, tmp_path)
    assert set(found) == {(part.name, reader) for part in PARTS for reader in READERS}
    wrong = {
        (part.name, reader): (part.of(reader), found[part.name, reader])
        for part in PARTS
        for reader in READERS
        if not found[part.name, reader].startswith(READ if part.of(reader) == AS_TEXT else part.of(reader))
    }
    assert wrong == {}


def test_each_reader_has_a_word_for_each_part_and_each_count_is_known() -> None:
    assert len({part.name for part in PARTS}) == len(PARTS)
    cells = [part.of(reader) for part in PARTS for reader in READERS]
    assert all(cells)
    outcomes = {cell.partition(" ")[2] for cell in cells if "/" in cell.partition(" ")[0]}
    assert {one.partition(",")[0] for one in outcomes} <= OUTCOMES.keys()
