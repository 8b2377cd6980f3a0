"""The connector that the handbook shows, run as it is there."""

from datetime import UTC, datetime
from typing import Any

from hub import docs
from hub.connectors.connector import Connector
from hub.document import Document
from tests.support.handbook import blocks

SINCE = datetime(2026, 1, 1, tzinfo=UTC)


def shown() -> dict[str, Any]:
    """Return the names that the programs of the page define."""
    names: dict[str, Any] = {}
    for block in blocks(docs.FOLDER / "plugins.md", "python"):
        exec(compile(block.text, "plugins.md", "exec"), names)
    return names


async def test_handbook_connector_example_lists_and_reads_messages() -> None:
    diary = shown()["Diary"](None, None, None)
    assert isinstance(diary, Connector) and (await diary.check()).detail == "2 entries"
    (page,) = [page async for page in diary.pages(None, SINCE)]
    read = {message.key: said async for message, said in diary.read(page.messages)}
    assert set(read) == {"diary:1", "diary:2"}
    assert all(isinstance(said, Document) and said.unit_key == key for key, said in read.items())
    (last,) = [page async for page in diary.pages(page.cursor, SINCE)]
    assert (last.messages, last.cursor) == ((), page.cursor)
